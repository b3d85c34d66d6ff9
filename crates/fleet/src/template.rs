//! Reads the templates of `infra/` and renders them as CloudFormation does: parameters, conditions, and the intrinsic
//! functions that they use. Any other function panics, so no test overlooks one.

#![allow(clippy::unwrap_used, reason = "the templates are compiled in, and the tests read each of them")]

use std::collections::BTreeMap;

use lifecycle_lab::{ACCOUNT, REGION};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

use crate::list;

/// A template.
#[derive(Debug)]
pub struct Template {
    body: Value,
}

/// A template with values for its parameters: what CloudFormation would make of it.
#[derive(Debug)]
pub struct Stack {
    /// Properties and type of each resource, by its logical id.
    pub resources: BTreeMap<String, Value>,
    /// The value of each output, by its name.
    pub outputs: BTreeMap<String, String>,
}

impl Template {
    /// The template of a function.
    pub fn of(function: &str) -> Self {
        let documents = Yaml::load_from_str(list::function(function).unwrap().template).unwrap();
        Self { body: plain(&documents[0]) }
    }

    /// One of its sections, such as `Parameters`.
    pub fn section(&self, name: &str) -> &Map<String, Value> {
        self.body[name].as_object().unwrap()
    }

    /// The stack with its triggers, and with these values in place of the defaults.
    pub fn deploy(&self, values: &[(&str, &str)]) -> Stack {
        let mut parameters = BTreeMap::new();
        for (name, parameter) in self.section("Parameters") {
            let given = values.iter().find(|(known, _)| known == name).map(|(_, value)| (*value).to_owned());
            let default = || match &parameter["Default"] {
                Value::String(text) => text.clone(),
                Value::Null => panic!("{name} has no default: give it a value"),
                number => number.to_string(),
            };
            let text = if name == "Triggers" { "true".to_owned() } else { given.unwrap_or_else(default) };
            let value = match parameter["Type"].as_str().unwrap() {
                "CommaDelimitedList" => text.split(',').map(str::trim).collect(),
                _ => json!(text),
            };
            parameters.insert(name.clone(), value);
        }
        for (name, _) in values {
            assert!(parameters.contains_key(*name), "there is no parameter {name}");
        }

        let scope = Scope { template: self, parameters };
        let made = |resource: &Value| resource["Condition"].as_str().is_none_or(|name| scope.holds(name));
        let mut resources = BTreeMap::new();
        for (id, resource) in self.section("Resources").iter().filter(|(_, resource)| made(resource)) {
            let properties = scope.resolve(&resource["Properties"]).unwrap();
            let mut resource = resource.clone();
            resource["Properties"] = properties;
            resources.insert(id.clone(), resource);
        }
        let mut outputs = BTreeMap::new();
        for (name, output) in self.section("Outputs") {
            outputs.insert(name.clone(), scope.text(&output["Value"]));
        }
        Stack { resources, outputs }
    }
}

impl Stack {
    /// The ids and properties of all resources of a type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let found = self.resources.iter().filter(move |(_, resource)| resource["Type"] == kind);
        found.map(|(id, resource)| (id.as_str(), &resource["Properties"]))
    }

    /// The rules that have an event pattern, and their patterns.
    pub fn patterns(&self) -> Vec<(String, Value)> {
        let rules = self.of_type("AWS::Events::Rule").filter(|(_, rule)| !rule["EventPattern"].is_null());
        let pattern = |rule: &Value| match &rule["EventPattern"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            other => other.clone(),
        };
        rules.map(|(id, rule)| (id.to_owned(), pattern(rule))).collect()
    }
}

/// A template whose parameters have values.
struct Scope<'a> {
    template: &'a Template,
    parameters: BTreeMap<String, Value>,
}

