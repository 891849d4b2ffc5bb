//! `fanfare token sign`: a token as a login server would give it, for development and tests.

use super::super::{Failure, terminal};
use clap::Args;
use fanfare::auth::token::{self, Claims};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// A secret's file is a line; more is some other file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// File with the shared secret, the server's `jwt_secret` or `secret_file`.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Whose token it is: the claim sub.
    #[arg(long)]
    subject: String,
    /// The claim iss, the server's `jwt_issuer`.
    #[arg(long)]
    issuer: String,
    /// The claim aud, the server's `jwt_audience`.
    #[arg(long)]
    audience: String,
    /// A role in the claim roles; may be given several times.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Another claim, such as --claim org_id='"quant"'; may be given several times.
    #[arg(long, value_name = "NAME=JSON", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// How long it lasts, such as 30s, 15m, 1h or 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    expires: Duration,
    /// The key's name, the server's `id` of the key.
    #[arg(long, value_name = "ID")]
    key: Option<String>,
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, json) = text.split_once('=').ok_or("write it as name=JSON")?;
    let value = serde_json::from_str(json)
        .map_err(|error| format!("{json:?} is not JSON ({error}); quote texts: '\"…\"'"))?;
    Ok((name.to_owned(), value))
}

fn time(text: &str) -> Result<Duration, String> {
    let rule = || "write it as a number with its unit, such as 30s, 15m, 1h or 7d".to_owned();
    let end = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(rule)?;
    let (number, unit) = text.split_at(end);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule()),
    };
    let number: u64 = number.parse().map_err(|_| rule())?;
    number.checked_mul(seconds).filter(|seconds| *seconds < 1 << 36).map(Duration::from_secs).ok_or_else(rule)
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    use std::io::Read;
    let path = arguments.secret_file.display();
    let mut secret = String::new();
    std::fs::File::open(&arguments.secret_file)
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut secret))
        .map_err(|error| Failure::usage(format!("--secret-file: {path} cannot be read: {error}")))?;
    let claims = claims(arguments, chrono::Utc::now().timestamp());
    let signed = token::sign(secret.trim_end_matches(['\n', '\r']), arguments.key.as_deref(), &claims);
    let signed = signed.map_err(|error| Failure::usage(format!("--secret-file: {path}: {error}")))?;
    terminal::print(&format!("{signed}\n"))
}

/// The claims; what `--claim` gives replaces the others.
fn claims(arguments: &Arguments, now: i64) -> Claims {
    let mut claims = Claims::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", arguments.issuer.as_str().into());
    set("aud", arguments.audience.as_str().into());
    set("sub", arguments.subject.as_str().into());
    set("iat", now.into());
    set("exp", now.saturating_add_unsigned(arguments.expires.as_secs()).into());
    set("jti", token_id().into());
    if !arguments.role.is_empty() {
        set("roles", arguments.role.clone().into());
    }
    for (name, value) in &arguments.claim {
        set(name, value.clone());
    }
    claims
}

fn token_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_claims_are_read_and_nothing_else() {
        assert_eq!(time("90m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "1", "h", "-1h", "1.5h", "1w", "99999999999999999999s", "99999999999999999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(claim("a={\"b\":[1]}"), Ok(("a".to_owned(), serde_json::json!({"b": [1]}))));
        assert!(claim("a").is_err() && claim("a=b").unwrap_err().contains("quote"));
    }

    #[test]
    fn an_own_claim_replaces_what_the_flags_say() {
        let arguments = Arguments {
            secret_file: "s".into(),
            subject: "ada".to_owned(),
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            role: vec!["member".to_owned()],
            claim: vec![("exp".to_owned(), 7.into()), ("org_id".to_owned(), "quant".into())],
            expires: Duration::from_secs(60),
            key: None,
        };
        let claims = claims(&arguments, 100);
        assert_eq!((&claims["exp"], &claims["iat"]), (&Value::from(7), &Value::from(100)));
        assert_eq!(claims["roles"], serde_json::json!(["member"]));
        assert_eq!(claims["org_id"], "quant");
    }
}
