//! Checks the invariants at the end of a wait or of an instance, from AWS's side. Each exception has its reason: a
//! gap in AWS itself, or a limit in the functions' documents.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};

use super::Observer;
use super::life::{CommandSeen, Group, Hold, Life};
use crate::invariant::Invariant;
use crate::scene::{APPS, BLOG, DRAIN_SWEEP, IMAGE_SWEEP, LAUNCH_SWEEP, MAX_IMAGES_PER_HOUR, leaves_images};
use crate::tally::Latency;

/// Longest time between two commands for one wait that counts as a race. Run Command has no client token, so
/// two simultaneous runs can each send a command. A later run must find the first command.
const MAX_RACE: TimeDelta = TimeDelta::seconds(2);

/// Undisturbed sweeps within a hook's timeout that exclude a timeout: the first starts the work, the second
/// finds it running or done.
pub(super) const MIN_SWEEPS: usize = 2;

/// Time that the sweep leaves a launch to its event. The next sweep answers the launch.
const LEFT_TO_EVENT: TimeDelta = TimeDelta::seconds(60);

/// Calls of functions to Auto Scaling in an hour: half of what the bucket of heavy faults, two calls a second,
/// refills in that time.
pub(super) const MAX_CALLS_PER_HOUR: u64 = 3_600;

/// AWS's words for the causes in ami-snapshotter's `SKIP_CAUSES`. All other causes count as unexpected.
const PLANNED_CAUSES: [&str; 4] =
    ["a user request", "a scheduled action", "an instance refresh", "the maximum instance lifetime"];

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Continued,
    Abandoned,
    BrokenOff,
    LeftToTimeOut,
    TimedOut,
}

impl End {
    fn of(hold: &Hold, over: DateTime<Utc>, left_alone: bool) -> Self {
        match &hold.completed {
            Some(completion) if completion.result == "CONTINUE" => Self::Continued,
            Some(_) => Self::Abandoned,
            None if over - hold.beat < hold.timeout && over - hold.since < hold.global => Self::BrokenOff,
            None if left_alone => Self::LeftToTimeOut,
            None => Self::TimedOut,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Continued => "CONTINUE",
            Self::Abandoned => "ABANDON",
            Self::BrokenOff => "broken off by AWS",
            Self::LeftToTimeOut => "timed out, as it should",
            Self::TimedOut => "timed out",
        }
    }
}

impl Observer {
    /// A wait is over: was it answered, rightly and in time?
    pub(super) fn judge(&mut self, life: &Life, hold: &Hold) {
        let over = hold.over.unwrap_or(hold.since);
        let left_alone = hold.launching && leaves_images(&life.group);
        let end = End::of(hold, over, left_alone);
        *self.tally.actions.entry((hold.hook.clone(), end.as_str())).or_default() += 1;
        if let Some(completion) = &hold.completed {
            self.tally.took(
                match (hold.launching, life.group.starts_with(APPS)) {
                    (true, _) => Latency::LaunchFromEvent,
                    (false, true) => Latency::DrainFromEvent,
                    (false, false) => Latency::DeathFromEvent,
                },
                hold.since,
                completion.at,
            );
        }
        if left_alone {
            self.check(Invariant::LaunchLeftToHook);
            if hold.completed.is_some() {
                self.accuse(
                    Invariant::LaunchLeftToHook,
                    life,
                    "its launching action was completed, and should be left to the hook",
                );
            }
        }
        match (hold.launching, life.group.starts_with(APPS)) {
            (true, true) => self.judge_launch(life, hold, end),
            (false, true) => self.judge_drain(life, hold, end),
            (false, false) => self.judge_death(life, hold, end),
            (true, false) => {}
        }
        let sweep = match (hold.launching, life.group.starts_with(APPS)) {
            (true, _) => LAUNCH_SWEEP,
            (false, true) => DRAIN_SWEEP,
            (false, false) => IMAGE_SWEEP,
        };
        self.judge_length(life, hold, sweep);
        self.expect_report(life, hold);
    }

