//! The AWS Query protocol: requests as form parameters (`A.member.1.B=…`), answers and errors as XML; and
//! EC2's dialect of it (`A.1.B=…`).
//! <https://docs.aws.amazon.com/AutoScaling/latest/APIReference/CommonParameters.html>
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/making-api-requests.html>

use std::fmt::Display;
use std::str::FromStr;

use http::Method;
use quick_xml::escape::escape;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// An error as AWS answers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// AWS's code, for example `ValidationError`.
    pub code: &'static str,
    /// AWS's text.
    pub message: String,
}

/// The code of what the lab does not play.
const NOT_MODELLED: &str = "LabNotModelled";

impl ApiError {
    /// An error with HTTP status 400.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: 400, code, message: message.into() }
    }

    /// `ValidationError`, the code of most of Auto Scaling's refusals.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", message)
    }

    /// What Auto Scaling answers when the token bucket of its account and Region is empty.
    pub(crate) fn throttling() -> Self {
        Self::new("Throttling", "Rate exceeded")
    }

    /// The refusal of a request without the parameter `name`.
    pub(crate) fn missing(name: &str) -> Self {
        let (first, rest) = name.split_at(1);
        Self::validation(format!(
            "1 validation error detected: Value null at '{}{rest}' failed to satisfy constraint: Member must not be null",
            first.to_ascii_lowercase()
        ))
    }

    /// The lab's own refusal of what it does not play. AWS has no such code, so no client takes it for
    /// AWS's word.
    pub fn not_modelled(what: impl Display) -> Self {
        Self::new(NOT_MODELLED, format!("lifecycle-lab does not model {what}"))
    }

    /// Whether it is the lab's own refusal.
    pub(crate) fn is_not_modelled(&self) -> bool {
        self.code == NOT_MODELLED
    }
}

/// A request: the action, and its parameters as a tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// HTTP's.
    pub(crate) method: String,
    /// For example `CompleteLifecycleAction`.
    pub(crate) action: String,
    /// Each parameter as it came, for transcripts: `HookName=x`, sorted.
    pub(crate) lines: Vec<String>,
    /// The tree.
    pub(crate) parameters: Value,
}

/// Reads a Query request.
pub(crate) fn request(method: &Method, body: &[u8]) -> Request {
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

/// Why parameters are not what an action takes.
pub(crate) enum Misfit {
    /// The lab does not model this parameter.
    Unknown(String),
    /// This one is required.
    Missing(String),
    /// A value is wrong.
    Wrong(String),
}

/// The parameters as the type that an action takes. A parameter that the type does not know is one that
/// the lab does not model.
pub(crate) fn read<T: DeserializeOwned>(parameters: Value) -> Result<T, Misfit> {
    serde_json::from_value(parameters).map_err(|error| {
        let text = error.to_string();
        let field = |prefix| text.strip_prefix(prefix)?.split('`').next().map(str::to_owned);
        if let Some(name) = field("unknown field `") {
            return Misfit::Unknown(name);
        }
        field("missing field `").map_or(Misfit::Wrong(text), Misfit::Missing)
    })
}

/// [`read`], with refusals in the words of Auto Scaling.
///
/// # Errors
/// AWS's `ValidationError`, or [`ApiError::not_modelled`].
pub(crate) fn parameters<T: DeserializeOwned>(action: &str, parameters: Value) -> Result<T, ApiError> {
    read(parameters).map_err(|misfit| match misfit {
        Misfit::Unknown(name) => ApiError::not_modelled(format!("the parameter {name} of {action}")),
        Misfit::Missing(name) => ApiError::missing(&name),
        Misfit::Wrong(text) => ApiError::validation(format!("1 validation error detected: {text}")),
    })
}

/// A number or a boolean that travels as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The XML of a successful answer. `None` is an action without a result element.
pub(crate) fn answer(namespace: &str, action: &str, result: Option<&Value>, request_id: &str) -> String {
    let mut xml = format!("<{action}Response xmlns=\"{namespace}\">");
    if let Some(result) = result {
        element(&mut xml, &format!("{action}Result"), result, "member");
    }
    xml + &format!(
        "<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
}

/// The XML of an error.
pub(crate) fn error(namespace: &str, error: &ApiError, request_id: &str) -> String {
    let fault = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        error.code,
        escape(&error.message)
    )
}

/// EC2's XML namespace.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The XML of a successful answer of EC2's: the result's fields stand beside the request's id.
pub(crate) fn ec2_answer(action: &str, result: Option<&Value>, request_id: &str) -> String {
    let mut xml = format!("<{action}Response xmlns=\"{EC2}\"><requestId>{request_id}</requestId>");
    if let Some(Value::Object(fields)) = result {
        fields.iter().for_each(|(name, value)| element(&mut xml, name, value, "item"));
    }
    xml + &format!("</{action}Response>")
}

/// The XML of an error of EC2's.
pub(crate) fn ec2_error(error: &ApiError, request_id: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
         <RequestID>{request_id}</RequestID></Response>",
        error.code,
        escape(&error.message)
    )
}

/// Objects become elements, arrays lists of elements of the name `item`, nulls nothing. A list whose
/// elements have another name says so behind a slash: `groupSet/groupId`.
fn element(xml: &mut String, name: &str, value: &Value, item: &str) {
    if value.is_null() {
        return;
    }
    let (name, item) = name.split_once('/').unwrap_or((name, item));
    *xml += &format!("<{name}>");
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| element(xml, name, value, item)),
        Value::Array(items) => items.iter().for_each(|value| element(xml, item, value, item)),
        Value::String(text) => *xml += &escape(text),
        scalar => *xml += &scalar.to_string(),
    }
    *xml += &format!("</{name}>");
}
