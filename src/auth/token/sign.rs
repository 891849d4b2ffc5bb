//! Makes tokens for development and tests. A login server makes the others.

use super::{Claims, strength};
use jsonwebtoken::{Algorithm, EncodingKey, Header};

/// A token with these claims, signed with a shared secret by HS256. The error is a sentence.
pub fn sign(secret: &str, key: Option<&str>, claims: &Claims) -> Result<String, String> {
    let algorithm = Algorithm::HS256;
    strength::secret(secret.as_bytes(), &[algorithm]).map_err(|rule| format!("the secret {rule}"))?;
    let header = Header { kid: key.map(ToOwned::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes()))
        .map_err(|_| "the token could not be signed".to_owned())
}
