//! Successions: which groups replace one another, and which of them is in service. Two groups are of one succession if
//! CloudFormation made them for the same logical id of the same stack, or if the same entry of `AUTO_SCALING_GROUPS` that
//! ends in `*` matches both. Pure functions of the stored names and of the groups as Auto Scaling describes them.

use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState};
use chrono::{DateTime, Utc};
use lambda_kit::aws::time;
use lambda_kit::config::Names;

/// The tags that CloudFormation gives to a group. Only AWS can write them.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html>
const STACK_ID: &str = "aws:cloudformation:stack-id";
const LOGICAL_ID: &str = "aws:cloudformation:logical-id";

/// The groups that are known, and the entries of `AUTO_SCALING_GROUPS`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Successions<'a> {
    pub(crate) stored: &'a [String],
    pub(crate) groups: &'a [AutoScalingGroup],
    pub(crate) entries: &'a Names,
}

impl<'a> Successions<'a> {
    /// The stored group that has replaced the group `name`: it is of the same succession and has an instance in service,
    /// and the group `name` wants no instances.
    pub(crate) fn successor(self, name: &str) -> Option<&'a str> {
        let group = self.group(name).filter(|group| wants_none(group))?;
        let newest = self.newest_stored(group)?;
        let serves = newest.instances().iter().any(|instance| {
            instance.lifecycle_state().is_some_and(|state| *state == LifecycleState::InService)
        });
        self::name(newest).filter(|newest| serves && *newest != name)
    }

    /// The names to store after a launch in the group `name`, or the reason why the stored ones stay.
    pub(crate) fn after_launch(self, name: &str) -> Result<Vec<String>, String> {
        let Some(group) = self.group(name).filter(|group| !is_being_deleted(group)) else {
            return Err(format!("{name} does not exist, or is being deleted"));
        };
        let known = |other: &AutoScalingGroup| {
            let other = self::name(other).unwrap_or_default();
            self.entries.contain(other) || self.stored.iter().any(|stored| stored == other)
        };
        let may_be_stored = self.entries.is_empty()
            || self.entries.contain(name)
            || self.groups.iter().any(|other| known(other) && self.is_same(group, other));
        if !may_be_stored {
            return Err(format!(
                "AUTO_SCALING_GROUPS names neither {name} nor another group of its succession"
            ));
        }
        if let Some(newest) = self.newest_stored(group).filter(|newest| created(newest) >= created(group)) {
            let newest = self::name(newest).unwrap_or_default();
            return Err(format!("{newest}, which is stored, was created later"));
        }
        let others = self
            .stored
            .iter()
            .filter(|stored| self.group(stored).is_some_and(|stored| !self.is_same(group, stored)));
        Ok(others.cloned().chain([name.to_owned()]).collect())
    }

    /// The stored names of groups that exist no more.
    pub(crate) fn gone(self) -> Vec<String> {
        self.stored.iter().filter(|stored| self.group(stored).is_none()).cloned().collect()
    }

    /// Whether the group `name` is known to be on its way to its end.
    pub(crate) fn is_being_deleted(self, name: &str) -> bool {
        self.group(name).is_some_and(is_being_deleted)
    }

    fn group(self, name: &str) -> Option<&'a AutoScalingGroup> {
        self.groups.iter().find(|group| self::name(group) == Some(name))
    }

    /// The newest stored group of the succession of `group` that is not being deleted.
    fn newest_stored(self, group: &AutoScalingGroup) -> Option<&'a AutoScalingGroup> {
        let stored = self.stored.iter().filter_map(|stored| self.group(stored));
        let rivals = stored.filter(|stored| !is_being_deleted(stored) && self.is_same(group, stored));
        rivals.max_by_key(|rival| created(rival))
    }

    /// Whether both groups are of one succession.
    fn is_same(self, one: &AutoScalingGroup, other: &AutoScalingGroup) -> bool {
        let names = [one, other].map(|group| name(group).unwrap_or_default());
        let resources = [one, other].map(resource);
        names[0] == names[1]
            || self.entries.connect(names[0], names[1])
            || (resources[0].is_some() && resources[0] == resources[1])
    }
}

fn name(group: &AutoScalingGroup) -> Option<&str> {
    group.auto_scaling_group_name()
}

fn created(group: &AutoScalingGroup) -> Option<DateTime<Utc>> {
    group.created_time().and_then(time)
}

/// AWS gives a group a status only while it is being deleted.
fn is_being_deleted(group: &AutoScalingGroup) -> bool {
    group.status().is_some_and(|status| !status.is_empty())
}

fn wants_none(group: &AutoScalingGroup) -> bool {
    group.desired_capacity() == Some(0) || is_being_deleted(group)
}

/// The stack and the logical id that CloudFormation made the group for.
fn resource(group: &AutoScalingGroup) -> Option<(&str, &str)> {
    let tag = |key| group.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
    Some((tag(STACK_ID)?, tag(LOGICAL_ID)?))
}

#[cfg(test)]
mod tests {
    use aws_sdk_autoscaling::primitives::DateTime as AwsTime;
    use aws_sdk_autoscaling::types::{Instance, TagDescription};
    use lambda_kit::config::names;

    use super::*;

    /// A group that serves with one instance, created at this second.
    fn group(name: &str, created: i64) -> AutoScalingGroup {
        let instance = Instance::builder().lifecycle_state(LifecycleState::InService).build();
        AutoScalingGroup::builder()
            .auto_scaling_group_name(name)
            .created_time(AwsTime::from_secs(created))
            .desired_capacity(1)
            .instances(instance)
            .build()
    }

