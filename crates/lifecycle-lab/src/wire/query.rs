//! The AWS Query protocol: requests are form parameters (`A.member.1.B=…`), answers and errors are XML.
//! <https://docs.aws.amazon.com/AutoScaling/latest/APIReference/CommonParameters.html>

use http::Method;
use serde_json::{Map, Value};

use super::xml::{element, escape};
use crate::aws::error::ApiError;
use crate::aws::request::Request;

/// Auto Scaling's XML namespace.
const AUTOSCALING: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// Reads a Query request.
pub(super) fn request(method: &Method, body: &[u8]) -> Request {
    let mut pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
    pairs.sort();
    let mut action = String::new();
    let mut root = Value::Object(Map::new());
    let mut lines = Vec::new();
    for (name, value) in pairs {
        match name.as_str() {
            "Action" => action = value,
            "Version" => {}
            _ => {
                lines.push(format!("{name}={value}"));
                let path: Vec<_> = name.split('.').filter(|step| *step != "member").collect();
                place(&mut root, &path, value);
            }
        }
    }
    Request { method: method.to_string(), action, lines, parameters: lists(root) }
}

fn place(tree: &mut Value, path: &[&str], text: String) {
    let Some((step, rest)) = path.split_first() else {
        *tree = Value::String(text);
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    place(&mut tree[*step], rest, text);
}

/// Turns objects with the keys 1, 2, 3 … into arrays.
fn lists(tree: Value) -> Value {
    let Value::Object(object) = tree else {
        return tree;
    };
    let mut entries: Vec<(String, Value)> =
        object.into_iter().map(|(key, value)| (key, lists(value))).collect();
    if !entries.is_empty() && entries.iter().all(|(key, _)| key.parse::<u32>().is_ok()) {
        entries.sort_by_key(|(key, _)| key.parse::<u32>().unwrap_or_default());
        return Value::Array(entries.into_iter().map(|(_, value)| value).collect());
    }
    Value::Object(entries.into_iter().collect())
}

/// The XML of a successful answer. The result is `None` for an action without a result element.
pub(super) fn answer(action: &str, result: Option<&Value>, request_id: &str) -> String {
    let mut xml = format!("<{action}Response xmlns=\"{AUTOSCALING}\">");
    if let Some(result) = result {
        element(&mut xml, &format!("{action}Result"), result, "member");
    }
    xml + &format!(
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// The XML of an error.
pub(super) fn error(error: &ApiError, request_id: &str) -> String {
    let fault = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{AUTOSCALING}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        error.code,
        escape(&error.message)
    )
}
