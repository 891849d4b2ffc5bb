//! The sections `[[keys]]` and `[[api_keys]]` of the policy file, and the same from settings: read, judged, and made into keys.
//!
//! Invariants: everything that is wrong is told at once, each with its field; a fault holds nothing of a secret.

use super::{
    key::{self, Key, KeyError, Terms},
    remote::RemoteOptions,
    set,
};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Looks up an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The most bytes of a key's file.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The most bytes of an issuer, an audience or an id.
const TEXT_BYTES_MAX: usize = 256;

/// Who may sign tokens, as it was written: one section `[[keys]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyDraft {
    /// The name that tokens give in `kid`; may be left out for one key. A JWK set brings its own names.
    pub id: Option<String>,
    /// What `iss` must be, exactly.
    pub issuer: Option<String>,
    /// What `aud` must be or contain, exactly.
    pub audience: Option<String>,
    /// The accepted algorithms; without them the usual one of the key's type.
    #[serde(default)]
    pub algorithms: Vec<String>,
    /// A file with a shared secret.
    pub secret_file: Option<PathBuf>,
    /// An environment variable with a shared secret.
    pub secret_env: Option<String>,
    /// A file with a public key in PEM.
    pub public_key_file: Option<PathBuf>,
    /// A file with a JWK set.
    pub jwks_file: Option<PathBuf>,
    /// Where a login server publishes its JWK set.
    pub jwks_url: Option<String>,
    /// The shared secret itself, from a setting.
    #[serde(skip)]
    pub secret: Option<SecretText>,
}

/// A secret that no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Box<str>);

impl From<&str> for SecretText {
    fn from(text: &str) -> Self {
        SecretText(text.into())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(not shown)")
    }
}

/// One thing that is wrong with a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What is wrong, and what to do: a sentence that goes on after the field.
    pub rule: String,
}

impl Fault {
    pub(super) fn new(field: &'static str, rule: impl fmt::Display) -> Self {
        Fault { field, rule: rule.to_string() }
    }
}

/// Where keys come from.
#[derive(Debug)]
pub(in crate::auth) enum Source {
    /// They are there.
    Fixed(Vec<Arc<Key>>),
    /// They are fetched.
    Remote(RemoteOptions),
}

impl KeyDraft {
    /// Reads and judges a section; `base` is the folder that its paths begin at. Fails with everything that is wrong.
    pub(in crate::auth) fn read(&self, base: &Path, environment: Lookup<'_>) -> Result<Source, Vec<Fault>> {
        let mut faults = Vec::new();
        let issuer = required("issuer", self.issuer.as_deref(), &mut faults);
        let audience = required("audience", self.audience.as_deref(), &mut faults);
        if let Some(id) = &self.id {
            required("id", Some(id), &mut faults);
        }
        let algorithms = self.algorithms(&mut faults);
        let terms = Terms { issuer: issuer.into(), audience: audience.into(), algorithms };
        let source = self.source(&terms, base, environment).map_err(|fault| faults.push(fault));
        match (source, faults.is_empty()) {
            (Ok(source), true) => Ok(source),
            (_, _) => Err(faults),
        }
    }

    fn algorithms(&self, faults: &mut Vec<Fault>) -> Vec<Algorithm> {
        let mut read = Vec::new();
        for name in &self.algorithms {
            match name.parse() {
                Ok(algorithm) => read.push(algorithm),
                Err(_) => faults.push(Fault::new(
                    "algorithms",
                    format!(
                        "{:?} is not allowed; allowed are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, \
                         ES256, ES384 and EdDSA",
                        crate::error::excerpt(name)
                    ),
                )),
            }
        }
        read
    }

