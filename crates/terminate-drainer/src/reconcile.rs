//! Reconcile: finds all waits in AWS's own state, then handles each wait as after an event. It starts a drain that
//! was never started, completes the action of one that has ended, and sends heartbeats for one that still runs. A wait
//! that ends before the next sweep is answered by policy.
//!
//! AWS calls: those of `lifecycle_core::reconcile` and `commands`.

use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::pending::Found;
use lifecycle_core::reconcile::{Did, Handled, turn};
use tracing::warn;

use crate::plan::{self, Ends, Observed, Step};
use crate::report::report;
use crate::{Case, Context, Effect};

impl Context {
    /// Reconciles the groups of the configuration.
    pub(crate) async fn reconcile(&self, invocation: &Invocation) -> Result<Answer, Error> {
        if self.config.groups.is_empty() {
            warn!("AUTO_SCALING_GROUPS is not set, so the sweep has no group to reconcile");
        }
        let mut round = self.reconciler.look(&self.config.groups, invocation).await?;
        let now = invocation.now();
        let mut waits = std::mem::take(&mut round.waits);
        // What ends before the next sweep comes first.
        waits.sort_by_cached_key(|found| {
            (self.ends(found, invocation) == Ends::Later, turn(&found.wait, now))
        });
        let handle = |found, limited| self.handle_item(found, limited, invocation);
        round.for_each(waits, |found| &found.wait, invocation, handle).await;
        self.reconciler.answer(round)
    }

    fn ends(&self, found: &Found, invocation: &Invocation) -> Ends {
        let now = invocation.now();
        if self.reconciler.ends_for_good(found, now) {
            Ends::ForGood
        } else if self.reconciler.ends_before_next(found, now) {
            Ends::Soon
        } else {
            Ends::Later
        }
    }

    /// Handles one wait. `limited` is its share of the `sweep`'s time.
    async fn handle_item(
        &self,
        found: Found,
        limited: Invocation,
        sweep: &Invocation,
    ) -> Result<Handled, Error> {
        // Accept.
        let wait = &found.wait;
        let case = Case { wait, action: None, found: Some(&found), announced: None, invocation: &limited };

        // Observe.
        let now = limited.now();
        let due = self.reconciler.is_due(&found, now);
        let mut seen = Observed::of_found(&found, due, self.ends(&found, &limited), now);

        // Decide and carry out.
        let (step, effect) = match self.proceed(&case, &mut seen).await {
            Ok(done) => done,
            Err(error) => match plan::give_up(&seen, &error, limited.now()) {
                Some(ending) => {
                    seen.error = Some(error.chain());
                    let step = Step::Complete(ending);
                    let effect = self.carry_out(step, &Case { invocation: sweep, ..case }, &mut seen).await?;
                    (step, effect)
                }
                None => return Err(error),
            },
        };

        // Report.
        let did = match (step, effect) {
            (_, Effect::AlreadyFinished) => Did::AlreadyFinished,
            (Step::Complete(_), _) => Did::Completed,
            _ if seen.sent => Did::Started,
            (Step::KeepAlive, _) => Did::Heartbeat,
            _ => Did::Waits,
        };
        let warning =
            report(wait, &seen, &self.config, step, effect == Effect::AlreadyFinished).warnings.pop();
        Ok(Handled { did, warning })
    }
}
