//! Keys that a login server publishes at an address: fetched at the start, again every ten minutes, and when a token names a
//! key that is not known.
//!
//! Flow: one task per address fetches; whoever checks a token reads what was fetched last.
//! Invariants: a fetch is bounded in bytes and time and never leaves its host; however many tokens name unknown keys, there is
//! one fetch a minute; keys that were had stay while the server cannot be reached.

use super::{
    key::{Key, Terms},
    set,
};
use crate::metrics::Metrics;
use reqwest::{Client, StatusCode, Url, redirect};
use std::{
    error::Error,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

/// The most bytes of an answer.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// The most hops of a redirect.
const REDIRECTS_MAX: usize = 3;

/// When keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchTimes {
    /// The longest wait for one answer.
    pub timeout: Duration,
    /// The age at which keys are fetched again.
    pub refresh: Duration,
    /// The shortest time between two fetches that tokens with unknown keys cause, and between two tries after a failure.
    pub pause: Duration,
    /// The first pause while there are no keys yet; it doubles up to `pause`.
    pub first_pause: Duration,
}

impl Default for FetchTimes {
    fn default() -> Self {
        FetchTimes {
            timeout: Duration::from_secs(5),
            refresh: Duration::from_secs(600),
            pause: Duration::from_secs(60),
            first_pause: Duration::from_secs(1),
        }
    }
}

/// An address that may be fetched from, with what goes with its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::auth) struct RemoteOptions {
    url: Url,
    terms: Terms,
}

