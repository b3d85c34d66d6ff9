//! The running lab: the world behind a lock, its clock tied to tokio's, and the calls that reach it.
//! Under paused time the clock jumps from timer to timer; on a real clock it runs, and can be skipped
//! ahead.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::sync::{Notify, OnceCell, mpsc, watch};
use tokio::time::Instant;

use crate::autoscaling;
use crate::bus::Bus;
use crate::ec2;
use crate::ecs;
use crate::faults::{CallFault, EventFault, Faults};
use crate::lambda::{self, FunctionError, Functions, Run};
use crate::query::ApiError;
use crate::run_command;
use crate::scalable_targets;
use crate::wire::{Answer, HttpRequest};
use crate::world::{Sight, World};

/// How long AWS takes for an answer, at least; each call takes up to twice that. A setting of the lab:
/// around what these services answer in.
const LATENCY: Duration = Duration::from_millis(30);

/// The caller that sets the scene: no fault by probability meets it.
pub(crate) const OPERATOR: &str = "operator";

/// A handle to a lab. Clones are the same lab.
#[derive(Debug, Clone)]
pub struct Lab(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    epoch: DateTime<Utc>,
    started: Instant,
    /// How far the clock was skipped ahead.
    skipped: watch::Sender<Duration>,
    /// Told whenever something may have changed in the world, or a timer may have been set.
    changed: watch::Sender<()>,
    world: Mutex<World>,
    faults: Mutex<Faults>,
    calls: Mutex<Calls>,
    bus: Mutex<Bus>,
    functions: Mutex<Functions>,
    observer: Mutex<Option<mpsc::UnboundedSender<Moment>>>,
    pub(crate) door: OnceCell<SocketAddr>,
}

#[derive(Debug, Default)]
struct Calls {
    all: Vec<Call>,
    by_function: BTreeMap<String, u64>,
}

/// Something that happened, for those who watch.
#[derive(Debug, Clone)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A change in the world.
    Seen(Sight),
    /// An event or a hook notification left AWS.
    Sent(Value),
    /// It met a fault on its way to a target.
    Faulted(EventFault, Value),
    /// A call to AWS was answered, or not.
    Called(Call),
    /// Lambda had no room for a run of a function: it is throttled. An event waits for the next try, unless
    /// it is too old; a single invocation is refused.
    Throttled {
        /// The function.
        function: String,
        /// The event.
        payload: Value,
    },
    /// A run of a function began.
    Started(Run),
    /// A run of a function ended.
    Ended(Run, Result<Value, FunctionError>),
    /// A function wrote a line to standard output or standard error.
    Logged {
        /// The function.
        function: String,
        /// The line.
        line: String,
    },
}

/// One call to AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Who called: a function's name, `operator`, or `client` over TCP.
    pub caller: String,
    /// HTTP's method.
    pub method: String,
    /// The service's name in IAM: `autoscaling`, `application-autoscaling`, `ec2`, `ecs`, `lambda`,
    /// `ssm`.
    pub service: String,
    /// The action.
    pub action: String,
    /// The parameters, one a line, sorted.
    pub parameters: Vec<String>,
    /// `ok`, AWS's error code, or what befell the call.
    pub outcome: String,
}

/// Who makes calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// A function's name, `operator`, or `client`.
    pub(crate) name: String,
    /// How to kill the function's process, or its run in this process.
    pub(crate) kill: Option<Arc<Notify>>,
}

impl Caller {
    /// Whoever comes over TCP and is not a function of the lab: unlike the operator of a test, it meets
    /// faults.
    pub(crate) fn client() -> Self {
        Self { name: "client".to_owned(), kill: None }
    }
}

/// What comes back from a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// An answer.
    Answer(Answer),
    /// The connection was cut.
    Cut,
    /// Nothing, ever.
    Silence,
}

impl Lab {
    /// A lab whose clock starts at `epoch`. A seed gives the same ids, delays and faults again. Needs a
    /// tokio runtime, of one thread if a seed is to be exact: the jitter of SDK clients on this thread is
    /// seeded with it too.
    pub fn new(epoch: DateTime<Utc>, seed: u64) -> Self {
        fastrand::seed(seed);
        let lab = Self(Arc::new(Inner {
            epoch,
            started: Instant::now(),
            skipped: watch::Sender::new(Duration::ZERO),
            changed: watch::Sender::new(()),
            world: Mutex::new(World::new(epoch, seed)),
            faults: Mutex::new(Faults::new(seed)),
            calls: Mutex::default(),
            bus: Mutex::default(),
            functions: Mutex::default(),
            observer: Mutex::default(),
            door: OnceCell::new(),
        }));
        tokio::spawn(lab.clone().run_clock());
        lab
    }

