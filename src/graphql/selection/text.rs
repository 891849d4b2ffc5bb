//! How the parts of a canonical text are written.
//!
//! Invariants: whatever a client put into a string, a name or a member of a variable stays inside it; what could not is refused.
//! async-graphql's own printing is not used: 8.0.0-rc.5 writes control characters as decimal escapes, which read back as others.
//! Not here: what is written and in which order (the parent).

use super::SelectionError;
use crate::error::excerpt;
use async_graphql::{Name, Value, parser::types::Field};
use std::fmt::Write as _;

/// The longest canonical text: it is kept in memory as long as anybody shares it.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Refuses a text that has grown too long.
pub(super) fn check_length(text: &str) -> Result<(), SelectionError> {
    match text.len() > TEXT_BYTES_MAX {
        true => Err(SelectionError::TooLarge { what: "bytes", allowed: TEXT_BYTES_MAX }),
        false => Ok(()),
    }
}

/// Writes `alias:name`, or the name alone where the alias says the same.
pub(super) fn write_key(field: &Field, text: &mut String) {
    let name = field.name.node.as_str();
    match &field.alias {
        Some(alias) if alias.node != *name => {
            text.push_str(&alias.node);
            text.push(':');
        }
        Some(_) | None => {}
    }
    text.push_str(name);
}

/// Writes `(name:value,…)` sorted by name, or nothing for no arguments.
pub(super) fn write_arguments(mut arguments: Vec<(&str, String)>, text: &mut String) {
    if arguments.is_empty() {
        return;
    }
    arguments.sort_by_key(|(name, _)| *name);
    for (index, (name, value)) in arguments.iter().enumerate() {
        text.push(if index == 0 { '(' } else { ',' });
        text.push_str(name);
        text.push(':');
        text.push_str(value);
    }
    text.push(')');
}

/// Writes the value of a variable.
pub(super) fn write_constant(value: &Value, text: &mut String) -> Result<(), SelectionError> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::Boolean(boolean) => text.push_str(if *boolean { "true" } else { "false" }),
        Value::String(string) => write_string(string, text),
        Value::Enum(name) => write_name(name, text)?,
        Value::List(items) => write_list(items, text, write_constant)?,
        Value::Object(members) => write_object(members, text, |member, text| {
            write_constant(member, text)?;
            Ok(true)
        })?,
        Value::Binary(_) => return Err(SelectionError::Binary),
    }
    check_length(text)
}

/// Writes `[item,…]`.
pub(super) fn write_list<V>(
    items: &[V],
    text: &mut String,
    mut write: impl FnMut(&V, &mut String) -> Result<(), SelectionError>,
) -> Result<(), SelectionError> {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(item, text)?;
    }
    text.push(']');
    Ok(())
}

/// Writes `{name:member,…}` sorted by name; a member of which `write` says that it has no value is left out.
pub(super) fn write_object<'m, V: 'm>(
    members: impl IntoIterator<Item = (&'m Name, &'m V)>,
    text: &mut String,
    mut write: impl FnMut(&V, &mut String) -> Result<bool, SelectionError>,
) -> Result<(), SelectionError> {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by_key(|(name, _)| name.as_str());
    text.push('{');
    let start = text.len();
    for (name, member) in members {
        let end = text.len();
        if end > start {
            text.push(',');
        }
        write_name(name, text)?;
        text.push(':');
        if !write(member, text)? {
            text.truncate(end);
        }
    }
    text.push('}');
    Ok(())
}

/// Writes a name after checking that it is one: members of a variable come from JSON, where any string can be a name.
pub(super) fn write_name(name: &str, text: &mut String) -> Result<(), SelectionError> {
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if !is_name {
        return Err(SelectionError::NotAName(excerpt(name)));
    }
    text.push_str(name);
    Ok(())
}

/// Writes a string in quotes.
pub(super) fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
