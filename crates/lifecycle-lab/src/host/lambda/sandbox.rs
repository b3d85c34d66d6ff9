//! An execution environment: a built binary in a process of its own, and the Runtime API that gives it events.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::AbortHandle;

use super::run::{FunctionError, Run, RunError};
use crate::aws::world::{ACCOUNT, REGION};

/// Lambda's limit for the init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A running process of a function.
#[derive(Debug)]
pub(in crate::host) struct Sandbox {
    child: Child,
    kill: Arc<Notify>,
    next: mpsc::UnboundedSender<(Run, Duration)>,
    said: mpsc::UnboundedReceiver<Said>,
    /// The version of the function's environment at its start.
    pub(in crate::host) environment: u64,
    /// It failed to start or was killed, so it takes no other event.
    ended: bool,
    runtime_api: AbortHandle,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.runtime_api.abort();
    }
}

/// A message of the process to the Runtime API.
#[derive(Debug)]
enum Said {
    /// It took the event. Its time limit begins.
    Taken,
    /// The answer to the run of this request id.
    Answer(String, Result<Value, RunError>),
    /// It failed to start.
    InitError(FunctionError),
}

impl Sandbox {
    /// Starts the binary with Lambda's environment and these variables. Its output goes to `log`, line by
    /// line. `kill` kills it.
    pub(in crate::host) async fn start(
        function: &str,
        path: &Path,
        environment: u64,
        variables: impl Iterator<Item = (String, String)>,
        kill: Arc<Notify>,
        log: impl Fn(String) + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the Runtime API's port")?;
        let runtime_api = listener.local_addr()?;

        let (next, events) = mpsc::unbounded_channel();
        let (speak, said) = mpsc::unbounded_channel();
        let serving = tokio::spawn(serve(listener, Arc::new(Mutex::new(events)), speak)).abort_handle();

        let mut child = Command::new(path)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string())
            .env("AWS_SECRET_ACCESS_KEY", "lab")
            .env("AWS_SESSION_TOKEN", "lab")
            .env("AWS_REGION", REGION)
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{function}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "lab")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{}", path.display()))?;
        for stream in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            tokio::spawn(capture(log.clone(), stream));
        }
        Ok(Self { child, kill, next, said, environment, ended: false, runtime_api: serving })
    }

    /// Passes one event to the process, and waits for the answer, the end of the process or the time limit.
    /// The time limit begins when the process takes the event.
    pub(in crate::host) async fn run(&mut self, run: &Run, limit: Duration) -> Result<Value, RunError> {
        if self.next.send((run.clone(), limit)).is_err() {
            return Err(RunError::Exited("the Runtime API has ended".to_owned()));
        }
        let mut left = INIT_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                said = self.said.recv() => match said {
                    Some(Said::Taken) => left = limit,
                    Some(Said::Answer(id, result)) if id == run.request_id => return result,
                    // The late answer of an earlier run.
                    Some(Said::Answer(..)) => {}
                    Some(Said::InitError(error)) => {
                        self.ended = true;
                        return Err(error.into());
                    }
                    None => return Err(RunError::Exited("the Runtime API has ended".to_owned())),
                },
                () = self.kill.notified() => {
                    self.end().await;
                    return Err(RunError::Killed);
                }
                status = self.child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(RunError::Exited(status));
                }
                () = tokio::time::sleep(left) => {
                    self.end().await;
                    return Err(RunError::TimedOut(left));
                }
            }
        }
    }

    /// The environment, if its process can take another event.
    pub(in crate::host) fn alive(mut self) -> Option<Self> {
        (!self.ended && matches!(self.child.try_wait(), Ok(None))).then_some(self)
    }

    async fn end(&mut self) {
        self.ended = true;
        // The process may have ended already.
        let _ = self.child.kill().await;
    }
}

type Events = Arc<Mutex<mpsc::UnboundedReceiver<(Run, Duration)>>>;

/// The Runtime API of one process.
async fn serve(listener: TcpListener, events: Events, speak: mpsc::UnboundedSender<Said>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (events, speak) = (events.clone(), speak.clone());
        let service = service_fn(move |request| route(request, events.clone(), speak.clone()));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn route(
    request: Request<Incoming>,
    events: Events,
    speak: mpsc::UnboundedSender<Said>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method().clone();
    let path = request.uri().path().trim_start_matches("/2018-06-01/runtime").to_owned();
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let read_error = || {
        serde_json::from_slice(&body)
            .unwrap_or_else(|_| FunctionError::new("Unreadable", String::from_utf8_lossy(&body).into_owned()))
    };
    let steps: Vec<&str> = path.split('/').collect();
    let said = match (&method, steps.as_slice()) {
        (&Method::GET, ["", "invocation", "next"]) => return Ok(next(&events, &speak).await),
        (&Method::POST, ["", "invocation", id, "response"]) => {
            let answer =
                serde_json::from_slice(&body).map_err(|error| RunError::Unreadable(error.to_string()));
            Said::Answer((*id).to_owned(), answer)
        }
        (&Method::POST, ["", "invocation", id, "error"]) => {
            Said::Answer((*id).to_owned(), Err(read_error().into()))
        }
        (&Method::POST, ["", "init", "error"]) => Said::InitError(read_error()),
        _ => return Ok(status(StatusCode::NOT_FOUND)),
    };
    // The host may no longer listen to this process.
    let _ = speak.send(said);
    Ok(status(StatusCode::ACCEPTED))
}

async fn next(events: &Events, speak: &mpsc::UnboundedSender<Said>) -> Response<Full<Bytes>> {
    let Some((run, limit)) = events.lock().await.recv().await else {
        return status(StatusCode::GONE);
    };
    // As for the answers.
    let _ = speak.send(Said::Taken);
    #[expect(clippy::disallowed_methods, reason = "a process knows no other clock than the machine's")]
    let deadline =
        (SystemTime::now() + limit).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let arn = format!("arn:aws:lambda:{}:{}:function:{}", REGION, ACCOUNT, run.function);
    let answer = Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", &run.request_id)
        .header("lambda-runtime-deadline-ms", deadline.to_string())
        .header("lambda-runtime-invoked-function-arn", arn)
        .header("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0")
        .body(Full::from(run.payload.to_string()));
    answer.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn status(code: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = code;
    response
}

fn boxed(stream: impl AsyncRead + Send + Unpin + 'static) -> Box<dyn AsyncRead + Send + Unpin> {
    Box::new(stream)
}

async fn capture(log: impl Fn(String), stream: Box<dyn AsyncRead + Send + Unpin>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        log(line);
    }
    Ok(())
}