    fn judge_launch(&mut self, life: &Life, hold: &Hold, end: End) {
        let over = hold.over.unwrap_or(hold.since);
        self.check(Invariant::LaunchAnswered);
        if hold.completed.is_some() {
            self.check(Invariant::RecordedLaunchGoesOn);
        }
        match end {
            End::Abandoned => self.accuse(
                Invariant::RecordedLaunchGoesOn,
                life,
                "its launch was recorded and yet abandoned",
            ),
            End::TimedOut if self.swept(LAUNCH_SWEEP, hold.since + LEFT_TO_EVENT, over, 1) => {
                let what = "its launch was left to time out, although a sweep saw it undisturbed";
                self.accuse(Invariant::LaunchAnswered, life, what);
            }
            End::TimedOut if hold.lost => {
                self.limit("launch timed out: event lost or late, sweeps disturbed");
            }
            End::TimedOut if hold.given_up => self.limit("launch timed out: attempts and sweeps disturbed"),
            End::TimedOut => {
                self.accuse(
                    Invariant::LaunchAnswered,
                    life,
                    "its launch was left to time out, although its event was delivered",
                );
            }
            _ => {}
        }
    }

    fn judge_drain(&mut self, life: &Life, hold: &Hold, end: End) {
        let over = hold.over.unwrap_or(hold.since);
        let mut sent: Vec<_> = life.commands.values().filter(|command| command.sent >= hold.since).collect();
        sent.sort_by_key(|command| command.sent);
        if !sent.is_empty() {
            self.check(Invariant::OneDrain);
        }
        for pair in sent.windows(2) {
            // What was not delivered is sent once more.
            if pair[1].sent - pair[0].sent <= MAX_RACE {
                self.limit("commands sent twice, by runs that came together");
            } else if pair[0].was_delivered() {
                self.accuse(Invariant::OneDrain, life, "its commands were sent twice");
            }
        }
        let again = sent.windows(2).filter(|pair| pair[1].sent - pair[0].sent > MAX_RACE).count();
        if again > 1 {
            self.accuse(Invariant::OneDrain, life, "its commands were sent more than once more");
        }
        self.check(Invariant::DeathAnswered);
        let Some(completion) = &hold.completed else {
            if end == End::TimedOut {
                self.judge_timeout(life, hold, over, DRAIN_SWEEP);
            }
            return;
        };
        self.check(Invariant::NoneWithoutDrain);
        self.check(Invariant::DrainEnds);
        // Unreachable agents go by ON_UNREACHABLE: nothing was sent, or nothing was delivered.
        let by_policy = hold.ends_soon(completion.at);
        if sent.is_empty() && life.cancelled {
            // AWS retains an instance whose termination was abandoned, and tells it by a cancelled activity.
            self.limit("no drain: an earlier termination was cancelled");
        } else if sent.is_empty() && completion.may_be_of_earlier {
            self.limit("no drain: the wait before was completed again, without a token");
        } else if sent.is_empty() && !hold.unreachable && !by_policy {
            self.accuse(
                Invariant::NoneWithoutDrain,
                life,
                "it was let go without a drain, although its agent was there",
            );
        }
        let runs = |command: &&CommandSeen| match command.status_at(completion.at) {
            "InProgress" => completion.at < command.ends(),
            "Pending" => !hold.unreachable,
            _ => false,
        };
        if !sent.is_empty() && sent.iter().all(runs) && !by_policy {
            self.accuse(Invariant::DrainEnds, life, "it was let go while its drain was running");
        }
        if let Some(ended) = sent.iter().filter_map(|command| command.ended()).min() {
            self.tally.took(Latency::DrainFromCommand, ended, completion.at);
        }
    }

