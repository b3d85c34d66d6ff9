//! The templates of `infra/`, tried against the code: they have the functions' variables, their rules match the
//! samples that they should, and their roles allow what the functions were seen to call and nothing else.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod patterns;
mod permissions;
mod policy;
mod requests;
mod scenes;
mod shape;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use fleet::list::FUNCTIONS;
use fleet::template::Stack;

/// The names of the functions.
fn functions() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|function| function.name)
}

/// The crates that cargo lambda deploys are the functions, and each has a template, samples and a page.
#[test]
fn every_function_is_listed() {
    let names_in = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|entry| entry.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let deployed = names_in("crates").into_iter().filter(|name| {
        text(&format!("crates/{name}/Cargo.toml")).contains("\n[package.metadata.lambda.deploy]\n")
    });
    let deployed: BTreeSet<String> = deployed.collect();
    assert_eq!(functions().map(str::to_owned).collect::<BTreeSet<_>>(), deployed, "crates/fleet/src/list.rs");

    let mut templates = names_in("infra");
    templates.retain(|name| !["README", "dashboard"].contains(&name.as_str()));
    assert_eq!(templates, deployed, "infra/");
    assert_eq!(names_in("events"), deployed, "events/");
    let pages = names_in("docs");
    assert!(deployed.is_subset(&pages), "docs/: {pages:?}");
}

/// A path of the repository.
fn path(relative: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(relative)
}

/// The text of a file of the repository.
fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

/// The variables that the stack has a value for: what is set when the function is deployed.
fn variables(stack: &Stack) -> BTreeMap<String, String> {
    let outputs = stack.outputs.iter().filter(|(name, _)| name.starts_with("Variable"));
    let pairs = outputs.map(|(_, output)| output.split_once('=').unwrap());
    let set = pairs.filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
