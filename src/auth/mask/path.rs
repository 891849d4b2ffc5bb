//! Which place of an event a rule masks: `data.user.email`, `data.items[*].price`, `data."a.b"`, `organizationId`,
//! `attributes.dataschema`.
//!
//! Invariants: keys are kept unescaped, so that they are compared with the unescaped keys of the data.
//! Not here: finding the places in an event (`plan`, `rewrite`).

use super::Action;
use crate::event::ScopeField;
use std::fmt;

/// The most segments of a path below `data`.
pub const PATH_SEGMENTS_MAX: usize = 32;
const PATH_BYTES_MAX: usize = 1_024;

/// One step down into the data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Segment {
    /// The member of this key.
    Key(Box<str>),
    /// Every member of an object, every element of an array.
    Any,
    /// Every element of an array; what is no array, itself.
    Each,
}

/// A field of an event that is one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Field {
    Source,
    Subject,
    CorrelationId,
    Scope(ScopeField),
    DataBase64,
}

impl Field {
    const FIXED: [Field; 4] = [Field::Source, Field::Subject, Field::CorrelationId, Field::DataBase64];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Field::Source => "source",
            Field::Subject => "subject",
            Field::CorrelationId => "correlationId",
            Field::Scope(field) => field.camel(),
            Field::DataBase64 => "dataBase64",
        }
    }

    fn of(name: &str) -> Option<Field> {
        let scopes = ScopeField::ALL.into_iter().map(Field::Scope);
        Field::FIXED.into_iter().chain(scopes).find(|field| field.name() == name)
    }
}

/// What a rule masks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Target {
    /// A place in the data; no segments are the whole of it.
    Data(Box<[Segment]>),
    /// A field.
    Field(Field),
    /// A CloudEvents attribute without a field of its own; `None` is every one.
    Attribute(Option<Box<str>>),
}

impl Target {
    /// Reads a path. The error says what is allowed.
    pub(super) fn parse(text: &str) -> Result<Target, String> {
        if text.len() > PATH_BYTES_MAX {
            return Err(format!("a path of at most {PATH_BYTES_MAX} bytes"));
        }
        let (first, rest) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
        match first {
            "data" => segments(rest).map(|segments| Target::Data(segments.into())),
            "attributes" => match &*segments(rest)? {
                [Segment::Any] => Ok(Target::Attribute(None)),
                [Segment::Key(name)] => Ok(Target::Attribute(Some(attribute(name)?))),
                _ => Err("attributes.NAME, or attributes.* for all of them".to_owned()),
            },
            "id" | "type" | "time" | "cursor" | "priority" => {
                Err("another path: id, type, time, cursor and priority cannot be masked, because readers resume, sort \
                     and select by them"
                    .to_owned())
            }
            _ => match Field::of(first) {
                Some(field) if rest.is_empty() => Ok(Target::Field(field)),
                Some(_) => Err(format!("{first} alone, which has nothing inside")),
                None => Err(known()),
            },
        }
    }

    /// Can this be done to it? The error says what is allowed.
    pub(super) fn allows(&self, action: Action) -> Result<(), &'static str> {
        match (self, action) {
            (Target::Field(Field::Source), Action::Drop | Action::Null) => {
                Err("hash or partial: every event has a source")
            }
            (Target::Field(Field::DataBase64), Action::Hash | Action::Partial) => {
                Err("drop or null: a hash is no base64, and the end of base64 is readable")
            }
            _ => Ok(()),
        }
    }
}

fn known() -> String {
    let fields = Field::FIXED.into_iter().chain(ScopeField::ALL.into_iter().map(Field::Scope));
    let fields: Vec<&str> = fields.map(Field::name).collect();
    format!("data, data.KEY…, attributes.NAME, {}", fields.join(", "))
}

fn attribute(name: &str) -> Result<Box<str>, String> {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match is_name {
        true => Ok(name.into()),
        false => Err("an attribute's name of 1 to 64 characters a-z 0-9 (CloudEvents)".to_owned()),
    }
}

