//! The settings file: TOML with the table's names at the top level, read into texts with their lines.

use super::{
    problem::{Problem, Source},
    table::Setting,
};
use toml::de::{DeInteger, DeTable, DeValue};

/// The most bytes of a settings file or of a secret's file; more is some other file.
pub(super) const FILE_BYTES_MAX: u64 = 256 * 1024;

/// One setting as the file has it.
#[derive(Debug)]
pub(super) struct Line {
    /// The key, known or not.
    pub(super) name: String,
    /// The value as text, or what was found in place of one.
    pub(super) text: Result<String, &'static str>,
    /// Where it stands.
    pub(super) source: Source,
}

/// Reads a text file of bounded size. The error is a sentence without its subject.
pub(super) fn read_text(path: &str) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    match text.len() as u64 <= FILE_BYTES_MAX {
        true => Ok(text),
        false => Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
    }
}

/// Reads the lines of a settings file; syntax errors become problems.
pub(super) fn lines(path: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Line> {
    let at = |offset: usize| Source::File { path: path.to_owned(), line: line_of(text, offset) };
    let (table, mut errors) = DeTable::parse_recoverable(text);
    let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    // One error a line, from the top: what follows on the same line is mostly caused by the first.
    errors.sort_by_key(offset);
    errors.dedup_by_key(|error| line_of(text, offset(error)));
    problems.extend(errors.iter().map(|error| {
        let rule = format!("this is not TOML: {}", error.message());
        Problem::new("settings file", at(offset(error)), None, rule)
    }));
    if !errors.is_empty() {
        return Vec::new();
    }
    let line = |(name, value): (toml::Spanned<_>, toml::Spanned<_>)| Line {
        source: at(name.span().start),
        text: scalar(value.get_ref()),
        name: std::borrow::Cow::into_owned(name.into_inner()),
    };
    let mut lines: Vec<_> = table.into_inner().into_iter().map(line).collect();
    let place = |name: &str| super::TABLE.iter().position(|setting| setting.name == name);
    lines.sort_by_key(|line| place(&line.name));
    lines
}

/// The line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// A value in the text form that flags and variables have too.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => integer(number).ok_or("a number beyond 64 bits"),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        DeValue::Array(items) => {
            let items =
                items.iter().map(|item| item.get_ref().as_str().ok_or("a list of other things than text"));
            Ok(items.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        DeValue::Float(_) => Err("a number with a fraction"),
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Table(_) => Err("a table"),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<String> {
    i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

/// The setting that somebody may have meant by an unknown name: the same words in another order, or one or two letters off.
pub(super) fn meant(name: &str) -> Option<&'static Setting> {
    let name = words(&name.to_ascii_lowercase().replace('-', "_"));
    let near = super::TABLE.iter().map(|setting| (distance(&words(setting.name), &name), setting));
    near.filter(|(distance, _)| *distance <= 2 && *distance * 3 <= name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, setting)| setting)
}

fn words(name: &str) -> Vec<char> {
    let mut words: Vec<_> = name.split('_').collect();
    words.sort_unstable();
    words.join("_").chars().collect()
}

/// How many letters must be added, removed or replaced to come from one name to the other (Levenshtein).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, own) in one.iter().enumerate() {
        let (mut diagonal, mut left) = (index, index + 1);
        for (theirs, above) in other.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(own != theirs)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, cost);
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_recognised_and_a_far_one_is_not() {
        let name = |text| meant(text).map(|setting| setting.name);
        assert_eq!(name("max_connections"), Some("connections_max"));
        assert_eq!(name("lissten"), Some("listen"));
        assert_eq!(name("DATA-DIR"), Some("data_dir"));
        assert_eq!(name("colour"), None);
        assert_eq!(name("foo"), None, "short names are near to everything");
    }

    #[test]
    fn every_line_is_known_by_its_number_and_every_syntax_error_is_told() {
        let mut problems = Vec::new();
        let read = lines("f.toml", "# a\nstore = \"memory\"\n\nlisten = 1_000\n", &mut problems);
        let shown: Vec<_> = read.iter().map(|line| format!("{} {}", line.name, line.source)).collect();
        assert_eq!(shown, ["listen f.toml line 4", "store f.toml line 2"]);
        assert_eq!(read[0].text.as_deref(), Ok("1000"));
        assert!(problems.is_empty());

        lines("f.toml", "store = \nlisten = \"a\"\nport = = 1\n", &mut problems);
        let at: Vec<_> = problems.iter().map(|problem| problem.source.to_string()).collect();
        assert_eq!(at, ["f.toml line 1", "f.toml line 3"], "{problems:?}");
    }
}
