//! Goes through JSON that was checked before and gives out its parts as they were written.
//!
//! Why not `serde_json`: its raw values have to be parsed again for each level below them, which a hostile producer could
//! turn into seconds. This goes through every byte once.
//! Invariants: whatever is not as the checked form has it (`event::Json`: no white space between tokens, 64 levels) ends the
//! scan with `None`; nothing is guessed.

use crate::event::json::JSON_DEPTH_MAX;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Scan<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Scan { text, at: 0, depth: 0 }
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Has everything been taken?
    pub(super) fn is_done(&self) -> bool {
        self.at == self.text.len()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Takes an object; `member` gets each key as it is written, in quotes, and must take its value.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &'t str) -> Option<()>) -> Option<()> {
        self.container(b'{', b'}', |scan| {
            let key = scan.string()?;
            scan.take(b':')?;
            member(scan, key)
        })
    }

    /// Takes an array; `element` must take each element.
    pub(super) fn array(&mut self, element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.container(b'[', b']', element)
    }

    fn container(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        self.depth = (self.depth < JSON_DEPTH_MAX).then_some(self.depth + 1)?;
        if self.peek()? != close {
            item(self)?;
            while self.peek()? == b',' {
                self.at += 1;
                item(self)?;
            }
        }
        self.depth -= 1;
        self.take(close)
    }

    /// Takes a value of any kind and gives it as it is written.
    pub(super) fn value(&mut self) -> Option<&'t str> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' => self.nested(),
            _ => self.scalar(),
        }
    }

    fn string(&mut self) -> Option<&'t str> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.peek()? == b'"' {
                self.at += 1;
                return self.text.get(start..self.at);
            }
            // What is escaped has one byte at least, and that is none of the two.
            self.at += 2;
        }
    }

    fn nested(&mut self) -> Option<&'t str> {
        let (start, mut open) = (self.at, 0_usize);
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                b'}' | b']' => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return self.text.get(start..self.at);
            }
        }
    }

    fn scalar(&mut self) -> Option<&'t str> {
        let rest = self.text.get(self.at..)?;
        let length = rest.find([',', ']', '}']).unwrap_or(rest.len());
        let is_scalar = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
        let scalar = rest.get(..length).filter(|text| !text.is_empty() && text.bytes().all(is_scalar))?;
        self.at += length;
        Some(scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Option<String> {
        fn copy(scan: &mut Scan<'_>, out: &mut Vec<String>) -> Option<()> {
            match scan.peek()? {
                b'{' => scan.object(|scan, key| {
                    out.push(key.to_owned());
                    copy(scan, out)
                }),
                b'[' => scan.array(|scan| copy(scan, out)),
                _ => scan.value().map(|value| out.push(value.to_owned())),
            }
        }
        let (mut scan, mut out) = (Scan::new(text), Vec::new());
        copy(&mut scan, &mut out)?;
        scan.is_done().then(|| out.join(" "))
    }

    #[test]
    fn parts_come_as_they_were_written() {
        let text = r#"{"a\"}":[1.50e+3,{},[]],"\\":"]\\\"","é":null}"#;
        assert_eq!(all(text).unwrap(), r#""a\"}" 1.50e+3 "\\" "]\\\"" "é" null"#);
        assert_eq!(Scan::new(text).value(), Some(text));
    }

    #[test]
    fn what_is_not_in_the_checked_form_ends_the_scan() {
        let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
        for bad in [
            "",
            "{",
            "[1",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "[1,]",
            "[,1]",
            r#""a"#,
            r#""\"#,
            "1 ",
            "[1 ,2]",
            r#"{"a":1"#,
            &deep,
        ] {
            assert_eq!(all(bad), None, "{bad}");
        }
        assert!(all(&format!("{}1{}", "[".repeat(64), "]".repeat(64))).is_some());
    }
}
