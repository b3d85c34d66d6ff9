//! Lambda: functions that run as processes of their own over the Runtime API, or as handlers in this
//! process under paused time; asynchronous invocation with its retries and the failure queue. How many run at
//! once is `concurrency`'s, their configurations are `configuration`'s, and what is said to those is `api`'s.

mod api;
mod concurrency;
mod configuration;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub(crate) use api::call;
use concurrency::{Concurrency, Room};
pub(crate) use configuration::Timer;
pub use configuration::{Configuration, Configurations};

use crate::lab::{Caller, Lab, What};
use crate::sandbox::Sandbox;

/// Lambda's pauses before the first and the second retry of an asynchronous invocation that failed.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// Lambda's first and its longest pause before it tries a throttled event again; from one to the other they
/// grow exponentially. AWS does not say by which factor: here they double.
const THROTTLE_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5 * 60)];

/// An event that has waited for so long is given up: the default of `MaximumEventAgeInSeconds`.
const EVENT_AGE: TimeDelta = TimeDelta::hours(6);

tokio::task_local! {
    /// The run whose handler is this task's: the function's name, and how to kill it.
    static RUN: (String, Arc<Notify>);
}

/// A function's answer to what it could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionError {
    /// Stable name.
    pub error_type: String,
    /// Text.
    pub error_message: String,
}

/// A handler in this process: gets the payload and the time limit.
pub type Handler =
    Arc<dyn Fn(Value, Duration) -> BoxFuture<'static, Result<Value, FunctionError>> + Send + Sync>;

/// What a function runs.
pub enum Code {
    /// A handler in this process.
    Handler(Handler),
    /// A binary that speaks the Runtime API.
    Binary {
        /// The binary.
        path: PathBuf,
        /// The function's own variables, until its configuration is changed.
        variables: BTreeMap<String, String>,
    },
}

impl Code {
    /// A handler in this process.
    pub fn handler<F>(run: impl Fn(Value, Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, FunctionError>> + Send + 'static,
    {
        Self::Handler(Arc::new(move |payload, limit| run(payload, limit).boxed()))
    }
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it runs.
    pub code: Code,
    /// A run longer than this is killed.
    pub time_limit: Duration,
}

/// A run of a function.
#[derive(Debug, Clone)]
pub struct Run {
    /// The function.
    pub function: String,
    /// The request's id.
    pub request_id: String,
    /// From 1; more than that is a retry.
    pub attempt: u32,
    /// What it was invoked with.
    pub payload: Value,
}

/// An event that the failure queue keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The function.
    pub function: String,
    /// What it was invoked with.
    pub payload: Value,
    /// How the last attempt ended.
    pub error: FunctionError,
    /// How many there were.
    pub attempts: u32,
}

/// The functions of the account.
#[derive(Default)]
pub(crate) struct Functions {
    by_name: BTreeMap<String, Arc<Function>>,
    idle: BTreeMap<String, Vec<Sandbox>>,
    /// Processes by the access key id that they sign with.
    pub(crate) callers: BTreeMap<String, Caller>,
    failures: Vec<Failure>,
    logs: Vec<String>,
    concurrency: Concurrency,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}

/// How to kill the handler that this task runs, if it runs one.
pub(crate) fn current_kill() -> Option<Arc<Notify>> {
    RUN.try_with(|(_, kill)| kill.clone()).ok()
}

/// The function whose handler this task runs, if it runs one: for those who collect logs.
pub fn running_function() -> Option<String> {
    RUN.try_with(|(function, _)| function.clone()).ok()
}

impl Lab {
    /// Adds a function, or replaces the one of this name; its processes end. A binary's variables are its
    /// configuration's; a handler's are empty until [`World::set_variables`](crate::World::set_variables).
    pub fn add_function(&self, function: Function) {
        let variables = match &function.code {
            Code::Handler(_) => BTreeMap::new(),
            Code::Binary { variables, .. } => variables.clone(),
        };
        self.world(|world| world.deploy(&function.name, function.time_limit.as_secs(), variables));
        let mut functions = self.functions();
        functions.idle.remove(&function.name);
        functions.by_name.insert(function.name.clone(), Arc::new(function));
    }

    /// Removes all functions. A handler that holds the lab which holds it keeps both for good: who plays many
    /// labs ends each with this.
    pub fn remove_functions(&self) {
        let removed = std::mem::take(&mut self.functions().by_name);
        // Not while the lock is held: what handlers own may want it when it is dropped.
        drop(removed);
    }

    /// Invokes a function every `period` of the lab's time, as a schedule does.
    pub fn schedule(&self, period: Duration, function: &str, payload: Value) {
        let (lab, function) = (self.clone(), function.to_owned());
        tokio::spawn(async move {
            loop {
                lab.sleep(period).await;
                let (lab, function, payload) = (lab.clone(), function.clone(), payload.clone());
                tokio::spawn(async move { lab.invoke_async(&function, payload).await });
            }
        });
    }

    /// What the failure queues hold.
    pub fn failures(&self) -> Vec<Failure> {
        self.functions().failures.clone()
    }

    /// What functions wrote to standard output and standard error, line by line.
    pub fn logs(&self) -> Vec<String> {
        self.functions().logs.clone()
    }

