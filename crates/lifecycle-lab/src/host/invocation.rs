//! Invokes functions: single invocations, asynchronous ones with Lambda's retries and failure queue, and schedules.
//! Collects what functions write.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::call::Caller;
use super::lab::Lab;
use super::lambda::function::{Code, Function};
use super::lambda::handler::handle;
use super::lambda::run::{Condition, Failure, Run, RunError};
use super::lambda::sandbox::Sandbox;
use super::moment::What;

/// Lambda's pauses before the first and the second retry of an asynchronous invocation that failed: as documented,
/// which is how Lambda compares them with the event's greatest age, and as recorded.
const RETRY_INTERVALS: [(Duration, Duration); 2] = [
    (Duration::from_secs(60), Duration::from_millis(53_500)),
    (Duration::from_secs(120), Duration::from_secs(120)),
];

/// How long an event takes to the failure queue of a function that is switched off. Recorded.
const ZERO_CONCURRENCY_DELAY: Duration = Duration::from_millis(33);

/// Lambda's first and longest pause before it retries a throttled event. The pauses grow exponentially. AWS
/// does not document the factor; here they double.
const THROTTLE_RETRY_INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5 * 60)];

/// The defaults of `MaximumRetryAttempts` and `MaximumEventAgeInSeconds`: an event that has waited for so long is
/// given up.
const EVENT_LIMITS: (u32, Duration) = (2, Duration::from_secs(6 * 3_600));

/// The concurrency that one run takes, until this is dropped.
#[derive(Debug)]
struct Room {
    lab: Lab,
    function: String,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.lab.functions().concurrency.leave(&self.function);
    }
}

impl Lab {
    /// Adds a function, or replaces the function of this name and ends its processes. Its configuration gets
    /// the variables of a binary. A handler has no variables until
    /// [`World::set_variables`](crate::World::set_variables).
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

