//! The linear scan: counts brackets, tokens and directives of a text without recursion and without believing that it is GraphQL.
//!
//! Invariants: what the scan takes for a string or a comment is one for the parser too, or the parser stops there; so no bracket
//! that the parser could open is missed. Each byte is read once or twice.
//! Not here: what the tokens mean (the parser).

use super::{GuardError, GuardOptions};
use async_graphql::Pos;

/// What a text holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The most brackets that are open at once.
    pub(super) depth: usize,
    /// Tokens.
    pub(super) tokens: usize,
    /// Bytes of names.
    pub(super) name_bytes: usize,
    /// `@` signs.
    pub(super) directives: usize,
}

#[derive(Clone, Copy, Debug)]
enum Token {
    Open(u8),
    Close(u8),
    At,
    Name(usize),
    Other,
}

/// Measures a text and stops at the first limit that it passes.
pub(super) fn scan(text: &str, options: &GuardOptions) -> Result<Extent, GuardError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut open = Vec::with_capacity(options.brackets_max.min(64));
    let mut extent = Extent::default();
    while let Some((at, token)) = lexer.next()? {
        extent.tokens += 1;
        within(extent.tokens, options.tokens_max, "tokens")?;
        match token {
            Token::Open(bracket) => {
                open.push((at, bracket));
                extent.depth = extent.depth.max(open.len());
                within(extent.depth, options.brackets_max, "open brackets")?;
            }
            Token::Close(bracket) => match open.pop() {
                Some((_, opened)) if closes(opened) == bracket => {}
                Some(_) | None => return Err(lexer.unbalanced(at, bracket)),
            },
            Token::At => {
                extent.directives += 1;
                within(extent.directives, options.directives_max, "directives")?;
            }
            Token::Name(bytes) => {
                extent.name_bytes += bytes;
                within(extent.name_bytes, options.name_bytes_max, "bytes of names")?;
            }
            Token::Other => {}
        }
    }
    match open.pop() {
        Some((at, bracket)) => Err(lexer.unbalanced(at, bracket)),
        None => Ok(extent),
    }
}

/// Refuses a count above its limit.
pub(super) fn within(count: usize, allowed: usize, what: &'static str) -> Result<(), GuardError> {
    if count > allowed { Err(GuardError::TooComplex { what, allowed }) } else { Ok(()) }
}

const fn closes(bracket: u8) -> u8 {
    match bracket {
        b'{' => b'}',
        b'[' => b']',
        _ => b')',
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl Lexer<'_> {
    /// The next token and the byte where it starts.
    fn next(&mut self) -> Result<Option<(usize, Token)>, GuardError> {
        loop {
            let at = self.at;
            let Some(byte) = self.bump() else { return Ok(None) };
            let token = match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => continue,
                b'#' => {
                    self.skip(|byte| !matches!(byte, b'\n' | b'\r'));
                    continue;
                }
                // The rest of a byte order mark, which the grammar takes for a blank, or of any other character.
                0x80.. => {
                    self.skip(|byte| byte >= 0x80);
                    Token::Other
                }
                b'"' => {
                    self.string(at)?;
                    Token::Other
                }
                b'{' | b'[' | b'(' => Token::Open(byte),
                b'}' | b']' | b')' => Token::Close(byte),
                b'@' => Token::At,
                b'.' => {
                    self.skip(|byte| byte == b'.');
                    Token::Other
                }
                b'-' | b'0'..=b'9' => {
                    self.skip(|byte| {
                        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_')
                    });
                    Token::Other
                }
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    self.skip(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    Token::Name(self.at - at)
                }
                _ => Token::Other,
            };
            return Ok(Some((at, token)));
        }
    }

    /// Goes behind the string whose first quote, at `start`, has been read.
    fn string(&mut self, start: usize) -> Result<(), GuardError> {
        if self.eat("\"\"") {
            return self.block_string(start);
        }
        loop {
            match self.bump() {
                Some(b'"') => return Ok(()),
                // An escaped line end is none: the next round finds the end of the line.
                Some(b'\\') if !matches!(self.peek(), Some(b'\n' | b'\r')) => {
                    self.bump();
                }
                Some(b'\n' | b'\r') | None => {
                    return Err(GuardError::Unterminated { pos: position(self.text, start) });
                }
                Some(_) => {}
            }
        }
    }

    fn block_string(&mut self, start: usize) -> Result<(), GuardError> {
        loop {
            if self.eat("\\\"\"\"") {
                continue;
            }
            if self.eat("\"\"\"") {
                return Ok(());
            }
            if self.bump().is_none() {
                return Err(GuardError::Unterminated { pos: position(self.text, start) });
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += usize::from(byte.is_some());
        byte
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found =
            self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(expected.as_bytes()));
        if found {
            self.at += expected.len();
        }
        found
    }

    fn skip(&mut self, belongs: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&belongs) {
            self.at += 1;
        }
    }

    fn unbalanced(&self, at: usize, bracket: u8) -> GuardError {
        GuardError::Unbalanced { bracket: char::from(bracket), pos: position(self.text, at) }
    }
}

/// Line and column, both from 1, the column in characters.
fn position(text: &str, at: usize) -> Pos {
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    Pos {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graphql::guard::tests::unlimited;
    use proptest::prelude::*;

    /// Pieces of text with what each does to the depth and how many tokens it is.
    const PIECES: [(&str, i32, usize); 17] = [
        ("{", 1, 1),
        ("[", 1, 1),
        ("(", 1, 1),
        ("}", -1, 1),
        ("]", -1, 1),
        (")", -1, 1),
        ("name_1", 0, 1),
        ("-1.5e+3", 0, 1),
        ("...", 0, 1),
        ("$v", 0, 2),
        ("@skip", 0, 2),
        ("\"{[( \\\" {\\\\\"", 0, 1),
        ("\"\"", 0, 1),
        ("\"\"\"{\n[ \\\"\"\" \"\" (\"\"\"", 0, 1),
        ("# {[(\"\"\" \" ß\r", 0, 0),
        (",\u{feff}", 0, 1),
        ("é", 0, 1),
    ];

    proptest! {
        #[test]
        fn depth_and_tokens_equal_those_of_the_pieces(
            soup in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40),
        ) {
            let text = soup.iter().map(|(piece, ..)| *piece).collect::<Vec<_>>().join(" ");
            let (mut open, mut depth, mut balanced) = (Vec::new(), 0, true);
            for (piece, step, _) in &soup {
                match step {
                    1 => open.push(*piece),
                    -1 => balanced &= matches!(
                        (open.pop(), *piece),
                        (Some("{"), "}") | (Some("["), "]") | (Some("("), ")")
                    ),
                    _ => {}
                }
                if !balanced {
                    break;
                }
                depth = depth.max(open.len());
            }
            match scan(&text, &unlimited()) {
                Ok(extent) => {
                    prop_assert!(balanced && open.is_empty());
                    prop_assert_eq!(extent.depth, depth);
                    prop_assert_eq!(extent.tokens, soup.iter().map(|(.., tokens)| tokens).sum::<usize>());
                    prop_assert_eq!(extent.directives, soup.iter().filter(|(piece, ..)| *piece == "@skip").count());
                }
                Err(error) => prop_assert!(!balanced || !open.is_empty(), "{error}"),
            }
        }

        #[test]
        fn any_text_is_measured_without_a_panic(text in any::<String>()) {
            let _ = scan(&text, &unlimited());
        }
    }

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        assert_eq!(position("a\nßb{", 5), Pos { line: 2, column: 3 });
    }
}
