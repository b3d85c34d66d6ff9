//! Reconcile: finds the waits without their events and handles each as an event does. It takes the image of a
//! termination whose event was lost, completes the action whose image has ended, and sends heartbeats for one whose
//! image is pending. It also deletes old images.
//!
//! AWS calls: those of `lifecycle_core::reconcile`, `work`, `images`, `current` and `retention`.

use std::sync::Arc;

use aws_sdk_autoscaling::types::AutoScalingGroup;
use lambda_kit::{Answer, Error, Invocation, Warning};
use lifecycle_core::Transition;
use lifecycle_core::outcome::SWEEP_INCOMPLETE;
use lifecycle_core::pending::Found;
use lifecycle_core::reconcile::{Did, Handled, turn};
use serde_json::Map;
use tracing::{debug, warn};

use crate::cause::Termination;
use crate::image::{Image, Standing};
use crate::plan::{FROM_POOL, Hook, Observed, ROOT_VOLUME, TO_POOL};
use crate::retention::Retention;
use crate::succession::Successions;
use crate::work::{Case, Work};

/// Reconciles the stored groups and the groups of the configuration.
pub(crate) async fn reconcile(
    work: &Work,
    retention: &Retention,
    invocation: &Invocation,
) -> Result<Answer, Error> {
    // Observe.
    let named = work.config.groups.clone();
    let (stored, unread) = match work.current.stored().await {
        Ok(stored) => (stored, None),
        // Then the cause of each termination decides.
        Err(error) if !named.is_empty() => (Vec::new(), Some(error)),
        Err(error) => return Err(error),
    };
    let names = stored.iter().fold(named, |names, stored| names.and(Some(stored.clone())));
    if names.is_empty() {
        warn!(
            "no group is stored and AUTO_SCALING_GROUPS is not set, so the sweep has no group to reconcile"
        );
    }
    let mut round = work.reconciler.look(&names, invocation).await?;
    if let Some(error) = unread {
        let text = format!("the stored groups can't be read: {}", error.chain());
        round.warn(Warning { failure: SWEEP_INCOMPLETE, text, about: Map::new() });
    }
    let waits = std::mem::take(&mut round.waits);
    let groups: Arc<[AutoScalingGroup]> = round.groups.clone().into();
    let images = images(work, &waits).await;
    let case = |found: Found| Case {
        observed: Observed {
            stored: Some(stored.clone()),
            groups: Some(Some(Arc::clone(&groups))),
            earlier_images: images.as_ref().map(|images| of_wait(&found, images)),
            ..observed(work, &found, invocation)
        },
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

    // After a roll-back, a stored group is gone.
    let gone = Successions { stored: &stored, groups: &groups, entries: &work.config.groups }.gone();
    if let Some(first) = gone.first()
        && let Err(error) = work.current.forget(&gone).await
    {
        round.fail(first, error);
    }
    let removed = match work.config.image_retention {
        Some(age) => Some(retention.apply(work.images.all().await, age, invocation).await),
        None => None,
    };

    // Report.
    for warning in removed.iter().flat_map(|removed| &removed.failed) {
        round.warn(warning.clone());
    }
    let answer = work.reconciler.answer(round)?;
    Ok(removed.into_iter().fold(answer, |answer, removed| removed.explain(answer)))
}

/// This function's images of all instances that wait. Without them, each wait looks for its own.
async fn images(work: &Work, waits: &[Found]) -> Option<Vec<Image>> {
    let terminating = waits.iter().filter(|found| found.transition == Transition::Terminating);
    let instances: Vec<&str> = terminating.map(|found| found.wait.instance.as_str()).collect();
    let images = work.images.of_instances(&instances).await;
    images.map_err(|error| debug!("the images can't be read at once: {}", error.chain())).ok()
}

/// The images that may be the wait's.
fn of_wait(found: &Found, images: &[Image]) -> Vec<Image> {
    let of_instance = images.iter().filter(|image| image.wait.instance == found.wait.instance);
    of_instance.cloned().collect()
}

/// The observations of a wait without its event.
fn observed(work: &Work, found: &Found, invocation: &Invocation) -> Observed {
    let now = invocation.now();
    let exempt = [
        (found.replaces_root_volume, ROOT_VOLUME),
        (found.to_pool, TO_POOL),
        (found.dies_in_pool, FROM_POOL),
    ];
    Observed {
        exempt: exempt.into_iter().find(|(is_exempt, _)| *is_exempt).map(|(_, why)| why),
        hook: Some(Hook {
            heartbeat: found.timers.heartbeat,
            ends_before_next: work.reconciler.ends_before_next(found, now),
            ends_for_good: work.reconciler.ends_for_good(found, now),
        }),
        termination: Some(Termination::of(found.activity.clone())),
        retained: Some(found.was_retained),
        ..Observed::new(found.wait.clone(), found.transition.clone(), found.since(now))
    }
}

/// Waits without an image come first, then those whose image has ended.
fn rank(observed: &Observed) -> u8 {
    match observed.earlier_images.iter().flatten().next_back().map(|image| image.standing) {
        None => 0,
        Some(Standing::Ready | Standing::Failed) => 1,
        Some(Standing::Pending) => 2,
    }
}

async fn handle_case(work: &Work, case: Case) -> Result<Handled, Error> {
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
    let did = done.did;
    // The run that ended the action has reported what failed.
    let warning = done.answer().warnings.pop().filter(|_| did != Did::AlreadyFinished);
    Ok(Handled { did, warning })
}