    /// Removes all functions. A handler that owns a handle to its lab keeps both in memory. Call this at the
    /// end of each lab if you run many of them.
    pub fn remove_functions(&self) {
        let removed = std::mem::take(&mut self.functions().by_name);
        // After the lock is released, because something that a handler owns may take the lock when it is
        // dropped.
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

    /// The content of the failure queues.
    pub fn failures(&self) -> Vec<Failure> {
        self.functions().failures.clone()
    }

    /// What functions wrote to standard output and standard error, line by line.
    pub fn logs(&self) -> Vec<String> {
        self.functions().logs.clone()
    }

    /// Records a line that a function wrote. The lab calls this for the output of processes.
    pub fn log(&self, function: &str, line: String) {
        self.notice(What::Logged { function: function.to_owned(), line: line.clone() });
        self.functions().logs.push(line);
    }

    /// A channel to which a handler writes its lines. Each is logged at once.
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

    pub(super) fn keep(
        &self,
        function: &str,
        payload: Value,
        condition: Option<Condition>,
        error: RunError,
        attempts: u32,
        request_id: String,
    ) {
        let (function, at) = (function.to_owned(), self.now());
        let failure = Failure { function, payload, error, attempts, condition, request_id, at };
        self.functions().failures.push(failure);
    }

    /// Sets a function's `MaximumRetryAttempts`, 0 to 2, and `MaximumEventAgeInSeconds`.
    pub fn limit_events(&self, function: &str, max_retries: u32, max_age: Duration) {
        self.functions().event_limits.insert(function.to_owned(), (max_retries, max_age));
    }

    /// An asynchronous invocation: run again after one and two minutes if it fails, then kept by the
    /// failure queue. Where Lambda has no room for it, it waits. An event that would be too old at the next try is kept
    /// without that wait. The limits count as they are when an attempt has failed: a retry that waits already comes all
    /// the same (recorded). Ends when the event is dealt with.
    pub async fn invoke_async(&self, function: &str, payload: Value) {
        let queued = self.now();
        let request = self.faults().uuid();
        let limits = || self.functions().event_limits.get(function).copied().unwrap_or(EVENT_LIMITS);
        let too_old =
            |pause: Duration| (self.now() - queued).to_std().unwrap_or_default() + pause >= limits().1;
        let keep = |condition, error, attempts| {
            self.keep(function, payload.clone(), Some(condition), error, attempts, request.clone());
        };
        let mut attempts = 0;
        let mut last = None;
        let [mut pause, longest] = THROTTLE_RETRY_INTERVALS;
        loop {
            let Some(room) = self.room_for(function) else {
                self.notice(What::Throttled { function: function.to_owned(), payload: payload.clone() });
                if self.functions().concurrency.is_off(function) {
                    self.sleep(ZERO_CONCURRENCY_DELAY).await;
                    return keep(
                        Condition::ZeroReservedConcurrency,
                        last.unwrap_or(RunError::NoRoom),
                        attempts,
                    );
                }
                if too_old(pause) {
                    return keep(Condition::EventAgeExceeded, last.unwrap_or(RunError::TooOld), attempts);
                }
                self.sleep(pause).await;
                pause = longest.min(pause * 2);
                continue;
            };
            attempts += 1;
            let run = self.run(room, function, payload.clone(), attempts, request.clone());
            let Err(error) = run.await else { return };
            let Some((documented, pause)) =
                RETRY_INTERVALS.iter().take(limits().0 as usize).nth(attempts as usize - 1)
            else {
                return keep(Condition::RetriesExhausted, error, attempts);
            };
            if too_old(*documented) {
                return keep(Condition::EventAgeExceeded, error, attempts);
            }
            last = Some(error);
            self.sleep(*pause).await;
        }
    }

    /// Runs a function once. `attempt` counts from 1.
    ///
    /// # Errors
    /// The function's own error, or the reason why it returned no answer.
    pub async fn invoke(&self, name: &str, payload: Value, attempt: u32) -> Result<Value, RunError> {
        let Some(room) = self.room_for(name) else {
            self.notice(What::Throttled { function: name.to_owned(), payload });
            return Err(RunError::NoRoom);
        };
        let request = self.faults().uuid();
        self.run(room, name, payload, attempt, request).await
    }

    /// Runs a function once in the room that Lambda has for it.
    async fn run(
        &self,
        _room: Room,
        name: &str,
        payload: Value,
        attempt: u32,
        request_id: String,
    ) -> Result<Value, RunError> {
        let function = self.functions().by_name.get(name).cloned();
        let Some(function) = function else {
            return Err(RunError::NotFound(name.to_owned()));
        };
        let run = Run { function: name.to_owned(), request_id, attempt, payload };
        self.notice(What::Started(run.clone()));
        let result = match &function.code {
            Code::Handler(handler) => handle(handler, &run, function.time_limit).await,
            Code::Binary { path, .. } => self.run_process(path, &run, function.time_limit).await,
        };
        self.notice(What::Ended(run, result.clone()));
        result
    }

    /// Runs a function in a process that waits for an event, or in a new one.
    async fn run_process(&self, path: &Path, run: &Run, limit: Duration) -> Result<Value, RunError> {
        let name = &run.function;
        let (environment, variables) = self.world(|world| world.functions.environment(name));
        let idle = self.functions().idle.get_mut(name).and_then(|idle| {
            idle.retain(|sandbox| sandbox.environment == environment);
            idle.pop()
        });
        let sandbox = match idle.and_then(Sandbox::alive) {
            Some(sandbox) => Ok(sandbox),
            None => self.start_process(name, path, environment, variables).await,
        };
        let mut sandbox = sandbox.map_err(|error| RunError::NotStarted(error.to_string()))?;
        let result = sandbox.run(run, limit).await;
        let alive = sandbox.alive();
        self.functions().idle.entry(name.clone()).or_default().extend(alive);
        result
    }

    /// Starts a process. It signs with an access key of its own, by which the lab recognizes its calls.
    async fn start_process(
        &self,
        function: &str,
        path: &Path,
        environment: u64,
        variables: BTreeMap<String, String>,
    ) -> anyhow::Result<Sandbox> {
        let aws = self.tcp().await.context("the lab's TCP door")?;
        let kill = Arc::new(Notify::new());
        let access_key =
            self.world(|world| format!("AKIALAB{}", world.uuid().replace('-', "").to_uppercase()));
        let caller = Caller { name: function.to_owned(), kill: Some(kill.clone()) };
        self.functions().callers.insert(access_key.clone(), caller);
        let own = [
            ("AWS_ENDPOINT_URL".to_owned(), format!("http://{aws}")),
            ("AWS_ACCESS_KEY_ID".to_owned(), access_key),
        ];
        let variables = own.into_iter().chain(variables);
        let (lab, name) = (self.clone(), function.to_owned());
        let log = move |line| lab.log(&name, line);
        Sandbox::start(function, path, environment, variables, kill, log).await
    }

    /// Limits the number of concurrent runs of all functions together. AWS's default is 1,000, and less in
    /// new accounts.
    pub fn limit_concurrency(&self, limit: u32) {
        self.functions().concurrency.limit = Some(limit);
    }

    /// Reserves a part of the account's limit for a function: the others can't use it, and the function can't
    /// use more. None at all stops the function: its events go to the failure queue at once.
    pub fn reserve_concurrency(&self, function: &str, reserved: u32) {
        self.functions().concurrency.reserved.insert(function.to_owned(), reserved);
    }

    /// The concurrency for a run. `None` if the run is throttled.
    fn room_for(&self, function: &str) -> Option<Room> {
        let room = self.functions().concurrency.enter(function);
        room.then(|| Room { lab: self.clone(), function: function.to_owned() })
    }
}
