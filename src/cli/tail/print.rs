//! How an event is shown: one line for people, or one JSON object a line.
//!
//! Invariants: a line is one line, and nothing in an event can steer the terminal.

use super::{
    super::{scope::short_name, terminal::harmless},
    protocol::Received,
};
use fanfare::event::ScopeField;
use serde_json::value::RawValue;
use std::fmt::Write;

/// The most characters of the data in a line for people.
const DATA_CHARACTERS_MAX: usize = 120;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// The whole event in our own field names.
    Json,
    /// Time, type, ids, short data.
    Plain,
    /// The same with colours.
    Coloured,
}

/// The line of an event, with its line end.
pub(super) fn line(event: &Received<'_>, style: Style) -> String {
    match style {
        Style::Json => json(event),
        Style::Plain => human(event, false),
        Style::Coloured => human(event, true),
    }
}

fn json(event: &Received<'_>) -> String {
    // Plain strings and JSON that was just read: writing it cannot fail.
    let text = serde_json::to_string(event).unwrap_or_default();
    // Between the tokens of JSON a line end means nothing, and inside its strings there is none.
    text.replace(['\n', '\r'], " ") + "\n"
}

fn human(event: &Received<'_>, is_coloured: bool) -> String {
    let paint = |text: &str, colour: &str| match is_coloured && !colour.is_empty() {
        true => format!("\x1b[{colour}m{}\x1b[0m", harmless(text)),
        false => harmless(text),
    };
    let mut line =
        format!("{} {}", paint(&event.time, "2"), paint(&event.event_type, colour_of(&event.priority)));
    let scope =
        ScopeField::ALL.into_iter().filter_map(|field| Some((short_name(field), scope_id(event, field)?)));
    for (name, id) in scope.chain(event.subject.as_deref().map(|subject| ("subject", subject))) {
        // Writing to a String cannot fail.
        let _ = write!(line, " {}{}", paint(&format!("{name}="), "36"), harmless(id));
    }
    let text = match (event.data.map(RawValue::get), &event.data_base64) {
        (_, Some(text)) => format!("base64:{text}"),
        (None | Some("null"), None) => String::new(),
        (Some(text), None) => text.to_owned(),
    };
    if !text.is_empty() {
        line.push(' ');
        line.push_str(&short(&harmless(&text)));
    }
    line.push('\n');
    line
}

fn scope_id<'a>(event: &'a Received<'_>, field: ScopeField) -> Option<&'a str> {
    match field {
        ScopeField::Organization => event.organization_id.as_deref(),
        ScopeField::Domain => event.domain_id.as_deref(),
        ScopeField::Instance => event.instance_id.as_deref(),
        ScopeField::Agent => event.agent_id.as_deref(),
        ScopeField::Task => event.task_id.as_deref(),
        ScopeField::Workflow => event.workflow_id.as_deref(),
        ScopeField::User => event.user_id.as_deref(),
        ScopeField::Room => event.room_id.as_deref(),
    }
}

/// Bold, and red or yellow where it is urgent.
fn colour_of(priority: &str) -> &'static str {
    match priority {
        "CRITICAL" => "1;31",
        "HIGH" => "1;33",
        "LOW" => "",
        _ => "1",
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(DATA_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"id":"e1","type":"task.created","time":"2026-11-20T10:00:00.5Z","source":"/ci","subject":null,
        "organizationId":"quant","taskId":"t1","priority":"HIGH","cursor":"C","data":{"n": 1.0,
        "big":12345678901234567890123}}"#;

    fn shown(event: &str, style: Style) -> String {
        line(&serde_json::from_str(event).unwrap(), style)
    }

    #[test]
    fn a_line_for_people_has_time_type_ids_and_data() {
        let event = EVENT.replace("\n        ", " ");
        assert_eq!(
            shown(&event, Style::Plain),
            "2026-11-20T10:00:00.5Z task.created org=quant task=t1 {\"n\": 1.0, \"big\":12345678901234567890123}\n"
        );
        let coloured = shown(&event, Style::Coloured);
        assert!(coloured.contains("\x1b[1;33mtask.created\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn a_json_line_is_one_line_of_our_own_field_names_with_absent_fields_left_out() {
        assert_eq!(
            shown(EVENT, Style::Json),
            "{\"id\":\"e1\",\"type\":\"task.created\",\"time\":\"2026-11-20T10:00:00.5Z\",\"source\":\"/ci\",\
             \"organizationId\":\"quant\",\"taskId\":\"t1\",\"priority\":\"HIGH\",\"cursor\":\"C\",\"data\":{\"n\": 1.0,         \
             \"big\":12345678901234567890123}}\n"
        );
    }

    #[test]
    fn nothing_in_an_event_steers_the_terminal_or_breaks_the_line() {
        let hostile = EVENT
            .replace("quant", "a\\u001b[2Jb")
            .replace("1.0", "\"\u{9b}31m\u{202e}\u{2028}\"")
            .replace("null", "\"x\\ny\"");
        let line = shown(&hostile, Style::Plain);
        let bare = line.strip_suffix('\n').unwrap();
        assert!(!bare.chars().any(|c| c.is_control() || c == '\u{202e}' || c == '\u{2028}'), "{line:?}");
    }

    #[test]
    fn long_data_is_cut_for_people_and_whole_in_json() {
        let long = EVENT.replace("1.0", &format!("\"{}\"", "é".repeat(1_000)));
        assert!(shown(&long, Style::Plain).chars().count() < 220);
        assert!(shown(&long, Style::Json).chars().count() > 1_000);
    }
}
