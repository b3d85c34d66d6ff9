//! The variables of the templates, of the code and of the functions' pages are the same, and what the
//! templates let through the functions take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lambda_kit::{Error, Function, Invocation, Output, Running, Variables};
use lifecycle_lab::Lab;
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use crate::{functions, path, text, variables};
use fleet::list;
use fleet::template::Template;

#[test]
fn template_code_and_page_have_the_same_variables() {
    for function in functions() {
        let code = of_code(function);
        assert!(!code.is_empty(), "{function}: no variable was found in the code");
        let template: BTreeSet<String> = of_template(function).into_values().collect();
        assert_eq!(template, code, "{function}: template and code");
        assert_eq!(of_page(function), code, "docs/{function}.md and code");
    }
}

#[test]
fn each_variable_has_a_parameter_that_is_empty_unless_it_names_resources() {
    for function in functions() {
        let template = Template::of(function);
        for (output, variable) in of_template(function) {
            let parameter = output.strip_prefix("Variable").unwrap();
            assert_eq!(parameter, camel_case(&variable), "{function}: the output's name");
            match template.section("Parameters").get(parameter) {
                // The function's own.
                None => assert_eq!(variable, ami_snapshotter::config::CURRENT_ASG_NAME),
                Some(declared) => {
                    let names_resources = declared["Type"] == "CommaDelimitedList";
                    assert!(names_resources || declared["Default"] == "", "{function}: {parameter}");
                    let description = declared["Description"].as_str().unwrap();
                    assert!(description.starts_with(&format!("{variable}: ")), "{function}: {description}");
                }
            }
        }
    }
}

#[test]
fn the_functions_take_every_value_that_their_template_allows() {
    let mut taken = 0;
    for function in functions() {
        let template = Template::of(function);
        for (name, parameter) in template.section("Parameters") {
            let Some(variable) = of_template(function).remove(&format!("Variable{name}")) else {
                continue;
            };
            for value in parameter["AllowedValues"].as_array().into_iter().flatten().filter_map(Value::as_str)
            {
                let mut variables = required(function);
                variables.insert(variable.clone(), value.to_owned());
                variables.retain(|_, value| !value.is_empty());
                parse(function, &variables).unwrap_or_else(|error| panic!("{function}: {}", error.chain()));
                taken += 1;
            }
        }
    }
    assert!(taken > 20, "only {taken} values were found");
}

