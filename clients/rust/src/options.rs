//! The settings of a publisher, and their check.

use reqwest::{Url, header::HeaderValue};
use std::{error::Error, fmt, ops::RangeInclusive, time::Duration};

/// The server recognises a repeated event for 24 hours; a later attempt could log it again.
const RETRY_WINDOW_ALLOWED: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(23);
const REQUEST_TIMEOUT_ALLOWED: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const QUEUE_EVENTS_ALLOWED: RangeInclusive<usize> = 1..=10_000_000;
const QUEUE_BYTES_ALLOWED: RangeInclusive<usize> = 1_024..=usize::MAX;
/// The server takes 1,000 events in a request unless it is set up otherwise.
const BATCH_EVENTS_ALLOWED: RangeInclusive<usize> = 1..=1_000;
const BATCH_BYTES_ALLOWED: RangeInclusive<usize> = 1_024..=64 * 1024 * 1024;
const SOURCE_BYTES_MAX: usize = 512;

/// The settings of a [`Publisher`](crate::Publisher).
///
/// ```
/// use fanfare_client::Options;
/// use std::time::Duration;
///
/// let options = Options {
///     retry_window: Duration::from_secs(60),
///     ..Options::new("http://127.0.0.1:8080", "/shop/orders")
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The server's address, `http` or `https`; the events go to `/events` below it.
    pub url: String,
    /// The credential to show; none where the server asks for none.
    pub token: Option<Token>,
    /// Who publishes, a URI reference of 1 to 512 bytes. Ids of events are unique within it.
    pub source: String,
    /// Most events that wait or are on their way; one more is lost. Default 10,000.
    pub queue_events_max: usize,
    /// Most bytes of them, as JSON; an event beyond is lost. Default 16 MiB.
    pub queue_bytes_max: usize,
    /// Most events of one request, 1 to 1,000, and no more than the server's `batch_max`. Default 500.
    pub batch_events_max: usize,
    /// Bytes beyond which a request takes no further event; below the server's `request_bytes_max`. Default 512 KiB.
    pub batch_bytes_max: usize,
    /// So long after it was published an event is sent again when there was no answer; then it is lost. 1 second to 23
    /// hours, because the server recognises repeats for 24. Default 10 minutes.
    pub retry_window: Duration,
    /// Time that a request has for its answer, 100 ms to 5 minutes. Default 10 seconds.
    pub request_timeout: Duration,
}

