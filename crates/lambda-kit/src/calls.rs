//! Counts the calls that a message makes in AWS, for its log line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

/// Attempts by API action.
pub(crate) type Calls = BTreeMap<String, u32>;

tokio::task_local! {
    static CALLS: RefCell<Calls>;
}

/// Runs `work` and returns, besides its result, the calls that it made with clients that have [`CountCalls`].
pub(crate) async fn counted<T>(work: impl Future<Output = T>) -> (T, Calls) {
    CALLS.scope(RefCell::default(), async { (work.await, CALLS.with(RefCell::take)) }).await
}

/// An interceptor that counts each attempt of each call. Every client of a function has it.
#[derive(Debug)]
pub struct CountCalls;

#[dyn_dispatch_hint]
impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = settings.load::<Metadata>() {
            // A client can also be used outside of a message.
            let _ = CALLS.try_with(|calls| {
                *calls.borrow_mut().entry(call.name().to_owned()).or_default() += 1;
            });
        }
        Ok(())
    }
}
