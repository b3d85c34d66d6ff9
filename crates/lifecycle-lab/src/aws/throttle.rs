//! AWS's throttle: a token bucket per service, account and Region, which all actions of the service share.

use chrono::{DateTime, Utc};

/// A token bucket: every call takes a token, and tokens come back at a steady rate. AWS publishes
/// neither number.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Most tokens that it holds: calls in one burst.
    pub capacity: f64,
    /// Tokens that come back in a second: calls per second in the long run.
    pub refill_per_second: f64,
    /// Calls that it has let through.
    pub served: u64,
    /// Calls that it has refused.
    pub refused: u64,
    tokens: f64,
    filled: Option<DateTime<Utc>>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(capacity: f64, refill_per_second: f64) -> Self {
        Self { capacity, refill_per_second, served: 0, refused: 0, tokens: capacity, filled: None }
    }

    /// How many tokens it holds.
    pub fn tokens(&self, now: DateTime<Utc>) -> f64 {
        let passed = (now - self.filled.unwrap_or(now)).as_seconds_f64();
        (self.tokens + passed * self.refill_per_second).min(self.capacity)
    }

    /// Takes a token, if there is one.
    pub(crate) fn draw(&mut self, now: DateTime<Utc>) -> bool {
        self.tokens = self.tokens(now);
        self.filled = Some(now);
        if self.tokens < 1.0 {
            self.refused += 1;
            return false;
        }
        self.tokens -= 1.0;
        self.served += 1;
        true
    }
}
