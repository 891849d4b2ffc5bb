//! What the commands write: results to stdout, everything else to stderr, nothing that a terminal obeys.

use super::Failure;
use std::io::{self, Write};

/// Takes back a progress line that was written without a line end.
pub(super) const CLEAR_LINE: &str = "\r\x1b[K";

/// Writes lines to stderr; where nobody reads them there is nobody to tell.
pub(super) fn say(text: &str) {
    let lines: Vec<_> = text.split('\n').map(harmless).collect();
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
}

/// Replaces the progress line on a terminal's stderr; an empty one takes it away.
pub(super) fn progress(text: &str) {
    let _ = write!(io::stderr(), "{CLEAR_LINE}{}", harmless(text));
}

/// Writes a result to stdout. A reader that went away had enough.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The text without characters that a terminal obeys (C0, C1), that reorder what is read (bidirectional controls), or
/// that break a line.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|character| if is_harmful(character) { '\u{fffd}' } else { character }).collect()
}

fn is_harmful(character: char) -> bool {
    let steers_direction =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || steers_direction || matches!(character, '\u{2028}' | '\u{2029}')
}
