//! The credential that a client command shows to its server: a token or an API key.
//!
//! Invariants: it is never printed, neither by `Debug` nor in an error.

use super::{Environment, Failure};
use clap::Args;
use reqwest::header::HeaderValue;
use std::{convert::Infallible, fmt, fs::File, io::Read, path::Path};

/// A token's file is a line; more is some other file.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const VARIABLE: &str = "FANFARE_TOKEN";

#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub(super) struct BearerArguments {
    /// Token or API key; better in a file or in FANFARE_TOKEN, since others see the command line.
    #[arg(long, value_name = "TOKEN", value_parser = given)]
    token: Option<Given>,
    /// File with the token or API key.
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

/// A credential, or why it is none: clap would print one that its parser refuses.
type Given = Result<Bearer, &'static str>;

fn given(text: &str) -> Result<Given, Infallible> {
    Ok(text.parse())
}

/// A token or API key that a header can carry.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bearer(Box<str>);

impl BearerArguments {
    /// What a flag or the environment gives; `None` when neither does.
    pub(super) fn bearer(&self, environment: &Environment<'_>) -> Result<Option<Bearer>, Failure> {
        let (bearer, source) = match (&self.token, &self.token_file) {
            (Some(given), _) => (given.clone(), "--token"),
            (None, Some(path)) => (read(Path::new(path))?.parse(), "--token-file"),
            (None, None) => match (environment.variable)(VARIABLE).filter(|text| !text.is_empty()) {
                Some(text) => (text.parse(), "environment variable FANFARE_TOKEN"),
                None => return Ok(None),
            },
        };
        bearer.map(Some).map_err(|problem| Failure::usage(format!("token ({source}): {problem}")))
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)).map_err(
        |error| Failure::usage(format!("--token-file: {} cannot be read: {error}", path.display())),
    )?;
    Ok(text)
}

impl Bearer {
    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        let mut value =
            HeaderValue::from_str(&self.authorization()).expect("visible ASCII was checked when it was read");
        value.set_sensitive(true);
        value
    }

    /// The same as text, for messages.
    pub(super) fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The credential itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Bearer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Bearer(text.into())),
            false => Err("it must be one word of visible ASCII, a token or an API key"),
        }
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(arguments: &BearerArguments, variable: &str) -> Result<Option<Bearer>, Failure> {
        let variable = |name: &str| (name == VARIABLE).then(|| variable.to_owned());
        arguments.bearer(&Environment { variable: &variable, names: Vec::new() })
    }

    #[test]
    fn a_flag_goes_before_the_environment_and_an_empty_variable_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "from.a.file\n").unwrap();
        let flag = BearerArguments { token: Some("from.a.flag".parse()), token_file: None };
        let file = BearerArguments { token: None, token_file: Some(path.display().to_string()) };
        let shown = |arguments| bearer(arguments, "from.the.environment").unwrap().unwrap().authorization();
        assert_eq!(shown(&flag), "Bearer from.a.flag");
        assert_eq!(shown(&file), "Bearer from.a.file");
        assert_eq!(shown(&BearerArguments::default()), "Bearer from.the.environment");
        assert!(bearer(&BearerArguments::default(), "").unwrap().is_none());
        let missing = BearerArguments { token: None, token_file: Some("/nowhere/token".to_owned()) };
        assert!(matches!(bearer(&missing, ""), Err(Failure::Usage(_))));
    }

    #[test]
    fn it_is_never_shown_and_what_no_header_carries_is_refused() {
        let secret: Bearer = "s3cr3t".parse().unwrap();
        assert!(!format!("{secret:?} {:?}", secret.header()).contains("s3cr3t"));
        for wrong in ["", " ", "two words", "line\nbreak", "ümlaut", "nul\0"] {
            let refused = wrong.parse::<Bearer>().unwrap_err();
            assert!(wrong.trim().is_empty() || !refused.contains(wrong), "{refused}");
        }
        let Err(Failure::Usage(told)) = bearer(&BearerArguments::default(), "s3cr3t of two words") else {
            panic!()
        };
        assert!(told.contains(VARIABLE) && !told.contains("s3cr3t"), "{told}");
    }
}
