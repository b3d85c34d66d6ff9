//! The protocols between clients and AWS: Query (`query`), EC2's dialect of it (`ec2_query`), AWS JSON 1.1
//! (`aws_json`) and Lambda's REST JSON (`rest_json`). Each reads a request into an action with parameters, and writes
//! the answer in the same protocol.
//!
//! The signature of a request names the service. Service and headers determine the protocol. This folder does not
//! transport bytes (`host` does) and does not run actions (`aws` does).

mod aws_json;
mod ec2_query;
mod lines;
mod query;
mod rest_json;
mod xml;

use bytes::Bytes;
use http::{Method, Uri};

use crate::aws::request::{self, Request};

pub(crate) use aws_json::TARGET;

/// The header with the request's id. SDKs read it.
const REQUEST_ID: &str = "x-amzn-requestid";

/// The parts of an HTTP request that the protocols need.
#[derive(Debug, Default)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) authorization: Option<String>,
    /// The header [`TARGET`].
    pub(crate) target: Option<String>,
    pub(crate) body: Bytes,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

enum Protocol<'a> {
    Query,
    Ec2,
    Rest,
    Json { target: &'a str },
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
            Protocol::Rest => rest_json::request(&self.method, &self.uri, &self.body),
            Protocol::Json { target } => aws_json::request(&self.method, target, &self.body),
        }
    }

    /// The answer in the protocol of this request.
    pub(crate) fn answer(&self, action: &str, played: &request::Answer, id: String) -> HttpAnswer {
        let (content_type, body) = match (self.protocol(), played) {
            (Protocol::Query, Ok(result)) => ("text/xml", query::answer(action, result.as_ref(), &id)),
            (Protocol::Query, Err(error)) => ("text/xml", query::error(error, &id)),
            (Protocol::Ec2, Ok(result)) => ("text/xml", ec2_query::answer(action, result.as_ref(), &id)),
            (Protocol::Ec2, Err(error)) => ("text/xml", ec2_query::error(error, &id)),
            (Protocol::Rest, Ok(result)) => ("application/json", aws_json::answer(result.as_ref())),
            (Protocol::Rest, Err(error)) => ("application/json", rest_json::error(error)),
            (Protocol::Json { .. }, Ok(result)) => {
                (aws_json::CONTENT_TYPE, aws_json::answer(result.as_ref()))
            }
            (Protocol::Json { .. }, Err(error)) => {
                (aws_json::CONTENT_TYPE, aws_json::error(error, self.service()))
            }
        };
        let mut headers = vec![("content-type", content_type.to_owned()), (REQUEST_ID, id)];
        if let (Protocol::Rest, Err(error)) = (self.protocol(), played) {
            headers.push((rest_json::ERROR_TYPE, error.code.to_owned()));
        }
        let status = played.as_ref().map_or_else(|error| error.status, |_| 200);
        HttpAnswer { status, headers, body }
    }
}