    fn judge_death(&mut self, life: &Life, hold: &Hold, end: End) {
        let over = hold.over.unwrap_or(hold.since);
        let mut made: Vec<_> = life.images.values().filter(|image| image.made >= hold.since).collect();
        made.sort_by_key(|image| image.made);
        self.check(Invariant::OneImage);
        self.check(Invariant::DeathAnswered);
        // One that failed is taken once more.
        let failed = made.first().is_some_and(|first| first.state == "failed");
        if made.len() > 1 + usize::from(failed) {
            self.accuse(Invariant::OneImage, life, "more than one image was made of its death");
        }
        if end == End::TimedOut {
            self.judge_timeout(life, hold, over, IMAGE_SWEEP);
            return;
        }
        let Some(completion) = &hold.completed else { return };
        if let Some(image) = made.last().filter(|image| image.state != "pending") {
            self.tally.took(Latency::DeathFromImage, image.since, completion.at);
        }
        let expected = self.is_planned(life, hold);
        let by_policy = hold.ends_soon(completion.at);
        if expected {
            self.check(Invariant::PlannedLeavesNone);
        } else {
            self.check(Invariant::DeathLeavesImage);
            self.check(Invariant::ImageReady);
        }
        match (made.first(), self.no_image_because(life, hold, over)) {
            // A cause that can't be read counts as unexpected, and another run may have read it.
            (Some(_), _) if expected && hold.disturbed => {
                self.limit("an image of a planned death: disturbed");
            }
            (Some(_), _) if expected => {
                self.accuse(
                    Invariant::PlannedLeavesNone,
                    life,
                    "its death was planned, and yet there is an image",
                );
            }
            (None, _) if expected => {}
            // Where there may be none, nobody need wait for it.
            (Some(_), None) if !by_policy && !made.iter().any(|image| image.ready_at(completion.at)) => {
                self.accuse(Invariant::ImageReady, life, "it was let go before its image was ready");
            }
            (Some(_), _) => {}
            (None, Some(why)) => self.limit(why),
            (None, None) if life.cancelled => self.limit("no image: an earlier termination was cancelled"),
            (None, None) if by_policy && hold.disturbed => {
                self.limit("no image: the wait was answered before it timed out");
            }
            (None, None) => self.accuse(
                Invariant::DeathLeavesImage,
                life,
                "nobody expected its death, and there is no image of it",
            ),
        }
    }