impl Scope<'_> {
    /// A value without functions; `None` for `AWS::NoValue`.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.resolve(item)).collect()),
            Value::Object(fields) => match fields.iter().next() {
                Some((name, argument))
                    if fields.len() == 1 && (name == "Ref" || name.starts_with("Fn::")) =>
                {
                    self.call(name, argument)
                }
                _ => {
                    let fields =
                        fields.iter().map(|(name, value)| Some((name.clone(), self.resolve(value)?)));
                    Some(Value::Object(fields.flatten().collect()))
                }
            },
            plain => Some(plain.clone()),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Option<Value> {
        let items = argument.as_array();
        Some(match (function, items.map(Vec::as_slice)) {
            ("Ref", _) => return self.reference(argument.as_str().unwrap()),
            // A resource's attribute stands for itself: `Role.Arn`.
            ("Fn::GetAtt", None) => argument.clone(),
            ("Fn::Sub", None) => json!(self.substitute(argument.as_str().unwrap(), &Map::new())),
            ("Fn::Sub", Some([text, values])) => {
                json!(self.substitute(text.as_str().unwrap(), values.as_object().unwrap()))
            }
            ("Fn::Join", Some([between, list])) => {
                json!(self.list(list).join(between.as_str().unwrap()))
            }
            ("Fn::Split", Some([between, text])) => {
                self.text(text).split(between.as_str().unwrap()).collect::<Vec<_>>().into()
            }
            ("Fn::Select", Some([index, list])) => {
                json!(self.list(list)[usize::try_from(index.as_u64().unwrap()).unwrap()])
            }
            ("Fn::If", Some([condition, then, otherwise])) => {
                let holds = self.holds(condition.as_str().unwrap());
                return self.resolve(if holds { then } else { otherwise });
            }
            _ => panic!("not known here: {function} of {argument}"),
        })
    }

    fn reference(&self, name: &str) -> Option<Value> {
        Some(json!(match name {
            "AWS::NoValue" => return None,
            "AWS::Partition" => "aws",
            "AWS::Region" => REGION,
            "AWS::AccountId" => ACCOUNT,
            "AWS::URLSuffix" => "amazonaws.com",
            _ => match self.parameters.get(name) {
                Some(value) => return Some(value.clone()),
                None if self.template.section("Resources").contains_key(name) => name,
                None => panic!("there is no {name}"),
            },
        }))
    }

    /// `Fn::Sub`: each `${Name}` is a value given with the text, a parameter or a resource.
    fn substitute(&self, text: &str, values: &Map<String, Value>) -> String {
        let mut pieces = text.split("${");
        let mut done = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}').unwrap();
            let value = match values.get(name) {
                Some(value) => self.text(value),
                None => self.text(&json!({ "Ref": name })),
            };
            done.push_str(&value);
            done.push_str(rest);
        }
        done
    }

    fn text(&self, value: &Value) -> String {
        match self.resolve(value) {
            Some(Value::String(text)) => text,
            other => panic!("{value} is no text: {other:?}"),
        }
    }

    fn list(&self, value: &Value) -> Vec<String> {
        let list = self.resolve(value).unwrap();
        list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    }

    fn holds(&self, condition: &str) -> bool {
        self.test(&self.template.section("Conditions")[condition])
    }

    fn test(&self, condition: &Value) -> bool {
        let (name, argument) = condition.as_object().unwrap().iter().next().unwrap();
        match (name.as_str(), argument.as_array().map(Vec::as_slice)) {
            ("Condition", None) => self.holds(argument.as_str().unwrap()),
            ("Fn::Equals", Some([one, other])) => self.resolve(one) == self.resolve(other),
            ("Fn::Not", Some([condition])) => !self.test(condition),
            ("Fn::And", Some(conditions)) => conditions.iter().all(|condition| self.test(condition)),
            ("Fn::Or", Some(conditions)) => conditions.iter().any(|condition| self.test(condition)),
            _ => panic!("not known here: {name} of {argument}"),
        }
    }
}

/// A YAML node as JSON: `!Ref X` is `{"Ref": "X"}`, `!Sub X` is `{"Fn::Sub": "X"}`.
fn plain(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(truth)) => json!(truth),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.as_str().unwrap().to_owned(), plain(value)));
            Value::Object(fields.collect())
        }
        Yaml::Tagged(tag, node) => {
            let name = match tag.suffix.as_str() {
                name @ ("Ref" | "Condition") => name.to_owned(),
                name => format!("Fn::{name}"),
            };
            json!({ name: plain(node) })
        }
        other => panic!("{other:?} is not expected in a template"),
    }
}
