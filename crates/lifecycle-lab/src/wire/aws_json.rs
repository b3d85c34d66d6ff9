//! AWS JSON 1.1: a request has its action in a header and its parameters in the body; answers and errors are JSON.
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html>

use http::Method;
use serde_json::{Value, json};

use super::lines::flatten;
use crate::aws::error::ApiError;
use crate::aws::request::Request;

/// Which action a request is for: `AmazonSSM.SendCommand`.
pub(crate) const TARGET: &str = "x-amz-target";

pub(super) const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Reads a request.
pub(super) fn request(method: &Method, target: &str, body: &[u8]) -> Request {
    // What can't be read is refused later, as no action takes it.
    let parameters = serde_json::from_slice(body).unwrap_or_default();
    let action = target.rsplit('.').next().unwrap_or_default().to_owned();
    Request { method: method.to_string(), action, lines: flatten(&parameters), parameters }
}

/// The body of a successful answer, in REST JSON too.
pub(super) fn answer(result: Option<&Value>) -> String {
    result.map_or_else(|| "{}".to_owned(), Value::to_string)
}

/// The body of an error.
pub(super) fn error(error: &ApiError) -> String {
    json!({ "__type": error.code, "message": error.message }).to_string()
}