impl Options {
    /// The defaults, for this server and this source.
    pub fn new(url: impl Into<String>, source: impl Into<String>) -> Self {
        Options {
            url: url.into(),
            token: None,
            source: source.into(),
            queue_events_max: 10_000,
            queue_bytes_max: 16 * 1024 * 1024,
            batch_events_max: 500,
            batch_bytes_max: 512 * 1024,
            retry_window: Duration::from_mins(10),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// Checks every setting and gives the address that events are sent to. Fails with the first that is wrong.
    pub(crate) fn check(&self) -> Result<Url, OptionsError> {
        let url = events_url(&self.url)?;
        if let Some(token) = &self.token {
            token.header()?;
        }
        let is_source =
            (1..=SOURCE_BYTES_MAX).contains(&self.source.len()) && !self.source.chars().any(char::is_control);
        if !is_source {
            let allowed = format!("1 to {SOURCE_BYTES_MAX} bytes without control characters");
            return Err(OptionsError::field("source", &self.source, allowed));
        }
        within("queue_events_max", self.queue_events_max, &QUEUE_EVENTS_ALLOWED)?;
        within("queue_bytes_max", self.queue_bytes_max, &QUEUE_BYTES_ALLOWED)?;
        within("batch_events_max", self.batch_events_max, &BATCH_EVENTS_ALLOWED)?;
        within("batch_bytes_max", self.batch_bytes_max, &BATCH_BYTES_ALLOWED)?;
        within("retry_window", self.retry_window, &RETRY_WINDOW_ALLOWED)?;
        within("request_timeout", self.request_timeout, &REQUEST_TIMEOUT_ALLOWED)?;
        Ok(url)
    }
}

/// A token or an API key. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// The value of the header `Authorization`. Fails for what no header can carry, without naming it.
    pub(crate) fn header(&self) -> Result<HeaderValue, OptionsError> {
        let text = self.0.trim();
        let is_word = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let header = is_word.then(|| HeaderValue::from_str(&format!("Bearer {text}")).ok()).flatten();
        let mut header = header.ok_or_else(|| {
            OptionsError::field("token", "(not shown)", "one word of visible ASCII, a token or an API key")
        })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl<T: Into<Box<str>>> From<T> for Token {
    fn from(text: T) -> Self {
        Token(text.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// Why there is no publisher.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A setting is not what it may be.
    #[error("{field}: {given:?} is not allowed; allowed is {allowed}")]
    Field {
        /// Which, as [`Options`] calls it.
        field: &'static str,
        /// What was given, cut to 64 characters; never a token.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// There is no tokio runtime for the sender to run on.
    #[error("there is no tokio runtime here; call Publisher::new on the one that the service runs on")]
    NoRuntime,
    /// The HTTP client cannot be set up, for instance because the system's certificates cannot be read.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] Box<dyn Error + Send + Sync>),
}

impl OptionsError {
    fn field(field: &'static str, given: &str, allowed: impl Into<String>) -> Self {
        let given = match given.char_indices().nth(64) {
            Some((end, _)) => format!("{}…", given.get(..end).unwrap_or_default()),
            None => given.to_owned(),
        };
        OptionsError::Field { field, given, allowed: allowed.into() }
    }
}

fn events_url(given: &str) -> Result<Url, OptionsError> {
    let refused = |shown: &str| {
        let allowed =
            "the address of a server, such as http://127.0.0.1:8080, without user, query and fragment";
        OptionsError::field("url", shown, allowed)
    };
    let url = Url::parse(given).map_err(|_| refused(given))?;
    if !url.username().is_empty() || url.password().is_some() {
        // What stands before the @ may be a secret.
        return Err(refused("(an address with a user name or a password)"));
    }
    let is_address =
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    let base = url.as_str().trim_end_matches('/');
    is_address.then(|| Url::parse(&format!("{base}/events")).ok()).flatten().ok_or_else(|| refused(given))
}

fn within<T: Copy + PartialOrd + fmt::Debug>(
    field: &'static str,
    given: T,
    allowed: &RangeInclusive<T>,
) -> Result<(), OptionsError> {
    match allowed.contains(&given) {
        true => Ok(()),
        false => {
            let allowed = format!("{:?} to {:?}", allowed.start(), allowed.end());
            Err(OptionsError::field(field, &format!("{given:?}"), allowed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Options)) -> (&'static str, String) {
        let mut options = Options::new("http://127.0.0.1:8080", "/shop");
        change(&mut options);
        let error = options.check().unwrap_err();
        let OptionsError::Field { field, given, allowed } = error else { panic!("{error}") };
        (field, format!("{given} {allowed}"))
    }

    #[test]
    fn each_setting_is_refused_by_its_name_with_what_is_allowed() {
        assert_eq!(
            refused(|options| options.queue_events_max = 0),
            ("queue_events_max", "0 1 to 10000000".into())
        );
        assert_eq!(refused(|options| options.queue_bytes_max = 1).0, "queue_bytes_max");
        assert_eq!(refused(|options| options.batch_events_max = 1_001).0, "batch_events_max");
        assert_eq!(refused(|options| options.batch_bytes_max = 0).0, "batch_bytes_max");
        let day = Duration::from_hours(24);
        assert_eq!(
            refused(|options| options.retry_window = day),
            ("retry_window", "86400s 1s to 82800s".into())
        );
        assert_eq!(refused(|options| options.request_timeout = Duration::ZERO).0, "request_timeout");
        assert_eq!(refused(|options| options.source = "x".repeat(513)).0, "source");
        assert_eq!(refused(|options| options.source = "a\nb".to_owned()).0, "source");
        for url in ["", "localhost:8080", "ftp://a", "http://a/?b=1", "http://a/#b", "http://"] {
            assert_eq!(refused(|options| options.url = url.to_owned()).0, "url", "{url}");
        }
    }

    #[test]
    fn a_path_of_the_address_is_kept_and_slashes_are_not_doubled() {
        let events = |url: &str| Options::new(url, "/shop").check().unwrap().to_string();
        assert_eq!(events("http://localhost/fanfare/"), "http://localhost/fanfare/events");
        assert_eq!(events("https://events.example.org"), "https://events.example.org/events");
    }

    #[test]
    fn no_secret_is_shown() {
        let (field, told) = refused(|options| options.token = Some("s3cr3t of words".into()));
        assert!(field == "token" && !told.contains("s3cr3t"), "{told}");
        let (field, told) = refused(|options| options.url = "http://me:s3cr3t@localhost".to_owned());
        assert!(field == "url" && !told.contains("s3cr3t"), "{told}");
        let options = Options { token: Some("s3cr3t".into()), ..Options::new("http://a", "/") };
        assert!(!format!("{options:?} {:?}", options.token.as_ref().unwrap().header()).contains("s3cr3t"));
    }
}
