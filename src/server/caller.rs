//! Who is at the other end of a connection, and until when: one for each WebSocket and each streaming response.
//!
//! Flow: a credential becomes a principal (`credential`); the connection adopts it, has it reviewed whenever a revocation or a
//! policy may have changed it, and ends when it expires.
//! Invariants: a connection keeps its subject; whoever adopts a principal has it reviewed in the same step, so that no change
//! falls between its authentication and the connection's own reviews.
//! Not here: what happens to subscriptions when the grant or the view is another (`socket`, `operations`).

use crate::{
    auth::{Authority, Credential, Principal, audit::Entry, limits::Seat},
    error::{Code, Refusal},
};
use chrono::Utc;
use std::time::Duration;
use tokio::time::Instant;

/// Who speaks on a connection; nobody at first.
#[derive(Debug, Default)]
pub(super) struct Caller {
    principal: Option<Principal>,
    /// When its credential ends.
    due: Option<Instant>,
    generation: u32,
    is_news: bool,
    /// Its share of the principal's connections, which it keeps to its end.
    seat: Option<Seat>,
}

/// What another principal means for the subscriptions of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: the grant and the view are the same.
    None,
    /// They are to be admitted anew.
    Readmit,
}

impl Caller {
    /// Nobody until it adopts a principal.
    pub(super) fn nobody() -> Self {
        Caller::default()
    }

    /// Takes the share of the principal's connections that its handshake was given.
    pub(super) fn sit(&mut self, seat: Option<Seat>) {
        self.seat = seat;
    }

    /// Who it is, once it is known.
    pub(super) fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// Rises with every other grant or view: what was begun under an older one is to be admitted anew.
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// When the credential ends.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The principal, if it is another one than the last time.
    pub(super) fn news(&mut self) -> Option<&Principal> {
        match std::mem::take(&mut self.is_news) {
            true => self.principal.as_ref(),
            false => None,
        }
    }

    /// Takes the principal of a credential: the first one, or that of a newer credential. Fails with `FORBIDDEN` for another
    /// subject, with `TOO_MANY` when the principal has its share of connections, and as [`Authority::review`] does.
    pub(super) fn adopt(&mut self, authority: &Authority, principal: &Principal) -> Result<Change, Refusal> {
        if let Some(own) = &self.principal
            && *own.credential() != Credential::None
            && own.subject() != principal.subject()
        {
            let message = "the credential is of another subject than the connection; connect anew for it";
            let refusal = Refusal::new(Code::Forbidden, message);
            principal.record(Entry::refused(&refusal));
            return Err(refusal);
        }
        let reviewed = authority.review(principal);
        let reviewed = reviewed.inspect_err(|refusal| principal.record(Entry::refused(refusal)))?;
        if self.seat.is_none() {
            self.seat = reviewed.take_seat()?;
        }
        let was_known = self.principal.as_ref().is_some_and(|own| own.subject() == reviewed.subject());
        reviewed.record(match was_known {
            true => Entry::token_refreshed(&reviewed),
            false => Entry::connect(&reviewed),
        });
        Ok(self.set(reviewed))
    }

    /// Asks whether the principal still is what it was. Fails as [`Authority::review`] does.
    pub(super) fn review(&mut self, authority: &Authority) -> Result<Change, Refusal> {
        match &self.principal {
            None => Ok(Change::None),
            Some(own) => authority.review(own).map(|principal| self.set(principal)),
        }
    }

    /// Why the connection ends, if its credential has ended. To be asked at times before [`Caller::due`] as well: it follows
    /// the clock of the day, which can be set.
    pub(super) fn expired(&mut self) -> Option<Refusal> {
        let end = self.principal.as_ref()?.expires_at()?;
        if Utc::now() >= end {
            return Some(Refusal::new(Code::Unauthenticated, "token expired"));
        }
        self.due = due(self.principal.as_ref());
        None
    }

    fn set(&mut self, principal: Principal) -> Change {
        let is_same = self
            .principal
            .as_ref()
            .is_some_and(|own| own.grant() == principal.grant() && own.view() == principal.view());
        self.due = due(Some(&principal));
        self.principal = Some(principal);
        self.is_news = true;
        if is_same {
            return Change::None;
        }
        self.generation = self.generation.wrapping_add(1);
        Change::Readmit
    }
}

fn due(principal: Option<&Principal>) -> Option<Instant> {
    let left = (principal?.expires_at()? - Utc::now()).to_std().unwrap_or(Duration::ZERO);
    // An end beyond the reach of the clock is none.
    Instant::now().checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Grant, View};
    use chrono::{DateTime, TimeDelta};

    fn principal(subject: &str, credential: Credential, expires_at: Option<DateTime<Utc>>) -> Principal {
        Principal::new(subject, credential, Grant::everything(), View::whole(), expires_at)
    }

    fn token() -> Credential {
        Credential::Token { id: None, key: "k".into() }
    }

    #[test]
    fn a_connection_keeps_its_subject_and_an_anonymous_one_may_sign_in() {
        let authority = Authority::open();
        let mut caller = Caller::nobody();
        assert_eq!(caller.adopt(&authority, &principal("", Credential::None, None)), Ok(Change::Readmit));
        assert_eq!(caller.adopt(&authority, &principal("ada", token(), None)), Ok(Change::None));
        let other = caller.adopt(&authority, &principal("bob", token(), None));
        assert_eq!(other.map_err(|refusal| refusal.code), Err(Code::Forbidden));
        assert_eq!(caller.principal().map(Principal::subject), Some("ada"));
    }

    #[test]
    fn an_end_is_never_missed_however_far_it_is() {
        let authority = Authority::open();
        for (end, is_over) in [
            (Some(Utc::now() - TimeDelta::seconds(1)), true),
            (Some(Utc::now() + TimeDelta::hours(1)), false),
            (Some(DateTime::<Utc>::MAX_UTC), false),
            (Some(DateTime::<Utc>::MIN_UTC), true),
            (None, false),
        ] {
            let mut caller = Caller::nobody();
            assert_eq!(caller.adopt(&authority, &principal("ada", token(), end)), Ok(Change::Readmit));
            assert_eq!(caller.expired().is_some(), is_over, "{end:?}");
            assert!(!is_over || caller.due().is_some_and(|due| due <= Instant::now()), "{end:?}");
        }
    }
}
