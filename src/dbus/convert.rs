//! Values of the bus as JSON, and JSON as values of the bus.
//!
//! JSON has one kind of number and D-Bus many: a whole number becomes `t`, a negative one `x`, any other `d`. A list of
//! texts is `as`, one of objects `aa{sv}`, any other `av`; an object is `a{sv}`.

use crate::dbus::error::Error;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use std::fmt::Write;
use zbus::{OwnedVariant, Variant};

/// A dictionary of anything, as callers give it.
pub(super) type Options = HashMap<String, OwnedVariant>;

/// How deep values may hold one another: no request needs more.
const DEEPEST: usize = 16;

/// A dictionary as a JSON object.
pub(super) fn to_json(options: &Options) -> Result<Value, Error> {
    let mut object = Map::new();
    for (name, value) in options {
        object.insert(name.clone(), json_of(value, name, DEEPEST)?);
    }
    Ok(Value::Object(object))
}

/// A value as JSON; `place` says in errors where it stands.
fn json_of(value: &Variant<'_>, place: &str, depth: usize) -> Result<Value, Error> {
    let refuse = |why: &str| Err(Error::InvalidSpec(format!("{place} {why}")));
    let Some(deeper) = depth.checked_sub(1) else {
        return refuse("holds too many values in one another");
    };
    let json = match value {
        Variant::Bool(it) => Value::from(*it),
        Variant::U8(it) => Value::from(*it),
        Variant::I16(it) => Value::from(*it),
        Variant::U16(it) => Value::from(*it),
        Variant::I32(it) => Value::from(*it),
        Variant::U32(it) => Value::from(*it),
        Variant::I64(it) => Value::from(*it),
        Variant::U64(it) => Value::from(*it),
        Variant::F64(it) => match Number::from_f64(*it) {
            Some(number) => Value::Number(number),
            None => return refuse("is not a number"),
        },
        Variant::Str(it) => Value::from(it.as_str()),
        Variant::ObjectPath(it) => Value::from(it.as_str()),
        Variant::Signature(it) => Value::from(it.to_string()),
        Variant::Variant(it) => json_of(it, place, deeper)?,
        Variant::Array(items) => {
            let items = items.inner().iter();
            let items = items.map(|item| json_of(item, place, deeper));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Variant::Structure(fields) => {
            let fields = fields.fields().iter();
            let fields = fields.map(|field| json_of(field, place, deeper));
            Value::Array(fields.collect::<Result<_, _>>()?)
        }
        Variant::Dict(entries) => {
            let mut object = Map::new();
            for (name, value) in entries.iter() {
                let Variant::Str(name) = name else {
                    return refuse("is a dictionary whose names are not texts");
                };
                let inside = format!("{place}.{name}");
                object.insert(name.as_str().to_owned(), json_of(value, &inside, deeper)?);
            }
            Value::Object(object)
        }
        Variant::Fd(_) => return refuse("is a file descriptor; nothing takes one"),
    };
    Ok(json)
}

/// A JSON object as a dictionary; what is `null` is absent.
pub(super) fn to_options(object: Value) -> Options {
    let Value::Object(object) = object else {
        return Options::new();
    };
    object
        .into_iter()
        .filter_map(|(name, value)| {
            let value = OwnedVariant::try_from(variant_of(value)?).ok()?;
            Some((name, value))
        })
        .collect()
}

fn variant_of(value: Value) -> Option<Variant<'static>> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(it) => it.into(),
        Value::Number(it) => match (it.as_u64(), it.as_i64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(negative)) => negative.into(),
            (None, None) => it.as_f64()?.into(),
        },
        Value::String(it) => it.into(),
        Value::Object(_) => dictionary(value).into(),
        Value::Array(items) => list(items),
    })
}

fn dictionary(object: Value) -> HashMap<String, Variant<'static>> {
    let Value::Object(object) = object else {
        return HashMap::new();
    };
    object
        .into_iter()
        .filter_map(|(name, value)| Some((name, variant_of(value)?)))
        .collect()
}

fn list(items: Vec<Value>) -> Variant<'static> {
    if !items.is_empty() && items.iter().all(Value::is_string) {
        let texts = items.iter().filter_map(Value::as_str);
        let texts = texts.map(str::to_owned);
        return texts.collect::<Vec<String>>().into();
    }
    if !items.is_empty() && items.iter().all(Value::is_object) {
        let objects = items.into_iter().map(dictionary);
        return objects.collect::<Vec<_>>().into();
    }
    let values = items.into_iter().filter_map(variant_of);
    values.collect::<Vec<Variant<'static>>>().into()
}