fn segments(mut rest: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let segment = match (rest.strip_prefix("[*]"), rest.strip_prefix('.')) {
            (Some(after), _) => {
                rest = after;
                Segment::Each
            }
            (None, Some(after)) => key(after, &mut rest)?,
            (None, None) => return Err("[*] after an array, .KEY after an object".to_owned()),
        };
        segments.push(segment);
    }
    match segments.len() {
        0..=PATH_SEGMENTS_MAX => Ok(segments),
        _ => Err(format!("a path of at most {PATH_SEGMENTS_MAX} segments")),
    }
}

/// Reads a key after its dot and leaves what comes after it in `rest`.
fn key<'t>(text: &'t str, rest: &mut &'t str) -> Result<Segment, String> {
    if text.starts_with('"') {
        let mut keys = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let key = keys.next().and_then(Result::ok).ok_or("a quoted key that is a JSON string")?;
        *rest = text.get(keys.byte_offset()..).unwrap_or_default();
        return Ok(Segment::Key(key.into()));
    }
    let (key, after) = text.split_at(text.find(['.', '[']).unwrap_or(text.len()));
    *rest = after;
    match key {
        "*" => Ok(Segment::Any),
        "" => Err("a key after each dot".to_owned()),
        _ if key
            .chars()
            .any(|c| matches!(c, '*' | '"' | ']' | '\\') || c.is_whitespace() || c.is_control()) =>
        {
            Err(format!("such a key in quotes: {}", serde_json::Value::from(key)))
        }
        _ => Ok(Segment::Key(key.into())),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Data(segments) => {
                f.write_str("data")?;
                segments.iter().try_for_each(|segment| write!(f, "{segment}"))
            }
            Target::Field(field) => f.write_str(field.name()),
            Target::Attribute(name) => write!(f, "attributes.{}", name.as_deref().unwrap_or("*")),
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Segment::Any => f.write_str(".*"),
            Segment::Each => f.write_str("[*]"),
            Segment::Key(key) => {
                let is_plain = key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
                match is_plain && !key.is_empty() {
                    true => write!(f, ".{key}"),
                    false => write!(f, ".{}", serde_json::Value::from(&**key)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_and_written_back() {
        for (given, written) in [
            ("data", "data"),
            ("data.user.email", "data.user.email"),
            ("data.items[*].x", "data.items[*].x"),
            ("data[*][*]", "data[*][*]"),
            ("data.*.x", "data.*.x"),
            (r#"data."a.b"[*]."\u0070\"""#, r#"data."a.b"[*]."p\"""#),
            (r#"data."plain""#, "data.plain"),
            (r#"data."*""#, r#"data."*""#),
            ("organizationId", "organizationId"),
            ("source", "source"),
            ("dataBase64", "dataBase64"),
            ("attributes.dataschema", "attributes.dataschema"),
            ("attributes.*", "attributes.*"),
        ] {
            let target = Target::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(target.to_string(), written);
            assert_eq!(Target::parse(written), Ok(target), "{given}");
        }
    }

    #[test]
    fn what_is_no_path_or_cannot_be_masked_is_told() {
        let deep = format!("data{}", ".a".repeat(33));
        for bad in [
            "",
            "dat",
            "data.",
            "data..a",
            "data.a[0]",
            "data.a[*",
            "data.a b",
            "data.a*",
            "data.a]b",
            "data.\"a",
            "data[*]a",
            "data.\"a\"b",
            "subject.a",
            "subject[*]",
            "attributes",
            "attributes.a.b",
            "attributes.Up",
            "attributes[*]",
            &deep,
        ] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
        for fixed in ["id", "type", "time", "cursor", "priority"] {
            assert!(Target::parse(fixed).unwrap_err().contains("cannot be masked"), "{fixed}");
        }
        let allowed = |path: &str, action| Target::parse(path).unwrap().allows(action).is_ok();
        assert!(
            !allowed("source", Action::Drop)
                && !allowed("source", Action::Null)
                && allowed("source", Action::Hash)
        );
        assert!(!allowed("dataBase64", Action::Hash) && allowed("dataBase64", Action::Drop));
        assert!(allowed("userId", Action::Null) && allowed("data.a", Action::Partial));
    }
}
