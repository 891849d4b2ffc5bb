//! What a content type says (RFC 9110, section 8.3): type and subtype, and of the parameters only the charset.

/// A content type that was read. Comparing ignores case, as the standard wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaType {
    essence: String,
    charset: Option<String>,
    has_other_parameters: bool,
}

impl MediaType {
    /// Reads a content type; none if it is not written as the standard says.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = split_outside_quotes(text);
        let essence = parts.next()?.trim_ascii().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut media = MediaType { essence, charset: None, has_other_parameters: false };
        for parameter in parts.map(str::trim_ascii).filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            let value = unquoted(value)?;
            match is_token(name) {
                true if name.eq_ignore_ascii_case("charset") => {
                    media.charset = Some(value.to_ascii_lowercase());
                }
                true => media.has_other_parameters = true,
                false => return None,
            }
        }
        Some(media)
    }

    /// Type and subtype in lower case, such as `text/plain`.
    pub(super) fn essence(&self) -> &str {
        &self.essence
    }

    /// Is it `*/json` or `*/*+json`, what CloudEvents calls JSON-formatted?
    pub(super) fn is_json(&self) -> bool {
        let subtype = self.essence.split_once('/').map(|(_, subtype)| subtype);
        subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
    }

    /// Is it `text/*`?
    pub(super) fn is_text(&self) -> bool {
        self.essence.starts_with("text/")
    }

    /// Can text of this type be read as UTF-8?
    pub(super) fn is_utf8(&self) -> bool {
        self.charset.as_deref().is_none_or(|charset| matches!(charset, "utf-8" | "utf8" | "us-ascii"))
    }

    /// Is it what a CloudEvent without `datacontenttype` has: `application/json` in UTF-8?
    pub(super) fn is_default(&self) -> bool {
        self.essence == "application/json" && self.is_utf8() && !self.has_other_parameters
    }
}

fn split_outside_quotes(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |character| {
        let ends = character == ';' && !is_quoted;
        match character {
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = is_quoted && character == '\\' && !is_escaped;
        ends
    })
}

/// A parameter's value: a token, or a quoted string without its quotes.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|inner| !inner.chars().any(char::is_control)),
        None => Some(value).filter(|value| is_token(value)),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_quotes_and_parameters_are_read_as_the_standard_says() {
        let media = MediaType::parse(r#"Application/JSON ; profile="a;b\"c" ; Charset="UTF-8";"#).unwrap();
        assert_eq!(media.essence(), "application/json");
        assert!(media.is_json() && media.is_utf8() && !media.is_default());
        assert!(MediaType::parse("application/json;charset=utf-8").unwrap().is_default());
        assert!(MediaType::parse("image/svg+xml;charset=x").is_some_and(|media| !media.is_json()));
        assert!(MediaType::parse("application/problem+json").is_some_and(|media| media.is_json()));
        assert!(MediaType::parse("text/plain;charset=iso-8859-1").is_some_and(|media| !media.is_utf8()));
    }

    #[test]
    fn what_is_no_content_type_is_refused() {
        for bad in
            ["", "xyz", "/json", "text/", "te xt/plain", "text/plain; charset", "text/plain; =x", "é/x"]
        {
            assert_eq!(MediaType::parse(bad), None, "{bad}");
        }
    }
}