/// A dictionary as the query of a request: a list is a parameter given several times.
pub(super) fn to_query(filter: &Options) -> Result<String, Error> {
    let mut query = String::new();
    for (name, value) in filter {
        let json = json_of(value, name, DEEPEST)?;
        let values = if let Value::Array(values) = json {
            values
        } else {
            vec![json]
        };
        for value in values {
            let text = match value {
                Value::String(text) => text,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => {
                    let why = format!("{name} is neither a text, a number nor a list of these");
                    return Err(Error::InvalidSpec(why));
                }
            };
            add_parameter(&mut query, name, &text);
        }
    }
    Ok(query)
}

/// Adds a parameter to a query.
pub(super) fn add_parameter(query: &mut String, name: &str, value: &str) {
    query.push(if query.is_empty() { '?' } else { '&' });
    escape(name, query);
    query.push('=');
    escape(value, query);
}

fn escape(text: &str, query: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            // A text can always be written to.
            let _written = write!(query, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(pairs: Vec<(&str, Variant<'static>)>) -> Options {
        let owned = |value| OwnedVariant::try_from(value).unwrap();
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| (name.to_owned(), owned(value)))
            .collect()
    }

    #[test]
    fn a_spec_becomes_json() {
        let retry = HashMap::from([("attempts", Variant::from(3_u32))]);
        let labels = HashMap::from([("team", "vision")]);
        let spec = options(vec![
            ("command", vec!["sh", "-c", "true"].into()),
            ("priority", 4_u8.into()),
            ("hold", true.into()),
            ("timeout", 1.5.into()),
            ("retry", retry.into()),
            ("labels", labels.into()),
            (
                "after_ok",
                vec![Variant::from(7_u64), "prepare".into()].into(),
            ),
        ]);
        assert_eq!(
            to_json(&spec).unwrap(),
            json!({
                "command": ["sh", "-c", "true"], "priority": 4, "hold": true, "timeout": 1.5,
                "retry": {"attempts": 3}, "labels": {"team": "vision"}, "after_ok": [7, "prepare"],
            })
        );
    }

    #[test]
    fn what_json_has_no_value_for_is_refused_with_its_place() {
        let numbered = HashMap::from([(1_u32, "a")]);
        let inner = HashMap::from([("env", Variant::from(numbered))]);
        let mut deep = Variant::from(1_u8);
        for _ in 0..DEEPEST {
            deep = Variant::Variant(Box::new(deep));
        }
        for (value, place) in [
            (Variant::from(f64::NAN), "x is not a number"),
            (inner.into(), "x.env is a dictionary"),
            (deep, "x holds too many"),
        ] {
            let refused = to_json(&options(vec![("x", value)]));
            let Err(Error::InvalidSpec(why)) = refused else {
                panic!("{refused:?}");
            };
            assert!(why.starts_with(place), "{why}");
        }
    }

    #[test]
    fn what_comes_back_is_what_was_there() {
        let job = json!({
            "id": 42, "name": "train", "offset": -3, "percent": 12.5, "tty": false,
            "command": ["a", "b"], "attempts": [{"attempt": 1}, {"attempt": 2}],
            "depends_on": [1, 2], "progress": {"metrics": {"loss": 0.5}}, "empty": [],
        });
        let back = to_options(job.clone());
        assert_eq!(to_json(&back).unwrap(), job);
        let signature = |name: &str| back[name].value_signature().to_string();
        let signatures: Vec<String> = [
            "id",
            "offset",
            "percent",
            "command",
            "attempts",
            "depends_on",
            "progress",
        ]
        .map(signature)
        .to_vec();
        assert_eq!(signatures, ["t", "x", "d", "as", "aa{sv}", "av", "a{sv}"]);
        assert!(to_options(json!({"gone": null})).is_empty());
    }

    #[test]
    fn a_filter_becomes_a_query() {
        let one = to_query(&options(vec![("name", "a b&c=ü".into())])).unwrap();
        assert_eq!(one, "?name=a%20b%26c%3D%C3%BC");
        let several = to_query(&options(vec![("state", vec!["queued", "held"].into())])).unwrap();
        assert_eq!(several, "?state=queued&state=held");
        let number = to_query(&options(vec![("owner", 1000_u32.into())])).unwrap();
        assert_eq!(number, "?owner=1000");
        let nested = options(vec![("owner", HashMap::from([("a", 1_u8)]).into())]);
        assert!(matches!(to_query(&nested), Err(Error::InvalidSpec(_))));
    }
}