impl RemoteOptions {
    /// Checks the address: TLS, or loopback. The error is a sentence.
    pub(super) fn new(url: &str, terms: Terms) -> Result<Self, String> {
        let shown = crate::error::excerpt(url);
        let refused = || {
            format!(
                "{shown:?} is not allowed; allowed is an https address such as https://login.example.org/jwks.json (http on \
                 loopback only), without a user name, a password or a fragment"
            )
        };
        let url = Url::parse(url).map_err(|_| refused())?;
        let is_secure = match url.scheme() {
            "https" => true,
            "http" => is_loopback(&url),
            _ => false,
        };
        let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if is_secure && is_plain && url.has_host() {
            Ok(RemoteOptions { url, terms })
        } else {
            Err(refused())
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The keys of one address. The fetching ends when the last owner drops it.
#[derive(Debug)]
pub(in crate::auth) struct Remote {
    options: RemoteOptions,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    times: FetchTimes,
    state: Mutex<State>,
    /// Somebody has asked for a fetch.
    asked: Notify,
    /// Rises after each fetch, whatever its end.
    fetched: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    keys: Arc<[Arc<Key>]>,
    has_keys: bool,
    is_fetching: bool,
    last: Option<Instant>,
}

impl Remote {
    /// Begins to fetch. `on_change` is told when the keys are others than before. Must be called on a tokio runtime. The error
    /// is a sentence.
    pub(in crate::auth) fn start(
        options: RemoteOptions,
        times: FetchTimes,
        metrics: Metrics,
        on_change: impl Fn() + Send + 'static,
    ) -> Result<Self, String> {
        let client = client(&options.url, times.timeout)?;
        let state = State { keys: Arc::new([]), has_keys: false, is_fetching: true, last: None };
        let shared = Arc::new(Shared {
            times,
            state: Mutex::new(state),
            asked: Notify::new(),
            fetched: watch::Sender::new(0),
        });
        let task = tokio::spawn(run(client, options.clone(), Arc::clone(&shared), metrics, on_change));
        Ok(Remote { options, shared, task })
    }

    /// Does it fetch what these options say?
    pub(in crate::auth) fn is(&self, options: &RemoteOptions) -> bool {
        self.options == *options
    }

    /// What was fetched last.
    pub(super) fn keys(&self) -> Arc<[Arc<Key>]> {
        Arc::clone(&self.shared.lock().keys)
    }

    /// Were there ever keys?
    pub(super) fn has_keys(&self) -> bool {
        self.shared.lock().has_keys
    }

    /// Fetches again unless that was done less than a pause ago, and waits for the end. Tells whether there was a fetch.
    ///
    /// Cancel safety: yes; the fetch goes on.
    pub(super) async fn refresh(&self) -> bool {
        let mut fetched = self.shared.fetched.subscribe();
        fetched.mark_unchanged();
        {
            let mut state = self.shared.lock();
            let is_recent = state.last.is_some_and(|last| last.elapsed() < self.shared.times.pause);
            if !state.is_fetching {
                if is_recent {
                    return false;
                }
                state.is_fetching = true;
                self.shared.asked.notify_one();
            }
        }
        fetched.changed().await.is_ok()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what was fetched; the pause until the next fetch, and whether the keys are others.
    fn finish(&self, keys: Option<Vec<Arc<Key>>>, failures: u32) -> (Duration, bool) {
        let mut state = self.lock();
        state.is_fetching = false;
        state.last = Some(Instant::now());
        let has_failed = keys.is_none();
        let mut is_changed = false;
        if let Some(keys) = keys {
            let prints = |keys: &[Arc<Key>]| keys.iter().map(|key| key.print()).collect::<Vec<_>>();
            is_changed = prints(&state.keys) != prints(&keys);
            state.keys = keys.into();
            state.has_keys = true;
        }
        let FetchTimes { refresh, pause, first_pause, .. } = self.times;
        let next = match (has_failed, state.has_keys) {
            (false, _) => refresh,
            (true, true) => pause,
            (true, false) => first_pause.saturating_mul(1 << failures.min(16)).min(pause),
        };
        (next, is_changed)
    }
}

async fn run(
    client: Client,
    options: RemoteOptions,
    shared: Arc<Shared>,
    metrics: Metrics,
    on_change: impl Fn() + Send + 'static,
) {
    let mut failures = 0;
    loop {
        let keys = match fetch(&client, &options).await {
            Ok(keys) => Some(keys),
            Err(error) => {
                metrics.key_fetches_failed.inc();
                tracing::warn!(url = %options.url, %error, "keys could not be fetched; those that were had stay in use");
                None
            }
        };
        let has_failed = keys.is_none();
        let (next, is_changed) = shared.finish(keys, failures);
        failures = if has_failed { failures + 1 } else { 0 };
        if is_changed {
            tracing::info!(url = %options.url, "other keys were fetched");
            on_change();
        }
        shared.fetched.send_modify(|count| *count += 1);
        let again = tokio::time::timeout(next, shared.asked.notified());
        if again.await.is_err() {
            shared.lock().is_fetching = true;
        }
    }
}

fn client(url: &Url, timeout: Duration) -> Result<Client, String> {
    let origin = url.origin();
    let within_host = redirect::Policy::custom(move |attempt| {
        let is_same = attempt.url().origin() == origin && attempt.previous().len() <= REDIRECTS_MAX;
        if is_same { attempt.follow() } else { attempt.stop() }
    });
    let mut builder = Client::builder().timeout(timeout).redirect(within_host).no_proxy();
    if url.scheme() == "http" {
        // No TLS is spoken, so the system's roots are not needed, and need not be there.
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| format!("TLS cannot be set up: {}", cause(&error)))
}

async fn fetch(client: &Client, options: &RemoteOptions) -> Result<Vec<Arc<Key>>, String> {
    let request = client.get(options.url.clone()).header("accept", "application/json");
    let mut answer = request.send().await.map_err(|error| cause(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the server answered {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!("the answer is larger than {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let text = std::str::from_utf8(&body).map_err(|_| "the answer is not UTF-8 text".to_owned())?;
    let (keys, skipped) = set::read(text, &options.terms).map_err(|error| error.to_string())?;
    for one in skipped {
        tracing::debug!(url = %options.url, key = one.name, why = %one.why, "a published key is not used");
    }
    Ok(keys)
}

/// The innermost reason; the outer ones only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
