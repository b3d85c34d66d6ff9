//! EC2's dialect of the Query protocol. Requests have no `member` (`A.1.B=…`); [`super::query`] reads them. Answers and
//! errors are XML in EC2's own form.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/making-api-requests.html>

use serde_json::Value;

use super::xml::{element, escape};
use crate::aws::error::ApiError;

/// EC2's XML namespace.
const EC2: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The XML of a successful answer. The result's fields are siblings of the request's id.
pub(super) fn answer(action: &str, result: Option<&Value>, request_id: &str) -> String {
    let mut xml = format!("<{action}Response xmlns=\"{EC2}\"><requestId>{request_id}</requestId>");
    if let Some(Value::Object(fields)) = result {
        fields.iter().for_each(|(name, value)| element(&mut xml, name, value, "item"));
    }
    xml + &format!("</{action}Response>")
}

/// The XML of an error.
pub(super) fn error(error: &ApiError, request_id: &str) -> String {
    format!(
        "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors>\
         <RequestID>{request_id}</RequestID></Response>",
        error.code,
        escape(&error.message)
    )
}
