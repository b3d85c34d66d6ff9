//! Lambda's REST JSON protocol: method and path name the action; path, query and body have the parameters. Answers are
//! JSON. An error's code is in a header.
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>

use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::lines::flatten;
use crate::aws::error::ApiError;
use crate::aws::request::Request;

/// The header with an error's code.
pub(super) const ERROR_TYPE: &str = "x-amzn-errortype";

/// Method, path and name of the actions that the lab models. A path segment in braces is a parameter.
const ROUTES: [(Method, &str, &str); 3] = [
    (Method::GET, "/2015-03-31/functions/{FunctionName}", "GetFunction"),
    (Method::GET, "/2015-03-31/functions/{FunctionName}/configuration", "GetFunctionConfiguration"),
    (Method::PUT, "/2015-03-31/functions/{FunctionName}/configuration", "UpdateFunctionConfiguration"),
];

/// Reads a request. If its route is unknown, its action is its method and path.
pub(super) fn request(method: &Method, uri: &Uri, body: &[u8]) -> Request {
    let steps: Vec<_> = uri.path().split('/').collect();
    let route = ROUTES.iter().find_map(|(of, template, action)| {
        let named = labels(template, &steps).filter(|_| of == method)?;
        Some((*action, named))
    });
    let mut parameters = match body {
        [] => json!({}),
        // A body that is not JSON becomes null. Each action refuses null later.
        body => serde_json::from_slice(body).unwrap_or_default(),
    };
    let (action, named) = match route {
        Some((action, named)) => (action.to_owned(), named),
        None => (format!("{method} {}", uri.path()), Vec::new()),
    };
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned();
    if let Value::Object(parameters) = &mut parameters {
        let texts = named.into_iter().chain(query);
        parameters.extend(texts.map(|(name, value)| (name, Value::String(value))));
    }
    Request { method: method.to_string(), action, lines: flatten(&parameters), parameters }
}

/// The parameters in a path. `None` if the path does not match the template.
fn labels(template: &str, steps: &[&str]) -> Option<Vec<(String, String)>> {
    let template: Vec<_> = template.split('/').collect();
    if template.len() != steps.len() {
        return None;
    }
    let mut labels = Vec::new();
    for (wanted, step) in template.iter().zip(steps) {
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !step.is_empty() => {
                let value = percent_decode_str(step).decode_utf8_lossy().into_owned();
                labels.push((name.to_owned(), value));
            }
            None if wanted == step => {}
            _ => return None,
        }
    }
    Some(labels)
}

/// The body of an error. In the API's model, some errors name the text `Message`, others `message`.
pub(super) fn error(error: &ApiError) -> String {
    let text = match error.code {
        "ResourceNotFoundException" | "ServiceException" | "AccessDeniedException" => "Message",
        _ => "message",
    };
    let fault = if error.status < 500 { "User" } else { "Service" };
    json!({ "Type": fault, text: error.message }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: Method, uri: &'static str, body: &str) -> (String, Vec<String>) {
        let request = request(&method, &Uri::from_static(uri), body.as_bytes());
        (request.action, request.lines)
    }

    #[test]
    fn method_and_path_name_the_action_and_path_query_and_body_the_parameters() {
        let path = "/2015-03-31/functions/arn%3Aaws%3Alambda%3A%3Af/configuration?Qualifier=%24LATEST";
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            read(Method::GET, path, ""),
            (
                "GetFunctionConfiguration".to_owned(),
                lines(&["FunctionName=arn:aws:lambda::f", "Qualifier=$LATEST"])
            )
        );
        assert_eq!(
            read(
                Method::PUT,
                "/2015-03-31/functions/f/configuration",
                r#"{"Environment":{"Variables":{"A":"b"}}}"#
            ),
            (
                "UpdateFunctionConfiguration".to_owned(),
                lines(&["Environment.Variables.A=b", "FunctionName=f"])
            )
        );
    }

    #[test]
    fn an_unknown_route_is_named_by_its_method_and_path() {
        for (method, path) in [
            (Method::GET, "/2015-03-31/functions/"),
            (Method::DELETE, "/2015-03-31/functions/f/configuration"),
        ] {
            assert_eq!(read(method.clone(), path, "").0, format!("{method} {path}"));
        }
    }

    #[test]
    fn a_body_that_is_not_json_differs_from_an_empty_one() {
        let uri = Uri::from_static("/2015-03-31/functions/f/configuration");
        assert_eq!(request(&Method::PUT, &uri, b"{").parameters, Value::Null);
    }
}