    /// The lab's time.
    pub fn now(&self) -> DateTime<Utc> {
        let passed = self.0.started.elapsed() + *self.0.skipped.borrow();
        self.0.epoch + TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX)
    }

    /// Jumps ahead. AWS's timers that are due on the way run, each at its own time; deliveries and retries
    /// that are under way arrive after the jump.
    pub fn skip(&self, duration: Duration) {
        self.0.skipped.send_modify(|skipped| *skipped += duration);
        self.world(|_| ());
    }

    /// Waits for `duration` of the lab's time.
    pub async fn sleep(&self, duration: Duration) {
        let until = self.now() + TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
        self.sleep_until(until).await;
    }

    async fn sleep_until(&self, until: DateTime<Utc>) {
        let mut skipped = self.0.skipped.subscribe();
        while let Ok(left) = (until - self.now()).to_std()
            && !left.is_zero()
        {
            tokio::select! {
                biased;
                () = tokio::time::sleep(left) => {}
                _ = skipped.changed() => {}
            }
        }
    }

    /// Waits until `reached` is true of the world, looking whenever something happens in it; `false` if
    /// it is not within `limit` of the lab's time.
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
                () = self.sleep_until(end) => return false,
            }
        }
    }

    async fn run_clock(self) {
        let mut changed = self.0.changed.subscribe();
        loop {
            let next = lock(&self.0.world).next_timer();
            let due = async {
                match next {
                    Some(due) => self.sleep_until(due).await,
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

    /// Looks at the world, or acts on it as AWS itself would, at the present time.
    pub fn world<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let now = self.now();
        let (result, effects) = {
            let mut world = lock(&self.0.world);
            world.advance(now);
            (act(&mut world), world.take_effects())
        };
        self.0.changed.send_replace(());
        for (at, effect) in effects {
            self.spread(at, effect);
        }
        result
    }

    /// What goes wrong from now on.
    pub fn faults(&self) -> impl std::ops::DerefMut<Target = Faults> {
        lock(&self.0.faults)
    }

    pub(crate) fn bus(&self) -> MutexGuard<'_, Bus> {
        lock(&self.0.bus)
    }

    pub(crate) fn functions(&self) -> MutexGuard<'_, Functions> {
        lock(&self.0.functions)
    }

    /// Everything that happens from now on, as it happens. There is one observer: a new one replaces
    /// the old.
    pub fn observe(&self) -> mpsc::UnboundedReceiver<Moment> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *lock(&self.0.observer) = Some(sender);
        receiver
    }

    pub(crate) fn notice(&self, what: What) {
        self.notice_at(self.now(), what);
    }

    pub(crate) fn notice_at(&self, at: DateTime<Utc>, what: What) {
        if let Some(observer) = lock(&self.0.observer).as_ref() {
            // Nobody listens any more: nobody wants to know.
            let _ = observer.send(Moment { at, what });
        }
    }

    /// Every call so far, in the order of the answers.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.0.calls).all.clone()
    }

    /// The conversation of `caller` with AWS: for each call the method, service, action, the parameters
    /// one a line and sorted, and the outcome.
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

    /// Plays one HTTP request to an AWS service.
    pub(crate) async fn answer(&self, caller: Caller, http: &HttpRequest) -> Reply {
        let request = http.request();
        let Some(service) = http.service() else {
            let error = ApiError {
                status: 403,
                code: "MissingAuthenticationToken",
                message: "The request is not signed, so lifecycle-lab can't tell which service it is for"
                    .to_owned(),
            };
            return Reply::Answer(http.answer(&request.action, &Err(error), String::new()));
        };
        let nth = {
            let mut calls = lock(&self.0.calls);
            let count = calls.by_function.entry(caller.name.clone()).or_default();
            *count += 1;
            *count
        };
        let (fault, slowness) = {
            let mut faults = lock(&self.0.faults);
            let function = (caller.name != OPERATOR).then_some(caller.name.as_str());
            (faults.of_call(function, nth, &request.action), faults.share())
        };
        tokio::time::sleep(LATENCY.mul_f64(1.0 + slowness)).await;

        let end = |outcome: &str| {
            let call = Call {
                caller: caller.name.clone(),
                method: request.method.clone(),
                service: service.to_owned(),
                action: request.action.clone(),
                parameters: request.lines.clone(),
                outcome: outcome.to_owned(),
            };
            lock(&self.0.calls).all.push(call.clone());
            self.notice(What::Called(call));
        };
        let kill = || match &caller.kill {
            Some(kill) => {
                kill.notify_one();
                Reply::Silence
            }
            // Not a run that could be killed.
            None => Reply::Cut,
        };
        match fault {
            Some(CallFault::Hang) => {
                end("no answer");
                return Reply::Silence;
            }
            Some(CallFault::CutBefore) => {
                end("connection cut before the call took effect");
                return Reply::Cut;
            }
            Some(CallFault::KillBefore) => {
                end("function killed before the call took effect");
                return kill();
            }
            _ => {}
        }
        let refusal = fault.and_then(|fault| fault.answer(&caller.name, service, &request.action));
        let played = match refusal {
            Some(error) => Err(error),
            None => self.world(|world| match service {
                "autoscaling" => autoscaling::call(world, &request),
                "ec2" => ec2::call(world, &request),
                "lambda" => lambda::call(world, &request),
                "application-autoscaling" => scalable_targets::call(world, &request),
                "ecs" => ecs::call(world, &request),
                "ssm" => run_command::call(world, &request),
                other => Err(ApiError::not_modelled(format!("the service {other}"))),
            }),
        };
        let outcome = played.as_ref().map_or_else(|error| error.code, |_| "ok");
        match fault {
            Some(CallFault::CutAfter) => {
                end(&format!("{outcome}, but the answer was lost"));
                Reply::Cut
            }
            Some(CallFault::KillAfter) => {
                end(&format!("{outcome}, but the function was killed"));
                kill()
            }
            _ => {
                end(outcome);
                Reply::Answer(http.answer(&request.action, &played, format!("{}-{nth}", caller.name)))
            }
        }
    }
}

/// A lock that a panic elsewhere does not take away.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
