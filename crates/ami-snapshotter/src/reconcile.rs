//! Reconcile: finds the waits without their events and handles each as an event does. It takes the image of a
//! termination whose event was lost, completes the action whose image has ended, and sends heartbeats for one whose
//! image is pending. It also deletes old images.
//!
//! AWS calls: those of `lifecycle_core::reconcile`, `work`, `images`, `current` and `retention`.

use lambda_kit::{Answer, Error, Invocation};
use lifecycle_core::pending::Found;
use lifecycle_core::reconcile::{Did, turn};
use tracing::{debug, warn};

use crate::cause::Termination;
use crate::images::{Image, Standing};
use crate::plan::{Observed, living};
use crate::retention::Retention;
use crate::work::{Case, Work};

/// Reconciles the stored group and the groups of the configuration.
pub(crate) async fn reconcile(
    work: &Work,
    retention: &Retention,
    invocation: &Invocation,
) -> Result<Answer, Error> {
    // Observe.
    let stored = work.current.stored().await?;
    let names = work.config.groups.clone().and(stored.clone());
    if names.is_empty() {
        warn!(
            "no group is stored and AUTO_SCALING_GROUPS is not set, so the sweep has no group to reconcile"
        );
    }
    let mut round = work.reconciler.look(&names, invocation).await?;
    let waits = std::mem::take(&mut round.waits);
    let images = match (waits.is_empty(), work.config.image_retention) {
        (true, None) => Vec::new(),
        _ => work.images.all().await?,
    };
    let case = |found| Case {
        observed: observed(&found, stored.as_ref(), &images, invocation),
        announced: None,
        found: Some(found),
        invocation: *invocation,
    };
    let mut cases: Vec<Case> = waits.into_iter().map(case).collect();
    let now = invocation.now();
    cases.sort_by_cached_key(|case| (rank(&case.observed), turn(&case.observed.wait, now)));

    // Decide and carry out, for each wait.
    let handle = |case, invocation| handle_case(work, Case { invocation, ..case });
    round.for_each(cases, |case| &case.observed.wait, invocation, handle).await;

    // After a roll-back, the stored group is gone.
    if let Some(gone) = stored.as_deref().filter(|stored| living(stored, &round.groups).is_none())
        && let Err(error) = work.current.forget(gone).await
    {
        round.fail(gone, error);
    }

    // Report.
    let Some(age) = work.config.image_retention else {
        return work.reconciler.answer(round);
    };
    let removed = retention.apply(&images, age, invocation).await;
    Ok(removed.explain(work.reconciler.answer(round)?))
}

/// The observations of a wait without its event. Of the images, the first one that may be the wait's.
fn observed(found: &Found, stored: Option<&String>, images: &[Image], invocation: &Invocation) -> Observed {
    let wait = found.wait.clone();
    let began = found.since(invocation.now());
    let own = images.iter().filter(|image| image.belongs_to(&wait, began)).min_by_key(|image| image.created);
    Observed {
        to_pool: found.to_pool,
        heartbeat: Some(found.timers.heartbeat),
        earlier_images: Some(own.into_iter().cloned().collect()),
        stored: Some(stored.cloned()),
        termination: Some(Termination::of(found.activity.clone())),
        ..Observed::new(wait, found.transition.clone(), began)
    }
}

/// Waits without an image come first, then those whose image has ended.
fn rank(observed: &Observed) -> u8 {
    match observed.earlier_images.iter().flatten().next().map(|image| image.standing) {
        None => 0,
        Some(Standing::Ready | Standing::Failed) => 1,
        Some(Standing::Pending) => 2,
    }
}

async fn handle_case(work: &Work, case: Case) -> Result<Did, Error> {
    let done = work.run(case).await?;
    if let Some(reason) = &done.end.reason {
        debug!(
            asg.name = done.wait.group,
            hook.name = done.wait.hook,
            instance.id = done.wait.instance,
            "{}: found by the sweep: {reason}",
            done.wait.instance
        );
    }
    Ok(done.did)
}
