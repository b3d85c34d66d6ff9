//! Writes parameters as lines of a transcript.

use serde_json::Value;

/// One line for each leaf, in the order of the tree: `Filters.1.key=…`.
pub(super) fn flatten(parameters: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    add("", parameters, &mut lines);
    lines
}

fn add(path: &str, value: &Value, lines: &mut Vec<String>) {
    let step = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| add(&step(name), value, lines)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| add(&step(&(n + 1).to_string()), item, lines));
        }
        Value::String(text) => lines.push(format!("{path}={text}")),
        scalar => lines.push(format!("{path}={scalar}")),
    }
}
