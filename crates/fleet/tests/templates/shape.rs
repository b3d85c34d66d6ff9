//! What every template has: the same sections, and nothing that gets lost without a queue and an alarm.

use std::collections::BTreeSet;

use ecs_scheduler::TargetsFailed;
use lambda_kit::Error;
use lambda_kit::metrics::NAMESPACE;
use lifecycle_lab::ACCOUNT;
use lt_ami_refresher::error::Refusal;
use serde_json::{Value, json};

use crate::{functions, text};
use fleet::template::{Stack, Template};

/// Each function's stack with everything that can be switched on.
fn stacks() -> Vec<(&'static str, Stack)> {
    let common = [
        ("AutoScalingGroups", "web"),
        ("Ec2InstanceName", "web"),
        ("LaunchTemplateName", "web"),
        ("ResourceIds", "service/shop/web"),
    ];
    let mut stacks = Vec::new();
    for function in functions() {
        let template = Template::of(function);
        let known = template.section("Parameters");
        for more in [("HookGroup", "web"), ("WorkingHours", "MON 09:00-10:00")] {
            let values = common.into_iter().chain([more]);
            let values: Vec<_> = values.filter(|(name, _)| known.contains_key(*name)).collect();
            stacks.push((function, template.deploy(&values)));
        }
    }
    stacks
}

#[test]
fn every_template_has_the_same_sections_in_the_same_order() {
    let order =
        ["Parameters", "Role", "Logs", "Failures", "Triggers", "Alarms", "Hooks", "Scaling", "Outputs"];
    for function in functions() {
        let text = text(&format!("infra/{function}.yaml"));
        let headings = text.lines().filter_map(|line| line.trim_start().strip_prefix("# --- "));
        let names: Vec<_> = headings.map(|heading| heading.split([':', '.']).next().unwrap()).collect();
        let mut expected = order.to_vec();
        expected.retain(|name| !["Hooks", "Scaling"].contains(name) || names.contains(name));
        assert_eq!(names, expected, "{function}");
    }
}

#[test]
fn every_target_has_its_own_dead_letter_queue_and_a_bound_for_its_retries() {
    for (function, stack) in stacks() {
        let mut queues = BTreeSet::new();
        let rules = stack.of_type("AWS::Events::Rule").map(|(id, rule)| (id, &rule["Targets"][0]));
        let schedules = stack.of_type("AWS::Scheduler::Schedule").map(|(id, one)| (id, &one["Target"]));
        for (id, target) in rules.chain(schedules) {
            let queue = target["DeadLetterConfig"]["Arn"].as_str().unwrap();
            assert!(queues.insert(queue.to_owned()), "{function}: {id} shares {queue}");
            assert!(!target["RetryPolicy"]["MaximumEventAgeInSeconds"].is_null(), "{function}: {id}");
        }
        assert!(!queues.is_empty(), "{function} has no trigger");
    }
}

#[test]
fn every_rule_may_invoke_the_function_and_fill_its_queue() {
    let mut with_rules = BTreeSet::new();
    for (function, stack) in stacks() {
        for (id, rule) in stack.of_type("AWS::Events::Rule") {
            with_rules.insert(function);
            let arn = format!("{id}.Arn");
            let is_permitted =
                stack.of_type("AWS::Lambda::Permission").any(|(_, one)| one["SourceArn"] == arn.as_str());
            assert!(is_permitted, "{function}: {id} may not invoke the function");
            let queue = rule["Targets"][0]["DeadLetterConfig"]["Arn"].as_str().unwrap();
            let may_fill = stack.of_type("AWS::SQS::QueuePolicy").any(|(_, policy)| {
                let statement = &policy["PolicyDocument"]["Statement"][0];
                statement["Resource"] == queue
                    && statement["Condition"]["ArnEquals"]["aws:SourceArn"] == arn.as_str()
            });
            assert!(may_fill, "{function}: {id} may not fill {queue}");
        }
    }
    // EventBridge Scheduler wakes the other one.
    let expected: BTreeSet<_> = functions().filter(|name| *name != ecs_scheduler::NAME).collect();
    assert_eq!(with_rules, expected);
}

#[test]
fn every_queue_that_a_target_uses_rings_when_it_is_not_empty() {
    for (function, stack) in stacks() {
        let alarms: BTreeSet<&str> = stack
            .of_type("AWS::CloudWatch::Alarm")
            .filter_map(|(_, alarm)| dimension(alarm, "QueueName"))
            .collect();
        let mut queues = vec!["FailureQueue".to_owned()];
        let rules = stack.of_type("AWS::Events::Rule").map(|(_, rule)| &rule["Targets"][0]);
        let schedules = stack.of_type("AWS::Scheduler::Schedule").map(|(_, one)| &one["Target"]);
        for target in rules.chain(schedules) {
            queues.push(
                target["DeadLetterConfig"]["Arn"].as_str().unwrap().trim_end_matches(".Arn").to_owned(),
            );
        }
        for queue in queues {
            assert!(
                alarms.contains(format!("{queue}.QueueName").as_str()),
                "{function}: {queue} has no alarm"
            );
        }
    }
}

#[test]
fn alarms_look_at_outcomes_that_the_functions_report() {
    let failed = Error::from(TargetsFailed { all: 1, failed: Vec::new() });
    let stale = Error::from(Refusal::StaleImage(String::new()));
    let reported = [failed.name(), stale.name()];
    let mut looked_at = 0;
    for (function, stack) in stacks() {
        let ours =
            stack.of_type("AWS::CloudWatch::Alarm").filter(|(_, alarm)| alarm["Namespace"] == NAMESPACE);
        for (id, alarm) in ours.filter(|(_, alarm)| alarm["MetricName"] != "Failures") {
            looked_at += 1;
            let outcome = dimension(alarm, "outcome").unwrap();
            assert!(reported.contains(&outcome), "{function}: {id} looks at {outcome}");
            assert_eq!(dimension(alarm, "function"), Some(function), "{function}: {id}");
            assert_eq!(alarm["MetricName"], "Outcomes", "{function}: {id}");
        }
    }
    assert!(looked_at > 0, "no alarm was found");
}

/// The metric has the dimension `function` alone, too, so one alarm sees every word.
#[test]
fn every_template_has_an_alarm_on_all_failures() {
    for (function, stack) in stacks() {
        let alarms =
            stack.of_type("AWS::CloudWatch::Alarm").filter(|(_, alarm)| alarm["MetricName"] == "Failures");
        let [(_, alarm)] = alarms.collect::<Vec<_>>()[..] else {
            panic!("{function} has not one such alarm")
        };
        assert_eq!(alarm["Dimensions"], json!([{ "Name": "function", "Value": function }]), "{function}");
        assert_eq!(
            (&alarm["Namespace"], &alarm["Statistic"]),
            (&json!(NAMESPACE), &json!("Sum")),
            "{function}"
        );
        assert_eq!(
            (&alarm["Threshold"], &alarm["TreatMissingData"]),
            (&json!(0), &json!("notBreaching")),
            "{function}"
        );
    }
}

#[test]
fn every_pattern_names_the_account() {
    let mut found = 0;
    for (function, stack) in stacks() {
        for (id, pattern) in stack.patterns() {
            assert_eq!(pattern["account"], json!([ACCOUNT]), "{function}: {id}");
            found += 1;
        }
    }
    assert!(found > 5, "only {found} patterns were found");
}

fn dimension<'a>(alarm: &'a Value, name: &str) -> Option<&'a str> {
    let dimensions = alarm["Dimensions"].as_array()?;
    dimensions.iter().find(|dimension| dimension["Name"] == name)?["Value"].as_str()
}