    /// Why there may be no image of an unexpected death.
    fn no_image_because(&self, life: &Life, hold: &Hold, over: DateTime<Utc>) -> Option<&'static str> {
        let group = self.groups.get(&life.group)?;
        if hold.refused {
            return Some("no image: EC2 refused it");
        }
        let own = life.images.values().filter(|image| image.made <= over).count();
        if self.images_of_the_hour(&life.group, over) >= MAX_IMAGES_PER_HOUR + own {
            return Some("no image: MAX_IMAGES_PER_HOUR");
        }
        // A group is replaced once it wants no instances any more, by a later one of its succession that is there.
        let later = |other: &Group| other.created > group.created && other.created <= over;
        let lives = |other: &Group| other.gone.is_none_or(|gone| gone > hold.since);
        let blog = self.groups.iter().filter(|(name, _)| name.starts_with(BLOG));
        let taken_over = blog.filter(|(_, other)| later(other) && lives(other)).count() > 0;
        (life.group.starts_with(BLOG) && !hold.wanted && taken_over)
            .then_some("no image: another group has taken over")
    }

    /// Images of a group that are pending or available, of the last hour. A function counted some seconds before it
    /// completed, with AWS's throttles in between.
    pub(super) fn images_of_the_hour(&self, group: &str, at: DateTime<Utc>) -> usize {
        let Some(group) = self.groups.get(group) else { return 0 };
        let within = |made: DateTime<Utc>| made > at - TimeDelta::minutes(61) && made <= at;
        let recent = group.images.iter().filter(|(made, _)| within(*made));
        let counts =
            |id: &str| self.failed_images.get(id).is_none_or(|failed| *failed > at - TimeDelta::minutes(1));
        recent.filter(|(_, id)| counts(id)).count()
    }

    /// Whether a death is planned: by its cause, or because the instance never served, or lives on.
    pub(super) fn is_planned(&self, life: &Life, hold: &Hold) -> bool {
        let planned = PLANNED_CAUSES.iter().any(|words| life.cause.contains(words));
        planned || !life.served || hold.replaces_root_volume()
    }

    /// Nobody answered in time: could somebody have done it?
    fn judge_timeout(&mut self, life: &Life, hold: &Hold, over: DateTime<Utc>, sweep: &str) {
        if self.swept(sweep, hold.beat, over, MIN_SWEEPS) {
            self.accuse(
                Invariant::DeathAnswered,
                life,
                "its action was left to time out, although sweeps saw it undisturbed",
            );
        } else {
            self.limit("death timed out: no two undisturbed sweeps");
        }
    }

    /// Whether so many undisturbed sweeps lay between these times.
    pub(super) fn swept(&self, sweep: &str, from: DateTime<Utc>, to: DateTime<Utc>, times: usize) -> bool {
        let all = self.sweeps.iter().rev().take_while(|run| run.started > from);
        let within =
            all.filter(|run| run.function == sweep && run.clean && run.ended.is_some_and(|ended| ended < to));
        within.count() >= times
    }

    /// An instance is in the warm pool, perhaps after it has served.
    pub(super) fn returned(&mut self, life: &mut Life) {
        if life.served {
            self.check(Invariant::DeathHeld);
        }
        if life.served && !life.held && !life.unhooked {
            self.accuse(
                Invariant::DeathHeld,
                life,
                "it returned to the warm pool without waiting for its hook",
            );
        }
        life.served = false;
    }

    /// A life is over.
    pub(super) fn bury(&mut self, at: DateTime<Utc>, life: &Life) {
        self.remember_reportable(at, life);
        for command in life.commands.values() {
            let last = command.statuses.last().map_or("Pending", |(_, status)| *status);
            *self.tally.commands.entry(last).or_default() += 1;
        }
        for image in life.images.values().filter(|image| image.state != "pending") {
            *self.tally.images.entry(image.state).or_default() += 1;
        }
        self.check(Invariant::ComesToItsEnd);
        // No hook holds a Spot instance that EC2 takes back.
        if life.served && !life.reclaimed && !life.unhooked {
            self.check(Invariant::DeathHeld);
            if !life.held {
                self.accuse(Invariant::DeathHeld, life, "it died without waiting for its hook");
            }
        }
    }

    /// Every variable of somebody else's must still be there.
    pub(super) fn check_variables(&mut self) {
        let lost = self.lab.world(|world| {
            let found = world.functions.get(ami_snapshotter::NAME);
            let lost = self.scene.variables.iter().find(|(name, value)| {
                found.and_then(|found| found.variables.get(*name)).is_none_or(|found| found != value)
            });
            lost.map(|(name, _)| *name)
        });
        self.check(Invariant::VariablesSurvive);
        if let Some(name) = lost {
            let what = format!("the variable {name} of {} was lost", ami_snapshotter::NAME);
            self.violate(Invariant::VariablesSurvive, what);
        }
    }

    /// After an undisturbed run of ecs-scheduler every service is as its hours say.
    pub(super) fn check_services(&mut self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let on = |time: DateTime<Utc>| {
            !matches!(time.weekday(), Weekday::Sat | Weekday::Sun) && (9..18).contains(&time.hour())
        };
        if on(from) != on(to) {
            return;
        }
        for (resource, awake) in self.scene.services.clone() {
            let target = self.lab.world(|world| {
                world.scalable_targets.target(&resource).map(|target| (target.min, target.max))
            });
            let expected = if on(from) { awake } else { (0, 0) };
            self.check(Invariant::ServicesKeepHours);
            if target != Some(expected) {
                let what = format!("{resource} is {target:?} and should be {expected:?} at {to}");
                self.violate(Invariant::ServicesKeepHours, what);
            }
        }
    }

    /// In the long run, the functions leave AWS's bucket to others too.
    pub(super) fn count_call(&mut self, at: DateTime<Utc>) {
        let hour = at.timestamp().div_euclid(3_600);
        if self.hour.0 != hour {
            self.check(Invariant::BucketLeftToOthers);
            self.hour = (hour, 0);
        }
        self.hour.1 += 1;
        if self.hour.1 == MAX_CALLS_PER_HOUR + 1 {
            let what = format!("more than {MAX_CALLS_PER_HOUR} calls to Auto Scaling in the hour of {at}");
            self.violate(Invariant::BucketLeftToOthers, what);
        }
    }

    pub(super) fn limit(&mut self, what: &'static str) {
        *self.tally.limits.entry(what).or_default() += 1;
    }

    pub(super) fn accuse(&mut self, invariant: Invariant, life: &Life, what: &str) {
        self.violate_of(invariant, life, format!("{}: {what}", life.id));
    }
}