    /// Takes a line that a function wrote. Those of processes come here by themselves.
    pub fn log(&self, function: &str, line: String) {
        self.notice(What::Logged { function: function.to_owned(), line: line.clone() });
        self.functions().logs.push(line);
    }

    /// Where a handler writes its lines, which are logged at once.
    pub fn pipe(&self, function: &str) -> UnboundedSender<String> {
        let (sender, mut lines) = unbounded_channel();
        let (lab, function) = (self.clone(), function.to_owned());
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                lab.log(&function, line);
            }
        });
        sender
    }

    pub(crate) fn keep(&self, function: &str, payload: Value, error: FunctionError, attempts: u32) {
        self.functions().failures.push(Failure { function: function.to_owned(), payload, error, attempts });
    }

    /// An asynchronous invocation: run again after one and two minutes if it fails, then kept by the
    /// failure queue. Where Lambda has no room for it, it waits, for six hours at most. Ends when the event is
    /// dealt with.
    pub async fn invoke_async(&self, function: &str, payload: Value) {
        let queued = self.now();
        let mut attempt = 1;
        let [mut pause, longest] = THROTTLE_PAUSES;
        loop {
            let Some(room) = self.room_for(function) else {
                self.notice(What::Throttled { function: function.to_owned(), payload: payload.clone() });
                if self.now() + pause - queued > EVENT_AGE {
                    let error = FunctionError::new("EventAgeExceeded", "Rate Exceeded.");
                    return self.keep(function, payload, error, attempt - 1);
                }
                self.sleep(pause).await;
                pause = longest.min(pause * 2);
                continue;
            };
            let Err(error) = self.run(room, function, payload.clone(), attempt).await else { return };
            let Some(pause) = RETRY_PAUSES.get(attempt as usize - 1) else {
                return self.keep(function, payload, error, attempt);
            };
            self.sleep(*pause).await;
            attempt += 1;
        }
    }

    /// Runs a function once. `attempt` counts from 1.
    ///
    /// # Errors
    /// What the function answered, or how it ended without an answer: `Runtime.ExitError`,
    /// `Sandbox.Timedout`, an error of its start, `ResourceNotFoundException`; `TooManyRequestsException` where
    /// Lambda has no room for it.
    pub async fn invoke(&self, name: &str, payload: Value, attempt: u32) -> Result<Value, FunctionError> {
        let Some(room) = self.room_for(name) else {
            self.notice(What::Throttled { function: name.to_owned(), payload });
            return Err(FunctionError::new("TooManyRequestsException", "Rate Exceeded."));
        };
        self.run(room, name, payload, attempt).await
    }

    /// Runs a function once in the room that Lambda has for it.
    async fn run(
        &self,
        _room: Room,
        name: &str,
        payload: Value,
        attempt: u32,
    ) -> Result<Value, FunctionError> {
        let function = self.functions().by_name.get(name).cloned();
        let Some(function) = function else {
            return Err(FunctionError::new(
                "ResourceNotFoundException",
                format!("Function not found: {name}"),
            ));
        };
        let run = Run { function: name.to_owned(), request_id: self.faults().uuid(), attempt, payload };
        self.notice(What::Started(run.clone()));
        let result = match &function.code {
            Code::Handler(handler) => handle(handler, &run, function.time_limit).await,
            Code::Binary { path, .. } => {
                let (environment, variables) = self.world(|world| world.functions.environment(name));
                let idle = self.functions().idle.get_mut(name).and_then(|idle| {
                    idle.retain(|sandbox| sandbox.environment == environment);
                    idle.pop()
                });
                let sandbox = match idle.and_then(Sandbox::alive) {
                    Some(sandbox) => Ok(sandbox),
                    None => Sandbox::start(self, name, path, environment, &variables).await,
                };
                match sandbox {
                    Err(error) => Err(FunctionError::new("Runtime.StartError", error.to_string())),
                    Ok(mut sandbox) => {
                        let result = sandbox.run(&run, function.time_limit).await;
                        let alive = sandbox.alive();
                        self.functions().idle.entry(name.to_owned()).or_default().extend(alive);
                        result
                    }
                }
            }
        };
        self.notice(What::Ended(run, result.clone()));
        result
    }
}

async fn handle(handler: &Handler, run: &Run, limit: Duration) -> Result<Value, FunctionError> {
    let kill = Arc::new(Notify::new());
    let work = AssertUnwindSafe(handler(run.payload.clone(), limit)).catch_unwind();
    tokio::select! {
        biased;
        () = kill.notified() => Err(FunctionError::killed()),
        result = RUN.scope((run.function.clone(), kill.clone()), work) => {
            result.unwrap_or_else(|_| Err(FunctionError::new("Runtime.ExitError", "the handler panicked")))
        }
        () = tokio::time::sleep(limit) => Err(FunctionError::timed_out(limit)),
    }
}

impl FunctionError {
    /// An error of this name with this text.
    pub fn new(error_type: &str, error_message: impl Into<String>) -> Self {
        Self { error_type: error_type.to_owned(), error_message: error_message.into() }
    }

    pub(crate) fn killed() -> Self {
        Self::new("Runtime.ExitError", "Runtime exited with error: signal: killed")
    }

    pub(crate) fn timed_out(limit: Duration) -> Self {
        Self::new("Sandbox.Timedout", format!("Task timed out after {:.2} seconds", limit.as_secs_f64()))
    }
}
