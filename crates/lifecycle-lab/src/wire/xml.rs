//! A tree as XML.

pub(super) use quick_xml::escape::escape;
use serde_json::Value;

/// Objects become elements, arrays lists of elements of the name `item`, nulls nothing. A list whose
/// elements have another name says so behind a slash: `groupSet/groupId`.
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
