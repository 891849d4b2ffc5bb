//! Credentials inside messages: a client that cannot set a header sends its token in `connection_init`, and a new one in a
//! ping.
//!
//! Not here: whether a credential is any good (`auth`), headers and query strings (`server`).

use crate::{
    error::{Code, Refusal},
    event::Json,
};
use serde_json::{Map, Value};
use std::fmt;

/// The members of a payload that hold a credential, with or without its scheme.
const MEMBERS: [&str; 3] = ["Authorization", "authorization", "token"];
const SCHEME: &str = "Bearer";

/// A token or an API key as it was sent, without its scheme; not checked, and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Reads what a header or a client has: with or without the scheme `Bearer`. None where nothing is left.
    pub fn read(credential: &str) -> Option<Self> {
        without_scheme(credential).map(|token| Token(token.into()))
    }

    /// Its text, for whoever checks it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn without_scheme(credential: &str) -> Option<&str> {
    let credential = credential.trim();
    let token = match credential.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) && rest.starts_with([' ', '\t']) => {
            rest.trim()
        }
        Some((scheme, "")) if scheme.eq_ignore_ascii_case(SCHEME) => "",
        Some(_) | None => credential,
    };
    (!token.is_empty()).then_some(token)
}

/// The token of a payload, if it has one. Fails with `BAD_REQUEST` when a member is no string or when two members differ.
pub fn payload_token(payload: &Json) -> Result<Option<Token>, Refusal> {
    let members: Map<String, Value> = serde_json::from_str(payload.as_str()).unwrap_or_default();
    let mut found: Option<Token> = None;
    for name in MEMBERS {
        let given = match members.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text,
            Some(_) => {
                let message = format!("payload.{name} must be a string");
                return Err(Refusal::new(Code::BadRequest, message).with("field", format!("payload.{name}")));
            }
        };
        match (Token::read(given), &found) {
            (Some(token), Some(other)) if token != *other => return Err(two_credentials()),
            (Some(token), _) => found = Some(token),
            (None, _) => {}
        }
    }
    Ok(found)
}

/// The refusal of a client that says in two ways who it is.
pub fn two_credentials() -> Refusal {
    Refusal::new(Code::BadRequest, "two different credentials were sent; send one")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> Result<Option<String>, Code> {
        let token = payload_token(&Json::parse(payload).unwrap()).map_err(|refusal| refusal.code)?;
        Ok(token.map(|token| token.as_str().to_owned()))
    }

    #[test]
    fn a_token_is_found_under_each_name_with_or_without_its_scheme() {
        for payload in [
            r#"{"Authorization":"Bearer a.b.c"}"#,
            r#"{"authorization":"bearer  a.b.c "}"#,
            r#"{"authorization":"a.b.c"}"#,
            r#"{"token":"a.b.c","other":1}"#,
            r#"{"token":"Bearer a.b.c","Authorization":"a.b.c"}"#,
        ] {
            assert_eq!(read(payload), Ok(Some("a.b.c".to_owned())), "{payload}");
        }
        for payload in ["{}", r#"{"token":null}"#, r#"{"token":""}"#, r#"{"Authorization":"Bearer "}"#] {
            assert_eq!(read(payload), Ok(None), "{payload}");
        }
    }

    #[test]
    fn two_tokens_and_what_is_no_text_are_refused_without_an_echo() {
        for payload in [r#"{"token":"secret1","authorization":"secret2"}"#, r#"{"token":["secret1"]}"#] {
            let refusal = payload_token(&Json::parse(payload).unwrap()).unwrap_err();
            assert_eq!(refusal.code, Code::BadRequest);
            assert!(!format!("{refusal:?}").contains("secret"), "{refusal:?}");
        }
    }

    #[test]
    fn a_word_that_begins_like_the_scheme_is_a_token() {
        let read = |text: &str| Token::read(text).map(|token| token.as_str().to_owned());
        assert_eq!(read("Bearertoken"), Some("Bearertoken".to_owned()));
        assert_eq!((read("Bearer"), read(" "), read("é")), (None, None, Some("é".to_owned())));
        assert_eq!(format!("{:?}", Token::read("secret")), "Some(Token)");
    }
}
