//! `fanfare token check`: what a server with these settings says to a credential, and what the credential says of itself.

use super::super::{
    Environment, Failure, client_runtime,
    settings::SettingArguments,
    terminal::{self, harmless},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use fanfare::{
    auth::{Authority, Credential, Principal},
    error::Refusal,
    metrics::Metrics,
};
use serde_json::{Map, Value};
use std::fmt::Write;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The token or API key; `-` reads it from stdin, where no list of processes shows it.
    credential: String,
    #[command(flatten)]
    settings: SettingArguments,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let loaded = arguments.settings.load(environment)?;
    let options = loaded.config.auth_options(Metrics::new()).read_only();
    if !options.is_configured() {
        return Err(Failure::usage(
            "these settings have no authentication: everybody is accepted; set policy, jwt_secret, jwks_url or jwks_file",
        ));
    }
    let credential = match arguments.credential.as_str() {
        "-" => read_stdin()?,
        given => given.to_owned(),
    };
    let checked = client_runtime()?.block_on(async {
        let authority = Authority::new(options).map_err(Failure::usage)?;
        Ok::<_, Failure>(authority.authenticate(Some(&credential)).await)
    })?;
    terminal::print(&contents(&credential))?;
    match checked {
        Ok(principal) => terminal::print(&accepted(&principal)),
        Err(refusal) => {
            terminal::print(&refused(&refusal))?;
            Err(Failure::Told)
        }
    }
}

fn read_stdin() -> Result<String, Failure> {
    use std::io::Read;
    let mut text = String::new();
    std::io::stdin().take(1 << 20).read_to_string(&mut text)?;
    Ok(text.trim_end().to_owned())
}

fn accepted(principal: &Principal) -> String {
    let proof = match principal.credential() {
        Credential::Token { key, .. } => format!("a token of key {key}"),
        Credential::ApiKey { id } => format!("API key {id}"),
        Credential::None | _ => "nothing".to_owned(),
    };
    let until = match principal.expires_at() {
        Some(time) => format!("until {}", time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        None => "without an end".to_owned(),
    };
    let mut out = format!("accepted: {} by {}, {until}\n", harmless(principal.subject()), harmless(&proof));
    let grant = principal.grant();
    let mut line = |text: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {}", harmless(text));
    };
    line(&format!("grant of {}", grant.origin()));
    grant.to_string().lines().for_each(&mut line);
    principal.view().masks().for_each(|mask| line(&format!("masked: {mask}")));
    out
}

fn refused(refusal: &Refusal) -> String {
    let mut out = format!("refused: {refusal}\n");
    for (name, value) in &refusal.details {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}: {value}");
    }
    out
}

/// What a token says of itself, whether it is true or not.
fn contents(credential: &str) -> String {
    let mut parts = credential.split('.');
    let mut object = || -> Option<Map<String, Value>> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()
    };
    let (Some(header), Some(claims)) = (object(), object()) else { return String::new() };
    let mut out = String::from("the token says, unchecked:\n");
    let header = ["alg", "kid", "typ"].map(|name| (name, header.get(name).cloned()));
    let claims =
        ["iss", "aud", "sub", "jti", "iat", "nbf", "exp"].map(|name| (name, claims.get(name).cloned()));
    for (name, value) in header.into_iter().chain(claims) {
        let Some(value) = value else { continue };
        let time = matches!(name, "iat" | "nbf" | "exp").then(|| value.as_i64()).flatten();
        let time = time.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
        let time = time.map(|time| format!(" ({})", time.to_rfc3339())).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}: {}{time}", harmless(&value.to_string()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    const SECRET: &str = "w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P";

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn check(credential: &str, variables: &[(&str, &str)]) -> Result<(), Failure> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        };
        let line = ["check", credential, "--set", "store=memory"];
        let environment = Environment { variable: &variable, names: Vec::new() };
        run(&Line::parse_from(line).arguments, &environment)
    }

    fn signed(claims: &Value) -> String {
        fanfare::auth::token::sign(SECRET, None, claims.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_right_token_ends_with_success_a_wrong_one_with_failure_and_no_authentication_is_a_usage_error() {
        let settings =
            [("FANFARE_JWT_SECRET", SECRET), ("FANFARE_JWT_ISSUER", "i"), ("FANFARE_JWT_AUDIENCE", "a")];
        let exp = chrono::Utc::now().timestamp() + 60;
        let right = signed(&json!({"iss": "i", "aud": "a", "sub": "ada", "exp": exp}));
        assert!(check(&right, &settings).is_ok());
        let wrong = signed(&json!({"iss": "i", "aud": "b", "sub": "ada", "exp": exp}));
        assert!(matches!(check(&wrong, &settings), Err(Failure::Told)));
        assert!(matches!(check(&right, &[]), Err(Failure::Usage(_))));
        assert!(matches!(check(&right, &settings[..2]), Err(Failure::Usage(_))));
    }

    #[test]
    fn what_a_token_says_is_shown_harmlessly_with_its_times_as_dates() {
        let token = signed(&json!({"iss": "i\u{202e}\u{1b}[2J", "exp": 1_800_000_000}));
        let shown = contents(&token);
        assert!(shown.contains("exp: 1800000000 (2027-01-15T08:00:00+00:00)"), "{shown}");
        assert!(!shown.contains(['\u{202e}', '\u{1b}']), "{shown}");
        assert_eq!(contents("ffk_ci_00"), "");
    }
}
