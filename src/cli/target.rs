//! The server that a client command speaks to: the URL of `--url` or `FANFARE_URL`, and what it is shown.

use super::{
    Environment, Failure,
    bearer::{Bearer, BearerArguments},
};
use clap::Args;
use reqwest::Url;

const URL_DEFAULT: &str = "http://127.0.0.1:8080";
const URL_RULE: &str = "the address of a server, such as http://127.0.0.1:8080";

#[derive(Debug, Args)]
pub(super) struct TargetArguments {
    /// The server; else FANFARE_URL, else http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    bearer: BearerArguments,
}

/// A checked base address, without a slash at its end, and the credential for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    base: String,
    bearer: Option<Bearer>,
}

impl TargetArguments {
    /// The server that the flag, the environment or the default names.
    pub(super) fn target(&self, environment: &Environment<'_>) -> Result<Target, Failure> {
        let variable = || (environment.variable)("FANFARE_URL").filter(|url| !url.is_empty());
        let (url, source) = match (&self.url, variable()) {
            (Some(url), _) => (url.clone(), "--url"),
            (None, Some(url)) => (url, "environment variable FANFARE_URL"),
            (None, None) => (URL_DEFAULT.to_owned(), "default"),
        };
        let target = Target::parse(&url);
        let target = target.map_err(|problem| Failure::usage(format!("url ({source}): {problem}")))?;
        Ok(Target { bearer: self.bearer.bearer(environment)?, ..target })
    }
}

impl Target {
    /// Checks an address. The error is a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("{:?} is not allowed; allowed is {URL_RULE}", fanfare::error::excerpt(text));
        let url = Url::parse(text).map_err(|_| refused())?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(
                    "https is not supported yet; use http, to a server or a TLS proxy on this machine"
                        .to_owned(),
                );
            }
            _ => return Err(refused()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password in the address is not supported".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused());
        }
        Ok(Target { base: url.as_str().trim_end_matches('/').to_owned(), bearer: None })
    }

    /// The credential to show.
    pub(super) fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_ref()
    }

    /// The address of a path that starts with a slash.
    pub(super) fn http(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The same for a WebSocket.
    pub(super) fn ws(&self, path: &str) -> String {
        format!("ws{}{path}", self.base.trim_start_matches("http"))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_base_is_kept_and_slashes_are_not_doubled() {
        let target = Target::parse("http://localhost:80/fanfare/").unwrap();
        assert_eq!(target.http("/events"), "http://localhost/fanfare/events");
        assert_eq!(target.ws("/graphql"), "ws://localhost/fanfare/graphql");
        assert_eq!(Target::parse(URL_DEFAULT).unwrap().to_string(), URL_DEFAULT);
    }

    #[test]
    fn what_cannot_be_reached_is_refused_with_a_reason() {
        assert!(Target::parse("https://example.org").unwrap_err().contains("not supported yet"));
        assert!(Target::parse("http://me:secret@localhost").unwrap_err().contains("not supported"));
        for bad in ["", "localhost:8080", "127.0.0.1", "ftp://a", "http://a/?b=1", "http://a/#b", "http://"] {
            assert!(Target::parse(bad).unwrap_err().contains("allowed is"), "{bad}");
        }
    }
}
