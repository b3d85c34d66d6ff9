//! The handle to a running lab: AWS's state behind a lock, a clock that is tied to tokio's, the calls so far, and the
//! watchers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::DerefMut;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{OnceCell, mpsc, watch};

use super::bus::Bus;
use super::call::Call;
use super::clock::Clock;
use super::faults::Faults;
use super::lambda::function::Functions;
use super::moment::{Moment, What};
use crate::aws::world::{Effect, World};

/// The receiver of the effects of AWS's state.
type Spread = fn(&Lab, DateTime<Utc>, Effect);

/// A handle to a lab. Clones are the same lab.
#[derive(Debug, Clone)]
pub struct Lab(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// Notified whenever AWS's state or one of its timers may have changed.
    changed: watch::Sender<()>,
    world: Mutex<World>,
    spread: Spread,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
    bus: Mutex<Bus>,
    functions: Mutex<Functions>,
    observer: Mutex<Option<mpsc::UnboundedSender<Moment>>>,
    tcp: OnceCell<SocketAddr>,
}

#[derive(Debug, Default)]
struct Calls {
    all: Vec<Call>,
    by_caller: BTreeMap<String, u64>,
}

impl Lab {
    /// Starts the clock at `epoch`. The effects of AWS's state go to `spread`.
    pub(super) fn start(epoch: DateTime<Utc>, seed: u64, spread: Spread) -> Self {
        fastrand::seed(seed);
        let lab = Self(Arc::new(Inner {
            clock: Clock::new(epoch),
            changed: watch::Sender::new(()),
            world: Mutex::new(World::new(epoch, seed)),
            spread,
            faults: Mutex::new(Faults::new(seed)),
            calls: Mutex::default(),
            bus: Mutex::default(),
            functions: Mutex::default(),
            observer: Mutex::default(),
            tcp: OnceCell::new(),
        }));
        tokio::spawn(lab.clone().run_clock());
        lab
    }

    /// The lab's time.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// Jumps ahead. AWS's timers in this time run, each at its own time. Deliveries and retries that are
    /// under way arrive after the jump.
    pub fn skip(&self, duration: Duration) {
        self.0.clock.skip(duration);
        self.world(|_| ());
    }

    /// Waits for `duration` of the lab's time.
    pub async fn sleep(&self, duration: Duration) {
        let until = self.now() + TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.0.clock.sleep_until(until).await;
    }

    /// Waits until `reached` is true of AWS's state. Checks it after each change. Returns `false` if it is
    /// not true within `limit` of the lab's time.
    pub async fn until(&self, limit: Duration, mut reached: impl FnMut(&World) -> bool) -> bool {
        let end = self.now() + TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
        let mut changed = self.0.changed.subscribe();
        loop {
            if reached(&lock(&self.0.world)) {
                return true;
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.0.clock.sleep_until(end) => return false,
            }
        }
    }

    async fn run_clock(self) {
        let mut changed = self.0.changed.subscribe();
        loop {
            let next = lock(&self.0.world).next_timer();
            let due = async {
                match next {
                    Some(due) => self.0.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = due => self.world(|_| ()),
            }
        }
    }

    /// Reads AWS's state, or changes it as AWS itself would, at the present time.
    pub fn world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let now = self.now();
        let (result, effects) = {
            let mut world = lock(&self.0.world);
            world.advance(now);
            (act(&mut world), world.take_effects())
        };
        self.0.changed.send_replace(());
        for (at, effect) in effects {
            (self.0.spread)(self, at, effect);
        }
        result
    }

    /// The faults from now on.
    pub fn faults(&self) -> impl DerefMut<Target = Faults> {
        lock(&self.0.faults)
    }

    pub(super) fn bus(&self) -> MutexGuard<'_, Bus> {
        lock(&self.0.bus)
    }

    pub(super) fn functions(&self) -> MutexGuard<'_, Functions> {
        lock(&self.0.functions)
    }

    /// The address of the TCP door, once it is open.
    pub(super) fn tcp_address(&self) -> &OnceCell<SocketAddr> {
        &self.0.tcp
    }

    /// Reports everything that happens from now on. There is one observer: a new one replaces the old.
    pub fn observe(&self) -> mpsc::UnboundedReceiver<Moment> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *lock(&self.0.observer) = Some(sender);
        receiver
    }

    pub(super) fn notice(&self, what: What) {
        self.notice_at(self.now(), what);
    }

    pub(super) fn notice_at(&self, at: DateTime<Utc>, what: What) {
        if let Some(observer) = lock(&self.0.observer).as_ref() {
            // The observer is gone.
            let _ = observer.send(Moment { at, what });
        }
    }

    /// Counts a call that this caller begins. Returns its number, from 1.
    pub(super) fn count_call(&self, caller: &str) -> u64 {
        let mut calls = lock(&self.0.calls);
        let count = calls.by_caller.entry(caller.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Records a call that has ended.
    pub(super) fn record(&self, call: Call) {
        lock(&self.0.calls).all.push(call.clone());
        self.notice(What::Called(call));
    }

    /// Every call so far, in the order of the answers.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.0.calls).all.clone()
    }

    /// The calls of `caller` to AWS as text. For each call: method, service and action; the parameters,
    /// sorted, one per line; and the outcome.
    pub fn transcript(&self, caller: &str) -> String {
        let calls = self.calls().into_iter().filter(|call| call.caller == caller);
        calls
            .map(|call| {
                let parameters: String = call.parameters.iter().map(|line| format!("  {line}\n")).collect();
                let Call { method, service, action, outcome, .. } = call;
                format!("{method} {service} {action}\n{parameters}  => {outcome}\n")
            })
            .collect()
    }
}

/// Locks, even if a panic has poisoned the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
