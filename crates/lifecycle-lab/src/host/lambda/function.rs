//! The functions of the account: their code, their idle processes and the failure queue.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::concurrency::Concurrency;
use super::run::{Failure, FunctionError};
use super::sandbox::Sandbox;
use crate::host::call::Caller;

/// A handler in this process: gets the payload and the time limit.
pub type Handler =
    Arc<dyn Fn(Value, Duration) -> BoxFuture<'static, Result<Value, FunctionError>> + Send + Sync>;

/// The code of a function.
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
    /// Its code.
    pub code: Code,
    /// A longer run is killed.
    pub time_limit: Duration,
}

/// The functions of the account.
#[derive(Default)]
pub(in crate::host) struct Functions {
    pub(in crate::host) by_name: BTreeMap<String, Arc<Function>>,
    pub(in crate::host) idle: BTreeMap<String, Vec<Sandbox>>,
    /// Processes by the access key id that they sign with.
    pub(in crate::host) callers: BTreeMap<String, Caller>,
    pub(in crate::host) failures: Vec<Failure>,
    pub(in crate::host) logs: Vec<String>,
    pub(in crate::host) concurrency: Concurrency,
    /// Of asynchronous invocations, by function: most retries, and the longest age.
    pub(in crate::host) event_limits: BTreeMap<String, (u32, Duration)>,
}

impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_name.keys()).finish()
    }
}
