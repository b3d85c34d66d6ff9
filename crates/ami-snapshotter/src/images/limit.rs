//! `MAX_IMAGES_PER_HOUR`: counts the images of a group. The list of EC2 lags, and runs of one process don't see one
//! another's images in it, so each run reserves a place before it takes an image. Within one process the limit is exact.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lambda_kit::{Error, Invocation};
use lifecycle_core::Wait;

use crate::image::{Image, Standing};

/// The period of the limit.
pub(crate) const COUNT_PERIOD: TimeDelta = TimeDelta::hours(1);

/// How long EC2's list may not show an image of this process. One that it does not show later was deregistered.
const LIST_LAG: TimeDelta = TimeDelta::minutes(1);

/// The pause before a run looks again whether another run's attempt has filled the last place.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The images that this process has taken or is about to take, by group.
#[derive(Debug, Default)]
pub(crate) struct Limit(Mutex<HashMap<String, Vec<Place>>>);

#[derive(Debug)]
struct Place {
    number: u64,
    since: DateTime<Utc>,
    /// The hook and the instance of the image's wait.
    hook: String,
    instance: String,
    /// The image, after EC2 has accepted it.
    image: Option<String>,
}

/// A place for one image. Without [`Reserved::fill`] it is free again.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    limit: &'a Limit,
    group: &'a str,
    number: u64,
}

impl Limit {
    /// Reserves a place for an image of `wait`, of whose group EC2 lists these images, or returns how many images fill
    /// all of the places. Waits while another run may yet leave the last place. An image of the same wait, which a
    /// second delivery of its event has just taken, fills no place: the name leads this run to it. One that was
    /// deregistered since does.
    ///
    /// # Errors
    /// [`Error::Timeout`]: the run was over before.
    pub(crate) async fn reserve<'a>(
        &'a self,
        wait: &'a Wait,
        listed: &[Image],
        most: usize,
        invocation: &Invocation,
    ) -> Result<Result<Reserved<'a>, usize>, Error> {
        loop {
            let now = invocation.now();
            match self.try_reserve(wait, listed, most, now) {
                Ok(Some(number)) => return Ok(Ok(Reserved { limit: self, group: &wait.group, number })),
                Err(full) => return Ok(Err(full)),
                Ok(None) if invocation.time_left() < POLL_INTERVAL => {
                    return Err(Error::Timeout(format!(
                        "other images of {} were requested all the time",
                        wait.group
                    )));
                }
                Ok(None) => tokio::time::sleep(POLL_INTERVAL).await,
            }
        }
    }

    /// The number of a new place; nothing if attempts fill the last one; or how many images there are.
    fn try_reserve(
        &self,
        wait: &Wait,
        listed: &[Image],
        most: usize,
        now: DateTime<Utc>,
    ) -> Result<Option<u64>, usize> {
        let mut groups = self.places();
        groups.retain(|_, places| {
            places.retain(|place| place.since > now - COUNT_PERIOD);
            !places.is_empty()
        });
        let places = groups.entry(wait.group.clone()).or_default();
        let is_listed = |id: &String| listed.iter().any(|image| image.id == *id);
        let of_others = |place: &&Place| {
            (&place.hook, &place.instance) != (&wait.hook, &wait.instance) || place.since < now - LIST_LAG
        };
        let unlisted = places.iter().filter(|place| place.image.as_ref().is_some_and(|id| !is_listed(id)));
        let unlisted = unlisted.filter(of_others);
        let count = counted(listed, now) + unlisted.count();
        let attempts = places.iter().filter(|place| place.image.is_none()).count();
        if count >= most {
            return Err(count);
        }
        if count + attempts >= most {
            return Ok(None);
        }
        let number = places.iter().map(|place| place.number + 1).max().unwrap_or_default();
        let (hook, instance) = (wait.hook.clone(), wait.instance.clone());
        places.push(Place { number, since: now, hook, instance, image: None });
        Ok(Some(number))
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Vec<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// EC2 has accepted the image.
    pub(crate) fn fill(self, image: &str) {
        let mut groups = self.limit.places();
        let place = groups
            .get_mut(self.group)
            .and_then(|places| places.iter_mut().find(|place| place.number == self.number));
        if let Some(place) = place {
            place.image = Some(image.to_owned());
        }
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if let Some(places) = self.limit.places().get_mut(self.group) {
            places.retain(|place| place.number != self.number || place.image.is_some());
        }
    }
}

/// How many of a group's images count for the limit: those of the last hour that are pending or available.
pub(crate) fn counted(images: &[Image], now: DateTime<Utc>) -> usize {
    let counts = |image: &&Image| image.standing != Standing::Failed && image.created > now - COUNT_PERIOD;
    images.iter().filter(counts).count()
}
