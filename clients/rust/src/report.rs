//! What a publisher says about itself in the service's log: seldom, without payloads and without tokens.
//!
//! Invariants: it speaks from the sender's task only, never from where somebody publishes: a subscriber of `tracing` that
//! publishes would be entered again.

use crate::{
    error::Refusal,
    stats::{Lost, Stats},
};
use std::time::Duration;
use tokio::time::Instant;

/// Each kind of line comes this often at most.
const PAUSE: Duration = Duration::from_secs(10);

/// What was said when.
#[derive(Debug, Default)]
pub(crate) struct Report {
    told: Lost,
    losses_due: Option<Instant>,
    failures_due: Option<Instant>,
    is_failing: bool,
    last_refusal: Option<String>,
}

impl Report {
    /// When there is something to say about losses, if there is.
    pub(crate) fn due(&self, stats: &Stats) -> Option<Instant> {
        (stats.lost != self.told).then(|| self.losses_due.unwrap_or_else(Instant::now))
    }

    /// Says how many events were lost since the last time, if it is time.
    pub(crate) fn losses(&mut self, stats: &Stats) {
        if self.due(stats).is_some_and(|due| due <= Instant::now()) {
            self.losses_now(stats);
        }
    }

    /// The same at once, at the end.
    pub(crate) fn losses_now(&mut self, stats: &Stats) {
        let (lost, told) = (stats.lost, self.told);
        if lost == told {
            return;
        }
        let last_refusal = self.last_refusal.take().unwrap_or_default();
        tracing::warn!(
            queue_full = lost.queue_full - told.queue_full,
            expired = lost.expired - told.expired,
            refused = lost.refused - told.refused,
            closed = lost.closed - told.closed,
            queued = stats.queued,
            %last_refusal,
            "events were lost"
        );
        self.told = lost;
        self.losses_due = Some(Instant::now() + PAUSE);
    }

    /// Keeps for the next line why an event was refused: by code and rule, since what was given may be a secret.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        let Refusal { code, field, allowed, .. } = refusal;
        let field = field.as_deref().map(|field| format!(", {field}")).unwrap_or_default();
        let allowed = allowed.as_deref().map(|allowed| format!(": allowed is {allowed}")).unwrap_or_default();
        self.last_refusal = Some(format!("{code}{field}{allowed}"));
    }

    /// An attempt failed, and the events wait.
    pub(crate) fn failed(&mut self, reason: &str, stats: &Stats) {
        self.is_failing = true;
        if self.failures_due.is_none_or(|due| due <= Instant::now()) {
            tracing::warn!(reason, queued = stats.queued, "the event server does not take events; they wait");
            self.failures_due = Some(Instant::now() + PAUSE);
        }
    }

    /// The server answered.
    pub(crate) fn answered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("the event server takes events again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(refused: u64) -> Stats {
        Stats { lost: Lost { refused, ..Lost::default() }, ..Stats::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_at_once_and_then_once_in_a_while() {
        let mut report = Report::default();
        assert_eq!(report.due(&stats(0)), None);
        let started = Instant::now();
        assert_eq!(report.due(&stats(1)), Some(started));
        report.losses(&stats(1));
        assert_eq!(report.due(&stats(1)), None);
        assert_eq!(report.due(&stats(2)), Some(started + PAUSE));
        report.losses(&stats(2));
        assert_eq!(report.told.refused, 1);
        tokio::time::advance(PAUSE).await;
        report.losses(&stats(3));
        assert_eq!(report.told.refused, 3);
    }

    #[test]
    fn what_was_given_is_not_repeated() {
        let mut report = Report::default();
        let text = |text: &str| Some(text.to_owned());
        report.refused(&Refusal {
            code: "INVALID_EVENT".to_owned(),
            message: "subject: \"s3cr3t\" is not allowed".to_owned(),
            next: None,
            field: text("subject"),
            given: text("s3cr3t"),
            allowed: text("1 to 512 bytes"),
        });
        assert_eq!(report.last_refusal.as_deref(), Some("INVALID_EVENT, subject: allowed is 1 to 512 bytes"));
    }
}
