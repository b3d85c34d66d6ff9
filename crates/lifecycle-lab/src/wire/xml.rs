//! Writes a tree as XML.

pub(super) use quick_xml::escape::escape;
use serde_json::Value;

/// Appends a value as the element `name`. Its fields become child elements; the values of an array become
/// elements named `item`; null is left out. A name such as `groupSet/groupId` sets another `item` for its
/// list.
pub(super) fn element(xml: &mut String, name: &str, value: &Value, item: &str) {
    if value.is_null() {
        return;
    }
    let (name, item) = name.split_once('/').unwrap_or((name, item));
    *xml += &format!("<{name}>");
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| element(xml, name, value, item)),
        Value::Array(items) => items.iter().for_each(|value| element(xml, item, value, item)),
        Value::String(text) => *xml += &escape(text),
        scalar => *xml += &scalar.to_string(),
    }
    *xml += &format!("</{name}>");
}
