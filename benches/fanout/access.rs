//! Who is who on a server with authentication: its policy, and a token for each connection.
//!
//! Invariants: all tokens are of one role and one organization and each of its own subject, so that all who read have the same
//! grant and the same view; the policy limits them to their organization and masks a field, so both have something to do.
//! Not here: how a token is sent (`dialect`).

use crate::failure::Failure;
use fanfare::auth::{Claims, token::sign};
use serde_json::json;
use std::{fs, path::Path, sync::LazyLock};

/// The file that the server is told of.
pub(crate) const POLICY_FILE: &str = "policy.toml";

const SECRET_FILE: &str = "secret";
/// Known to everybody who reads this; the server listens on the loopback and lives for one row.
const SECRET: &str = "b7Tq2ZxN9mKe4VdR8sYw1HfLc6PjGu3A";
const POLICY: &str = r#"
[[keys]]
issuer = "https://login.bench"
audience = "fanfare"
algorithms = ["HS256"]
secret_file = "secret"
[claims]
variables = { org = "org_id" }
[roles.member]
read = [{ types = ["*"], organizationId = "{org}" }]
publish = [{ types = ["*"], organizationId = "{org}" }]
[[masks]]
types = ["*"]
path = "data.email"
action = "drop"
roles = ["member"]
"#;

/// Writes the policy and what belongs to it.
pub(crate) fn write(folder: &Path) -> Result<(), Failure> {
    fs::write(folder.join(SECRET_FILE), SECRET)
        .and_then(|()| fs::write(folder.join(POLICY_FILE), POLICY))
        .map_err(Failure::during("writing the policy"))
}

/// The token of whoever publishes.
pub(crate) fn publisher_token() -> &'static str {
    static TOKEN: LazyLock<String> = LazyLock::new(|| token("publisher"));
    &TOKEN
}

/// A token of this subject that is good for a day.
pub(crate) fn token(subject: &str) -> String {
    let now = chrono::Utc::now().timestamp();
    let claims: Claims = [
        ("iss", json!("https://login.bench")),
        ("aud", json!("fanfare")),
        ("sub", json!(subject)),
        ("iat", json!(now)),
        ("exp", json!(now + 86_400)),
        ("roles", json!(["member"])),
        ("org_id", json!("bench")),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    sign(SECRET, None, &claims).expect("the secret is long enough")
}
