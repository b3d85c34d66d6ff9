//! The two doors: an SDK's HTTP client in this process, which works under paused time, and TCP, for
//! shipped binaries, the AWS CLI and every other SDK.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{self, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use aws_types::region::Region;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::lab::{Caller, Lab, OPERATOR, Reply};
use crate::lambda::current_kill;
use crate::wire::HttpRequest;

/// Where AWS says a request's id, and SDKs look for it.
const REQUEST_ID: &str = "x-amzn-requestid";

/// Which action a request in AWS JSON is for.
const TARGET: &str = "x-amz-target";

/// Which error an answer in REST JSON is.
const ERROR_TYPE: &str = "x-amzn-errortype";

impl Lab {
    /// Settings for real SDK clients whose HTTP client is this lab. `caller` is a function's name, or
    /// `operator`.
    pub fn sdk_config(&self, caller: &str) -> SdkConfig {
        let connector = Connector { lab: self.clone(), caller: caller.to_owned() };
        let credentials = Credentials::from_keys("AKIALAB", "lab", None);
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static(crate::REGION))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(credentials))
            .sleep_impl(TokioSleep::new())
            .time_source(SharedTimeSource::new(Clock(self.clone())))
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
            .build()
    }

    /// The TCP door on a free port of the loopback interface, opened at the first call.
    ///
    /// # Errors
    /// No port could be opened.
    pub async fn tcp(&self) -> io::Result<SocketAddr> {
        self.0.door.get_or_try_init(|| self.listen((Ipv4Addr::LOCALHOST, 0).into())).await.copied()
    }

    /// Opens a TCP door on this address.
    ///
    /// # Errors
    /// The port could not be opened.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let lab = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let lab = lab.clone();
                let service = service_fn(move |request| answer(lab.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Ok(address)
    }
}

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("lifecycle-lab cut the connection")]
struct Cut;

async fn answer(lab: Lab, request: Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Cut> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (authorization, target) = (header("authorization"), header(TARGET));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let body = request.into_body().collect().await.map_err(|_| Cut)?.to_bytes();
    let http = HttpRequest { method, uri, authorization, target, body };
    let known = http.access_key().and_then(|key| lab.functions().callers.get(key).cloned());
    match lab.answer(known.unwrap_or_else(Caller::client), &http).await {
        Reply::Answer(answer) => {
            let mut response = http::Response::builder()
                .status(answer.status)
                .header("content-type", answer.content_type)
                .header(REQUEST_ID, answer.id);
            if let Some(code) = answer.error_type {
                response = response.header(ERROR_TYPE, code);
            }
            response.body(Full::from(answer.body)).map_err(|_| Cut)
        }
        Reply::Cut => Err(Cut),
        Reply::Silence => std::future::pending().await,
    }
}

#[derive(Debug, Clone)]
struct Connector {
    lab: Lab,
    caller: String,
}

impl HttpConnector for Connector {
    fn call(&self, request: orchestrator::HttpRequest) -> HttpConnectorFuture {
        let Self { lab, caller } = self.clone();
        HttpConnectorFuture::new(async move {
            let kill = current_kill();
            let caller = Caller { kill: kill.filter(|_| caller != OPERATOR), name: caller };
            let header = |name| request.headers().get(name).map(str::to_owned);
            let body = request.body().bytes().map(Bytes::copy_from_slice).unwrap_or_default();
            let unreadable = |error| ConnectorError::user(error);
            let http = HttpRequest {
                method: request.method().parse().map_err(|error| unreadable(Box::new(error)))?,
                uri: request.uri().parse().map_err(|error| unreadable(Box::new(error)))?,
                authorization: header("authorization"),
                target: header(TARGET),
                body,
            };
            match lab.answer(caller, &http).await {
                Reply::Answer(answer) => {
                    let status = answer.status.try_into();
                    let status = status.map_err(|error| ConnectorError::other(Box::new(error), None))?;
                    let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
                    response.headers_mut().insert(REQUEST_ID, answer.id);
                    if let Some(code) = answer.error_type {
                        response.headers_mut().insert(ERROR_TYPE, code);
                    }
                    Ok(response)
                }
                Reply::Cut => Err(ConnectorError::io(Box::new(Cut))),
                Reply::Silence => std::future::pending().await,
            }
        })
    }
}

/// The lab's time, for signatures.
#[derive(Debug)]
struct Clock(Lab);

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}
