//! The door over TCP, for built binaries, the AWS CLI and all other SDKs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::answer::Reply;
use super::call::Caller;
use super::lab::Lab;
use crate::wire::{HttpRequest, TARGET};

impl Lab {
    /// The address of the TCP door, on a free port of the loopback interface. The first call opens it.
    ///
    /// # Errors
    /// No port could be opened.
    pub async fn tcp(&self) -> io::Result<SocketAddr> {
        self.tcp_address().get_or_try_init(|| self.listen((Ipv4Addr::LOCALHOST, 0).into())).await.copied()
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
            let mut response = http::Response::builder().status(answer.status);
            for (name, value) in answer.headers {
                response = response.header(name, value);
            }
            response.body(Full::from(answer.body)).map_err(|_| Cut)
        }
        Reply::Cut => Err(Cut),
        Reply::Silence => std::future::pending().await,
    }
}
