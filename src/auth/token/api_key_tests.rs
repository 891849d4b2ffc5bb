//! API keys: made, read, found, refused.

use super::*;

const NOON: &str = "2026-06-01T12:00:00Z";

fn moment_of(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn keys(section: &str) -> Result<ApiKeys, Vec<Fault>> {
    let mut keys = ApiKeys::default();
    keys.add(toml::from_str(section).unwrap()).map(|()| keys)
}

fn section(hash: &str, more: &str) -> String {
    format!("id = \"ci_build\"\nsubject = \"ci\"\nhash = \"{hash}\"\nroles = [\"publisher\"]\n{more}")
}

#[test]
fn a_made_key_is_found_and_any_other_text_is_not() {
    let made = NewApiKey::make("ci_build").unwrap();
    let keys = keys(&section(&made.hash, "variables = { org = [\"quant\"], user = \"ada\" }")).unwrap();
    let now = moment_of(NOON);
    let found = keys.find(&made.key, now).unwrap();
    assert_eq!(
        (found.id(), found.subject(), found.roles()),
        ("ci_build", "ci", &["publisher".to_owned()][..])
    );
    assert_eq!(
        (&found.variables()["org"], &found.variables()["user"]),
        (&vec!["quant".to_owned()], &vec!["ada".to_owned()])
    );

    let other = NewApiKey::make("ci_build").unwrap();
    assert_ne!(made.key, other.key, "every key is its own");
    let (start, secret) = made.key.rsplit_once('_').unwrap();
    let wrong = [
        other.key,
        made.key.replace("ci_build", "ci"),
        made.key.to_uppercase(),
        format!("{start}_{}", secret.to_uppercase()),
        format!("{}0", made.key),
        format!(" {}", made.key),
        made.key.replace("ffk_", "ffk__"),
        start.to_owned(),
        "ffk_".to_owned(),
        "ffk_ci_build_".to_owned(),
        made.hash.clone(),
    ];
    for wrong in wrong {
        assert_eq!(keys.find(&wrong, now).unwrap_err(), Denial::ApiKey, "{wrong}");
    }
}

#[test]
fn a_key_ends_at_its_time() {
    let made = NewApiKey::make("ci_build").unwrap();
    let keys = keys(&section(&made.hash, "expires = 2026-06-01T14:00:00+02:00")).unwrap();
    assert!(keys.find(&made.key, moment_of("2026-06-01T11:59:59Z")).is_ok());
    assert_eq!(keys.find(&made.key, moment_of(NOON)).unwrap_err(), Denial::Expired);
}

#[test]
fn everything_wrong_with_a_section_is_told_at_once() {
    let wrong =
        "id = \"a b\"\nsubject = \"\"\nhash = \"sha256:xyz\"\nexpires = 2026-06-01\nissued = 12:00:00";
    let faults = keys(wrong).unwrap_err();
    let fields: Vec<_> = faults.iter().map(|fault| fault.field).collect();
    assert_eq!(fields, ["id", "subject", "hash", "issued", "expires"]);
    let made = NewApiKey::make("ci_build").unwrap();
    let mut twice = keys(&section(&made.hash, "")).unwrap();
    let again = twice.add(toml::from_str(&section(&made.hash, "")).unwrap()).unwrap_err();
    assert!(again[0].rule.contains("another API key"));
    assert!(
        toml::from_str::<ApiKeyDraft>(&section(&made.hash, "secret = \"x\"")).is_err(),
        "unknown fields are refused"
    );
}

#[test]
fn no_debug_shows_a_secret() {
    let made = NewApiKey::make("ci_build").unwrap();
    let (_, secret) = made.key.rsplit_once('_').unwrap();
    assert!(!format!("{made:?}").contains(secret));
    assert_eq!(secret.len(), 64);
    for wrong in ["", "a b", "ä", &"x".repeat(65)] {
        assert!(NewApiKey::make(wrong).is_err(), "{wrong:?}");
    }
}
