//! Requests and answers as AWS's services put them on the wire: the Query protocol (`query`) and AWS
//! JSON 1.1. Which one a request speaks is in its headers; which service it is for, in its signature.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::query::{self, ApiError, Request};

/// Auto Scaling's XML namespace.
const AUTOSCALING: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// An HTTP request, as far as the protocols need it.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest {
    pub(crate) authorization: Option<String>,
    /// `X-Amz-Target`, in AWS JSON: `AmazonSSM.SendCommand`.
    pub(crate) target: Option<String>,
    pub(crate) body: Bytes,
}

impl HttpRequest {
    /// The service in the scope of the signature:
    /// `Credential=AKID/20260101/us-east-1/autoscaling/aws4_request`.
    pub(crate) fn service(&self) -> Option<&str> {
        self.scope().nth(3)
    }

    /// The access key id of the signature.
    pub(crate) fn access_key(&self) -> Option<&str> {
        self.scope().next()
    }

    fn scope(&self) -> impl Iterator<Item = &str> {
        let authorization = self.authorization.as_deref().unwrap_or_default();
        let credential = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
        credential.split([',', ' ']).next().unwrap_or_default().split('/').filter(|part| !part.is_empty())
    }

    /// The action and its parameters.
    pub(crate) fn request(&self) -> Request {
        let Some(target) = &self.target else {
            return query::request(&self.body);
        };
        let parameters = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut lines = Vec::new();
        flatten("", &parameters, &mut lines);
        let action = target.rsplit('.').next().unwrap_or_default().to_owned();
        Request { action, lines, parameters }
    }

    /// The answer in the protocol of this request. `Ok(None)` is an answer without a result element.
    pub(crate) fn answer(
        &self,
        action: &str,
        played: &Result<Option<Value>, ApiError>,
        id: String,
    ) -> Answer {
        let status = played.as_ref().map_or_else(|error| error.status, |_| 200);
        let (content_type, body) = match (&self.target, played) {
            (None, Ok(result)) => ("text/xml", query::answer(AUTOSCALING, action, result.as_ref(), &id)),
            (None, Err(error)) => ("text/xml", query::error(AUTOSCALING, error, &id)),
            (Some(_), Ok(result)) => (JSON, result.clone().unwrap_or_else(|| json!({})).to_string()),
            (Some(_), Err(error)) => {
                (JSON, json!({ "__type": error.code, "message": error.message }).to_string())
            }
        };
        Answer { status, content_type, id, body }
    }
}

const JSON: &str = "application/x-amz-json-1.1";

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// The request's id.
    pub(crate) id: String,
    pub(crate) body: String,
}

/// One line for each leaf, in order: `Filters.1.key=…`.
fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    let step = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| flatten(&step(name), value, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| flatten(&step(&(n + 1).to_string()), item, lines));
        }
        Value::String(text) => lines.push(format!("{path}={text}")),
        scalar => lines.push(format!("{path}={scalar}")),
    }
}
