//! Settings of an interface, compared.

use serde_json::Value;

use crate::model::Interface;

/// Names each setting that differs, with both values. Fails if the settings cannot be compared.
pub(super) fn differences(before: &Interface, after: &Interface) -> Result<Vec<String>, serde_json::Error> {
    let settings = |interface: &Interface| {
        let Interface { setup, mtu, up, pause, .. } = interface;
        serde_json::to_value((setup, mtu, up, pause))
    };
    let mut found = Vec::new();
    compare("", &settings(before)?, &settings(after)?, &mut found);
    Ok(found)
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            for (key, value) in one {
                compare(&format!("{path}.{key}"), value, &other[key], found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, found);
            }
        }
        _ if before == after => {}
        _ => found.push(format!("{} was {before}, is {after}", path.trim_start_matches("[0].known"))),
    }
}
