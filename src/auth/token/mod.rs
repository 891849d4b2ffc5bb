//! Tokens and keys: from the text of a credential to something that can be believed.
//!
//! Flow: `compact` takes a token apart, `ring` finds its key, `claims` judges it, `key` checks the signature; `api_key` is for
//! programs without a login server; `draft` reads keys from the policy, `remote` fetches them.
//! Invariants: what is refused is refused as cheaply as possible; the checks are our own and strict, and the library does the
//! cryptography only, since its defaults pass over claims that are missing or of a wrong type; no text of a token, no secret and
//! no claim is in a `Debug`, a log line or an error.
//! Not here: what a verified credential may do (`policy`), what is revoked (`revocations`).

mod api_key;
mod claims;
mod compact;
mod denial;
mod draft;
mod key;
mod remote;
mod ring;
mod set;
mod sign;
mod strength;
mod verify;

pub use api_key::{ApiKey, ApiKeyDraft, NewApiKey, OneOrMany};
pub(super) use api_key::{ApiKeys, is_api_key};
pub use claims::TimeRules;
pub(super) use compact::Compact;
pub use compact::TOKEN_BYTES_MAX;
pub use denial::Denial;
pub(super) use draft::Source;
pub use draft::{Fault, KeyDraft, Lookup, SecretText};
pub use remote::FetchTimes;
pub(super) use remote::Remote;
pub(super) use ring::KeyRing;
pub use sign::sign;
pub(super) use verify::{Verified, verify};

/// The claims of a token, as they are in it.
pub type Claims = serde_json::Map<String, serde_json::Value>;

#[cfg(test)]
#[path = "families_tests.rs"]
mod families;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
#[path = "vectors_tests.rs"]
mod vectors;
