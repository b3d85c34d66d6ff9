//! Lambda's concurrency limits: the account's limit and the reserved concurrency of functions. A run above a limit is
//! throttled.
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>

use std::collections::BTreeMap;

/// The account's limit and the runs under way. Without a limit, every run starts at once.
#[derive(Debug, Default)]
pub(in crate::host) struct Concurrency {
    pub(in crate::host) limit: Option<u32>,
    /// By function: the concurrency that it always has, and never exceeds.
    pub(in crate::host) reserved: BTreeMap<String, u32>,
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

    /// Whether the function is switched off: nothing is reserved for it.
    pub(in crate::host) fn is_off(&self, function: &str) -> bool {
        self.reserved.get(function) == Some(&0)
    }

    /// Counts a run of the function in, if there is room for it.
    pub(in crate::host) fn enter(&mut self, function: &str) -> bool {
        let room = self.has_room(function);
        if room {
            *self.running.entry(function.to_owned()).or_default() += 1;
        }
        room
    }

    /// Counts a run that has ended.
    pub(in crate::host) fn leave(&mut self, function: &str) {
        if let Some(count) = self.running.get_mut(function) {
            *count -= 1;
        }
    }
}
