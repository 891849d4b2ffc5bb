//! The secret of a data directory: 32 random bytes from which keys are derived that should outlive the process.
//!
//! Invariants: the file is its owner's alone, and it is whole or not there; each purpose has a key of its own, which says
//! nothing about the others.
//! Not here: what the keys are for (`auth`).

use super::directory::{Directory, OpenError, private_file};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

const SECRET_BYTES: usize = 32;

/// A secret from which keys are derived.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

impl Secret {
    /// A new one, for a process whose store forgets everything as well. Fails when the system gives no random bytes.
    pub fn random() -> Result<Self, OpenError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(OpenError::NoRandomBytes)?;
        Ok(Secret(bytes))
    }

    /// The key for a purpose (HMAC-SHA-256 of its name); every purpose has a name of its own.
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.chain_update(purpose).finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The secret of a data directory, made where it is missing.
pub(super) fn open(directory: &Directory) -> Result<Secret, OpenError> {
    match read(&directory.secret())? {
        Some(secret) => Ok(secret),
        None => make(directory),
    }
}

/// The secret in a data directory, if a server has run there. Changes nothing.
pub fn secret_of(dir: &Path) -> Result<Option<Secret>, OpenError> {
    read(&dir.join("secret"))
}

fn read(path: &Path) -> Result<Option<Secret>, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mode = mode(&file).map_err(failed)?;
    if mode & 0o077 != 0 {
        return Err(OpenError::SecretExposed { file: path.to_owned(), mode: mode & 0o777 });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let bytes = bytes.try_into().map_err(|_| OpenError::SecretDamaged { file: path.to_owned() })?;
    Ok(Some(Secret(bytes)))
}

fn make(directory: &Directory) -> Result<Secret, OpenError> {
    let (secret, path) = (Secret::random()?, directory.secret());
    // Written beside and renamed, so that after a power cut it is whole or not there.
    let new = path.with_extension("new");
    let written = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut file = private_file(&new)?;
        file.write_all(&secret.0)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        directory.keep_names()
    };
    written().map_err(|source| OpenError::Io { path: path.clone(), source })?;
    Ok(secret)
}

#[cfg(unix)]
fn mode(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode())
}

/// Other systems tell who may read a file in other ways.
#[cfg(not(unix))]
fn mode(_file: &File) -> io::Result<u32> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> (tempfile::TempDir, Directory) {
        let dir = tempfile::tempdir().unwrap();
        let (directory, _) = Directory::open(dir.path()).unwrap();
        (dir, directory)
    }

    #[test]
    fn a_secret_is_made_once_and_stays_and_every_purpose_has_its_own_key() {
        let (dir, directory) = directory();
        assert!(secret_of(dir.path()).unwrap().is_none());
        let secret = open(&directory).unwrap();
        assert_eq!(open(&directory).unwrap().key("a"), secret.key("a"));
        assert_eq!(secret_of(dir.path()).unwrap().unwrap().key("a"), secret.key("a"));
        assert_ne!(secret.key("a"), secret.key("b"));
        assert_ne!(Secret::random().unwrap().key("a"), secret.key("a"));
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(!dir.path().join("secret.new").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_that_others_may_read_or_that_is_not_whole_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, directory) = directory();
        open(&directory).unwrap();
        let path = directory.secret();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o660] {
            set(mode);
            let error = open(&directory).unwrap_err();
            assert!(
                matches!(error, OpenError::SecretExposed { mode: found, .. } if found == mode),
                "{error}"
            );
            assert!(error.to_string().contains("chmod 600"));
        }
        set(0o600);
        for bytes in [31, 33, 0] {
            fs::write(&path, vec![1; bytes]).unwrap();
            assert!(matches!(open(&directory).unwrap_err(), OpenError::SecretDamaged { .. }));
        }
    }

    #[test]
    fn what_a_crash_left_of_a_new_secret_is_no_secret() {
        let (_dir, directory) = directory();
        fs::write(directory.secret().with_extension("new"), "half").unwrap();
        assert_eq!(open(&directory).unwrap().0.len(), SECRET_BYTES);
        assert!(secret_of(directory.secret().parent().unwrap()).unwrap().is_some());
    }
}