#[test]
fn a_variable_goes_from_the_parameter_to_the_function_whatever_it_holds() {
    let commands = "export MODE='a=b, c'\nsystemctl stop application";
    let stack = Template::of("terminate-drainer")
        .deploy(&[("AutoScalingGroups", "web, api-*"), ("DrainCommands", commands)]);
    let expected = [
        ("AUTO_SCALING_GROUPS", "web,api-*"),
        ("DRAIN_COMMANDS", commands),
        ("LIFECYCLE_HOOKS", "terminate-drainer"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(variables(&stack), BTreeMap::from(expected));
}

/// A description's keys are the variables, and its values those in force; of commands, which can hold secrets, it has the
/// number and a hash.
#[tokio::test(start_paused = true)]
async fn a_description_has_every_variable_and_makes_no_call() {
    let lab = Lab::new("2026-11-21T08:00:00Z".parse().unwrap(), 1);
    describes::<launch_logger::Context>(
        &lab,
        json!({ "ON_FAILURE": "ABANDON", "AUTO_SCALING_GROUPS": null }),
    )
    .await;
    let commands = json!({
        "count": 1,
        "sha256": "55048367e8da08d0905ed62548c51a9ff27a20302bb72942b817ab347ba2a2c3",
    });
    describes::<terminate_drainer::Context>(
        &lab,
        json!({ "DRAIN_COMMANDS": commands, "DELIVERY_TIMEOUT": "2m" }),
    )
    .await;
    describes::<ami_snapshotter::Context>(
        &lab,
        json!({ "CURRENT_ASG_NAME": null, "COMPLETE_ON": "available" }),
    )
    .await;
    describes::<lt_ami_refresher::Context>(
        &lab,
        json!({ "SOURCE_VERSION": "$Default", "KEEP_VERSIONS": null }),
    )
    .await;
    describes::<ecs_scheduler::Context>(
        &lab,
        json!({ "RESOURCE_IDS": "service/shop/web", "MAX_CAPACITY": "3" }),
    )
    .await;
    assert!(lab.calls().is_empty(), "{:#?}", lab.calls());
}

async fn describes<F: Function>(lab: &Lab, some: Value) {
    let (sender, mut lines) = unbounded_channel();
    let variables: Variables = required(F::NAME).into_iter().collect();
    let running = Running::<F>::new(&variables, &lab.sdk_config(F::NAME), Output::Channel(sender)).unwrap();
    let invocation = Invocation::new(lab.now(), Duration::from_secs(10));
    let answer = running.invoke(json!({ "action": "describe" }), &invocation).await.unwrap();
    assert_eq!((&answer["outcome"], &answer["function"]), (&json!("described"), &json!(F::NAME)));
    assert_eq!(answer["version"], F::VERSION);
    let configuration = answer["configuration"].as_object().unwrap();
    let keys: BTreeSet<String> = configuration.keys().cloned().collect();
    assert_eq!(keys, of_code(F::NAME), "{}", F::NAME);
    for (variable, value) in some.as_object().unwrap() {
        assert_eq!(&configuration[variable], value, "{}: {variable}", F::NAME);
    }
    assert!(lines.try_recv().is_err(), "{}: a description is no event", F::NAME);
}

/// The outputs that hold variables, and the variables' names.
fn of_template(function: &str) -> BTreeMap<String, String> {
    let groups = [("AutoScalingGroups", "web"), ("ResourceIds", "service/shop/web")];
    let template = Template::of(function);
    let known = template.section("Parameters");
    let given: Vec<_> = groups.into_iter().filter(|(name, _)| known.contains_key(*name)).collect();
    let outputs = template.deploy(&given).outputs.into_iter();
    let variables = outputs.filter(|(name, _)| name.starts_with("Variable"));
    variables.map(|(name, output)| (name, output.split_once('=').unwrap().0.to_owned())).collect()
}

/// The constants that hold a variable's name, each of which is written `pub const NAME: &str = "NAME";`.
fn of_code(function: &str) -> BTreeSet<String> {
    let folder = format!("crates/{function}/src");
    let file = if path(&folder).join("config.rs").exists() { "config.rs" } else { "lib.rs" };
    let source = text(&format!("{folder}/{file}"));
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = \""));
    let named = constants.filter(|(name, value)| value.strip_suffix("\";") == Some(*name));
    named.map(|(name, _)| name.to_owned()).collect()
}

/// The names in the table of variables of the function's page.
fn of_page(function: &str) -> BTreeSet<String> {
    let page = text(&format!("docs/{function}.md"));
    let (_, section) = page.split_once("\n## Variables\n").unwrap();
    let (_, table) = section.split_once("\n| variable | default | meaning |\n|---|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split([',', ' ']));
    let names = names.filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
    names.map(str::to_owned).collect()
}

fn camel_case(variable: &str) -> String {
    let capitalized = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    variable.split('_').map(capitalized).collect()
}

/// What a function does not start without, and what goes with every value of the others.
fn required(function: &str) -> BTreeMap<String, String> {
    let variables: &[(&str, &str)] = match function {
        "ecs-scheduler" => &[("RESOURCE_IDS", "service/shop/web"), ("WORKING_HOURS", "MON-FRI 09:00-18:00")],
        _ => &[],
    };
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(function: &str, variables: &BTreeMap<String, String>) -> Result<(), Error> {
    let variables: Variables = variables.clone().into_iter().collect();
    (list::function(function).unwrap().parse)(&variables)
}
