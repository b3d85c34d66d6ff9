//! Requests and answers as AWS's services put them on the wire: the Query protocol and EC2's dialect of
//! it (`query`), AWS JSON 1.1, and Lambda's REST JSON (`rest`). Which service a request is for is in its
//! signature; which protocol it speaks follows from that and its headers.

use bytes::Bytes;
use http::{Method, Uri};
use serde_json::{Value, json};

use crate::query::{self, ApiError, Request};
use crate::rest;

/// Auto Scaling's XML namespace.
const AUTOSCALING: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// An HTTP request, as far as the protocols need it.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
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

    fn protocol(&self) -> Protocol<'_> {
        match (&self.target, self.service()) {
            (Some(target), _) => Protocol::Json { target },
            (None, Some("ec2")) => Protocol::Ec2,
            (None, Some("lambda")) => Protocol::Rest,
            (None, _) => Protocol::Query,
        }
    }

    /// The action and its parameters.
    pub(crate) fn request(&self) -> Request {
        match self.protocol() {
            Protocol::Query | Protocol::Ec2 => query::request(&self.method, &self.body),
            Protocol::Rest => rest::request(&self.method, &self.uri, &self.body),
            Protocol::Json { target } => {
                let parameters = serde_json::from_slice(&self.body).unwrap_or_default();
                let mut lines = Vec::new();
                flatten("", &parameters, &mut lines);
                let action = target.rsplit('.').next().unwrap_or_default().to_owned();
                Request { method: self.method.to_string(), action, lines, parameters }
            }
        }
    }

    /// The answer in the protocol of this request. `Ok(None)` is an answer without a result element.
    pub(crate) fn answer(
        &self,
        action: &str,
        played: &Result<Option<Value>, ApiError>,
        id: String,
    ) -> Answer {
        let json = |result: &Option<Value>| result.clone().unwrap_or_else(|| json!({})).to_string();
        let (content_type, body) = match (self.protocol(), played) {
            (Protocol::Query, Ok(result)) => {
                ("text/xml", query::answer(AUTOSCALING, action, result.as_ref(), &id))
            }
            (Protocol::Query, Err(error)) => ("text/xml", query::error(AUTOSCALING, error, &id)),
            (Protocol::Ec2, Ok(result)) => ("text/xml", query::ec2_answer(action, result.as_ref(), &id)),
            (Protocol::Ec2, Err(error)) => ("text/xml", query::ec2_error(error, &id)),
            (Protocol::Rest, Ok(result)) => ("application/json", json(result)),
            (Protocol::Rest, Err(error)) => ("application/json", rest::error(error)),
            (Protocol::Json { .. }, Ok(result)) => (JSON, json(result)),
            (Protocol::Json { .. }, Err(error)) => {
                (JSON, json!({ "__type": error.code, "message": error.message }).to_string())
            }
        };
        let status = played.as_ref().map_or_else(|error| error.status, |_| 200);
        let error_type = match (self.protocol(), played) {
            (Protocol::Rest, Err(error)) => Some(error.code),
            _ => None,
        };
        Answer { status, content_type, error_type, id, body }
    }
}

enum Protocol<'a> {
    Query,
    Ec2,
    Rest,
    Json { target: &'a str },
}

const JSON: &str = "application/x-amz-json-1.1";

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// `X-Amzn-ErrorType`, in REST JSON: the error's code.
    pub(crate) error_type: Option<&'static str>,
    /// The request's id.
    pub(crate) id: String,
    pub(crate) body: String,
}

/// One line for each leaf, in order: `Filters.1.key=…`.
pub(crate) fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
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