    fn source(&self, terms: &Terms, base: &Path, environment: Lookup<'_>) -> Result<Source, Fault> {
        let id = self.id.as_deref();
        let fixed = |key| Ok(Source::Fixed(vec![Arc::new(key)]));
        match self.kind()? {
            Kind::Secret(secret) => fixed(shared(id, "secret", &secret.0, terms)?),
            Kind::SecretFile(path) => {
                let text = read_file("secret_file", &base.join(path))?;
                fixed(shared(id, "secret_file", text.trim_end_matches(['\n', '\r']), terms)?)
            }
            Kind::SecretEnv(name) => {
                let text = environment(name).filter(|text| !text.is_empty());
                let text = text.ok_or_else(|| {
                    Fault::new("secret_env", format!("the environment variable {name:?} is not set"))
                })?;
                fixed(shared(id, "secret_env", &text, terms)?)
            }
            Kind::PublicKeyFile(path) => {
                let text = read_file("public_key_file", &base.join(path))?;
                let key = Key::from_pem(id, &text, terms).and_then(|key| all_fit(key, terms));
                fixed(key.map_err(|error| at_key("public_key_file", &error))?)
            }
            Kind::JwksFile(path) => {
                let text = read_file("jwks_file", &base.join(path))?;
                let (keys, skipped) =
                    set::read(&text, terms).map_err(|error| Fault::new("jwks_file", error))?;
                // A file is the operator's own, so a weak key in it is an error and not another's business.
                match skipped
                    .into_iter()
                    .find(|one| matches!(one.why, KeyError::RsaBits(_) | KeyError::Private))
                {
                    Some(weak) => Err(Fault::new("jwks_file", format!("key {}: {}", weak.name, weak.why))),
                    None => Ok(Source::Fixed(keys)),
                }
            }
            Kind::JwksUrl(url) => RemoteOptions::new(url, terms.clone())
                .map(Source::Remote)
                .map_err(|rule| Fault::new("jwks_url", rule)),
        }
    }

    fn kind(&self) -> Result<Kind<'_>, Fault> {
        let kinds = [
            self.secret.as_ref().map(Kind::Secret),
            self.secret_file.as_deref().map(Kind::SecretFile),
            self.secret_env.as_deref().map(Kind::SecretEnv),
            self.public_key_file.as_deref().map(Kind::PublicKeyFile),
            self.jwks_file.as_deref().map(Kind::JwksFile),
            self.jwks_url.as_deref().map(Kind::JwksUrl),
        ];
        let mut given = kinds.into_iter().flatten();
        let is_set = self.jwks_file.is_some() || self.jwks_url.is_some();
        match (given.next(), given.next()) {
            (Some(_), None) if is_set && self.id.is_some() => {
                Err(Fault::new("id", "a JWK set names its keys itself; leave this out"))
            }
            (Some(kind), None) => Ok(kind),
            (_, _) => Err(Fault::new(
                "public_key_file",
                "give exactly one of secret_file, secret_env, public_key_file, jwks_file and jwks_url",
            )),
        }
    }
}

enum Kind<'a> {
    Secret(&'a SecretText),
    SecretFile(&'a Path),
    SecretEnv(&'a str),
    PublicKeyFile(&'a Path),
    JwksFile(&'a Path),
    JwksUrl(&'a str),
}

/// A text that must be there. What is missing is empty from here on; the fault keeps it from being used.
fn required<'a>(field: &'static str, text: Option<&'a str>, faults: &mut Vec<Fault>) -> &'a str {
    match text {
        Some(text) if (1..=TEXT_BYTES_MAX).contains(&text.len()) => return text,
        Some(_) => faults.push(Fault::new(field, format!("text of 1 to {TEXT_BYTES_MAX} bytes is allowed"))),
        None => faults.push(Fault::new(
            field,
            "is required: without it, tokens that the same signer made for other purposes would be accepted",
        )),
    }
    ""
}

fn shared(id: Option<&str>, field: &'static str, secret: &str, terms: &Terms) -> Result<Key, Fault> {
    let key = Key::from_secret(id, secret.as_bytes(), terms).and_then(|key| all_fit(key, terms));
    key.map_err(|error| at_key(field, &error))
}

fn all_fit(key: Key, terms: &Terms) -> Result<Key, KeyError> {
    key::fit_all(&key, &terms.algorithms).map(|()| key)
}

/// The field that a key's error is about.
fn at_key(field: &'static str, error: &KeyError) -> Fault {
    let is_about_algorithms = matches!(error, KeyError::Unfit(..) | KeyError::NoneFits(_));
    Fault::new(if is_about_algorithms { "algorithms" } else { field }, error)
}

/// Reads a text file of bounded size.
fn read_file(field: &'static str, path: &Path) -> Result<String, Fault> {
    use std::io::Read;
    let mut text = String::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(Fault::new(field, format!("{} cannot be read: {error}", path.display()))),
        Ok(bytes) if bytes as u64 > FILE_BYTES_MAX => {
            Err(Fault::new(field, format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display())))
        }
        Ok(_) => Ok(text),
    }
}
