//! How many runs Lambda lets be under way at once: the account's limit, and the parts of it that are reserved
//! for a function each. What finds no room is throttled.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>

use std::collections::BTreeMap;

use crate::lab::Lab;

/// The account's limit and what is under way. Without a limit everything runs at once.
#[derive(Debug, Default)]
pub(crate) struct Concurrency {
    limit: Option<u32>,
    /// By function: so much is always its own, and it never has more.
    reserved: BTreeMap<String, u32>,
    running: BTreeMap<String, u32>,
}

impl Concurrency {
    fn has_room(&self, function: &str) -> bool {
        if let Some(reserved) = self.reserved.get(function) {
            return self.running.get(function).copied().unwrap_or_default() < *reserved;
        }
        let shared = self.running.iter().filter(|(name, _)| !self.reserved.contains_key(*name));
        let shared: u32 = shared.map(|(_, count)| count).sum();
        self.limit.is_none_or(|limit| shared < limit.saturating_sub(self.reserved.values().sum()))
    }
}

/// The room that one run takes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    lab: Lab,
    function: String,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(count) = self.lab.functions().concurrency.running.get_mut(&self.function) {
            *count -= 1;
        }
    }
}

impl Lab {
    /// Lets so many runs of all functions together be under way at once. AWS's default is 1,000, and less in
    /// new accounts.
    pub fn limit_concurrency(&self, limit: u32) {
        self.functions().concurrency.limit = Some(limit);
    }

    /// Reserves a part of the account's limit for a function: the others can't use it, and the function can't
    /// use more. None at all stops the function.
    pub fn reserve_concurrency(&self, function: &str, reserved: u32) {
        self.functions().concurrency.reserved.insert(function.to_owned(), reserved);
    }

    /// Room for a run, if there is some.
    pub(super) fn room_for(&self, function: &str) -> Option<Room> {
        let concurrency = &mut self.functions().concurrency;
        concurrency.has_room(function).then(|| {
            *concurrency.running.entry(function.to_owned()).or_default() += 1;
            Room { lab: self.clone(), function: function.to_owned() }
        })
    }
}
