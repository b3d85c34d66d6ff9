//! AWS JSON 1.1: a request has its action in a header and its parameters in the body. Answers and errors
//! are JSON.
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>

use http::Method;
use serde_json::{Value, json};

use super::lines::flatten;
use crate::aws::error::ApiError;
use crate::aws::request::Request;

/// The header with the action, for example `AmazonSSM.SendCommand`.
pub(crate) const TARGET: &str = "x-amz-target";

pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Reads a request.
pub(super) fn request(method: &Method, target: &str, body: &[u8]) -> Request {
    // A body that is not JSON becomes null. Each action refuses null later.
    let parameters = serde_json::from_slice(body).unwrap_or_default();
    let action = target.rsplit('.').next().unwrap_or_default().to_owned();
    Request { method: method.to_string(), action, lines: flatten(&parameters), parameters }
}

/// The body of a successful answer. REST JSON has the same.
pub(super) fn answer(result: Option<&Value>) -> String {
    result.map_or_else(|| "{}".to_owned(), Value::to_string)
}

/// The body of an error. Application Auto Scaling names the text of its own refusals `Message`, and that of the checks of
/// its API's model `message` (recorded). SDKs read both.
pub(super) fn error(error: &ApiError, service: Option<&str>) -> String {
    let by_model = error.message.starts_with("1 validation error detected");
    let text = if service == Some("application-autoscaling") && !by_model { "Message" } else { "message" };
    json!({ "__type": error.code, text: error.message }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_auto_scaling_spells_the_name_of_its_own_texts_with_a_capital() {
        let own = ApiError::new("ValidationException", "Minimum capacity must be specified");
        let of_model =
            ApiError::new("ValidationException", "1 validation error detected: Value null at 'tagKeys'");
        for (error, service, name) in [
            (&own, "application-autoscaling", "Message"),
            (&of_model, "application-autoscaling", "message"),
            (&own, "ecs", "message"),
        ] {
            let body: Value = serde_json::from_str(&super::error(error, Some(service))).unwrap();
            assert_eq!(body[name], error.message, "{service}: {body}");
        }
    }
}