    fn of_stack(mut group: AutoScalingGroup, stack: &str, logical_id: &str) -> AutoScalingGroup {
        let tag = |key: &str, value: &str| TagDescription::builder().key(key).value(value).build();
        group.tags = Some(vec![tag(STACK_ID, stack), tag(LOGICAL_ID, logical_id)]);
        group
    }

    fn emptied(mut group: AutoScalingGroup) -> AutoScalingGroup {
        group.desired_capacity = Some(0);
        group
    }

    fn going(mut group: AutoScalingGroup) -> AutoScalingGroup {
        group.status = Some("Delete in progress".to_owned());
        group
    }

    fn idle(mut group: AutoScalingGroup) -> AutoScalingGroup {
        group.instances = None;
        group
    }

    fn stored(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn entries(text: &str) -> Names {
        if text.is_empty() { Names::default() } else { names(text).unwrap() }
    }

    #[test]
    fn a_death_is_planned_only_if_a_serving_successor_of_the_same_succession_has_replaced_its_group() {
        let old = || emptied(group("web-1", 1));
        for (what, known, store, named, expected) in [
            ("replaced", vec![old(), group("web-2", 2)], &["web-2"][..], "web-*", Some("web-2")),
            ("both stay", vec![group("web-1", 1), group("web-2", 2)], &["web-2"], "web-*", None),
            ("the successor is gone", vec![old()], &["web-2"], "web-*", None),
            ("nothing of it serves", vec![old(), idle(group("web-2", 2))], &["web-2"], "web-*", None),
            ("it is being deleted", vec![old(), going(group("web-2", 2))], &["web-2"], "web-*", None),
            ("no succession", vec![old(), group("web-2", 2)], &["web-2"], "", None),
            ("a bare * makes none", vec![old(), group("web-2", 2)], &["web-2"], "*", None),
            ("whole names make none", vec![old(), group("web-2", 2)], &["web-2"], "web-1,web-2", None),
            ("its own group is stored", vec![old(), group("web-2", 2)], &["web-1"], "web-*", None),
            (
                "being deleted",
                vec![going(group("web-1", 1)), group("web-2", 2)],
                &["web-2"],
                "web-*",
                Some("web-2"),
            ),
            (
                "the newest of two that are stored",
                vec![old(), group("web-2", 2), group("web-3", 3)],
                &["web-2", "web-3"],
                "web-*",
                Some("web-3"),
            ),
            (
                "the newest of two exists no more",
                vec![old(), group("web-2", 2)],
                &["web-2", "web-3"],
                "web-*",
                Some("web-2"),
            ),
            (
                "the stack's, whatever the names",
                vec![of_stack(old(), "s", "Web"), of_stack(group("x", 2), "s", "Web")],
                &["x"],
                "",
                Some("x"),
            ),
            (
                "another resource of the stack",
                vec![of_stack(old(), "s", "Web"), of_stack(group("x", 2), "s", "Api")],
                &["x"],
                "",
                None,
            ),
            (
                "another stack",
                vec![of_stack(old(), "s", "Web"), of_stack(group("x", 2), "t", "Web")],
                &["x"],
                "",
                None,
            ),
        ] {
            let (stored, entries) = (stored(store), entries(named));
            let successions = Successions { stored: &stored, groups: &known, entries: &entries };
            assert_eq!(successions.successor("web-1"), expected, "{what}");
        }
    }

    #[test]
    fn a_launch_stores_its_group_where_it_is_the_newest_of_its_succession() {
        let (old, new) = (|| group("web-1", 1), || group("web-2", 2));
        let api = || group("api", 9);
        for (what, known, store, named, expected) in [
            ("the first", vec![new()], &[][..], "", Some(&["web-2"][..])),
            ("a later one", vec![old(), new()], &["web-1"], "web-*", Some(&["web-2"])),
            ("one of no succession", vec![old(), new()], &["web-1"], "", Some(&["web-1", "web-2"])),
            ("in place of one that is gone", vec![new()], &["web-3"], "", Some(&["web-2"])),
            (
                "in place of one that goes",
                vec![going(group("web-3", 3)), new()],
                &["web-3"],
                "web-*",
                Some(&["web-2"]),
            ),
            ("an earlier one", vec![new(), group("web-3", 3)], &["web-3"], "web-*", None),
            ("created with it", vec![new(), group("web-3", 2)], &["web-3"], "web-*", None),
            ("one that does not exist", vec![old()], &["web-1"], "", None),
            ("one that is being deleted", vec![old(), going(new())], &["web-1"], "", None),
            (
                "another succession stays",
                vec![api(), old(), new()],
                &["api", "web-1"],
                "web-*,api",
                Some(&["api", "web-2"]),
            ),
            (
                "two of its succession go",
                vec![old(), group("web-0", 0), api(), new()],
                &["web-0", "api", "web-1"],
                "web-*,api",
                Some(&["api", "web-2"]),
            ),
            ("not named", vec![new()], &[], "api", None),
            ("named", vec![new()], &[], "api,web-2", Some(&["web-2"])),
            (
                "of one stack with a named group",
                vec![of_stack(api(), "s", "Web"), of_stack(new(), "s", "Web")],
                &[],
                "api",
                Some(&["web-2"]),
            ),
            (
                "of one stack with a stored group",
                vec![of_stack(old(), "s", "Web"), of_stack(new(), "s", "Web")],
                &["web-1"],
                "api",
                Some(&["web-2"]),
            ),
        ] {
            let (stored, entries) = (stored(store), entries(named));
            let successions = Successions { stored: &stored, groups: &known, entries: &entries };
            let after = successions.after_launch("web-2").ok();
            assert_eq!(after, expected.map(self::stored), "{what}");
        }
    }
}
