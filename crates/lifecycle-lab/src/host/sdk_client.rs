//! The door for SDK clients in this process: an HTTP client that works under paused time.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
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

use super::answer::Reply;
use super::call::{Caller, OPERATOR};
use super::lab::Lab;
use super::lambda::handler::current_kill;
use crate::aws::world::REGION;
use crate::wire::{HttpRequest, TARGET};

impl Lab {
    /// Settings for real SDK clients whose HTTP client is this lab. `caller` is a function's name, or
    /// `operator`.
    pub fn sdk_config(&self, caller: &str) -> SdkConfig {
        let connector = Connector { lab: self.clone(), caller: caller.to_owned() };
        let credentials = Credentials::from_keys("AKIALAB", "lab", None);
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::from_static(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .sleep_impl(TokioSleep::new())
            .time_source(SharedTimeSource::new(Clock(self.clone())))
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
            .build()
    }
}

/// The connection was cut.
#[derive(Debug, thiserror::Error)]
#[error("lifecycle-lab cut the connection")]
struct Cut;

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
                    for (name, value) in answer.headers {
                        response.headers_mut().insert(name, value);
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
