//! One thing that happened, as the audit file tells it.
//!
//! Invariants: no token, no payload of an event; text that somebody else wrote is cut to 256 bytes here, before it is kept.
//! Not here: how it becomes a line (`line`).

use super::super::{Credential, Principal, Revocation};
use crate::error::Refusal;
use chrono::{DateTime, Utc};
use std::net::SocketAddr;

/// The most bytes of a text that somebody else wrote.
const TEXT_BYTES_MAX: usize = 256;
/// The most details of an entry.
const DETAILS_MAX: usize = 8;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Somebody came in.
    Connect,
    /// A credential, or the lack of one, was refused.
    Refused,
    /// A subscription began.
    Subscribe,
    /// A subscription was refused by the grant.
    SubscribeRefused,
    /// A publish was refused by the grant.
    PublishRefused,
    /// Another policy is in force.
    PolicyChanged,
    /// A subject, a token or a key is no longer accepted.
    Revoked,
    /// An admin looked at what belongs to others.
    AdminRead,
    /// An admin ended a connection.
    Disconnected,
    /// An admin ended a subscription.
    Unsubscribed,
    /// A connection brought a newer credential.
    TokenRefreshed,
    /// A limit was met.
    Limit,
    /// The file goes on where another one ended; written by the audit itself.
    Continued,
    /// The file was repaired when it was opened; written by the audit itself.
    Recovered,
    /// Entries before this one could not be written; written by the audit itself.
    Lost,
}

impl Kind {
    /// The name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Connect => "connect",
            Kind::Refused => "refused",
            Kind::Subscribe => "subscribe",
            Kind::SubscribeRefused => "subscribe_refused",
            Kind::PublishRefused => "publish_refused",
            Kind::PolicyChanged => "policy_changed",
            Kind::Revoked => "revoked",
            Kind::AdminRead => "admin_read",
            Kind::Disconnected => "disconnected",
            Kind::Unsubscribed => "unsubscribed",
            Kind::TokenRefreshed => "token_refreshed",
            Kind::Limit => "limit",
            Kind::Continued => "continued",
            Kind::Recovered => "recovered",
            Kind::Lost => "lost",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) time: DateTime<Utc>,
    pub(super) kind: Kind,
    /// `ok`, or the code of the refusal.
    pub(super) outcome: &'static str,
    pub(super) subject: Option<Box<str>>,
    /// What kind of credential, and its public id.
    pub(super) credential: Option<(&'static str, Box<str>)>,
    pub(super) key: Option<Box<str>>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) connection: Option<Box<str>>,
    pub(super) details: Vec<(&'static str, Box<str>)>,
    /// How many more of this kind, by the same caller, this line stands for.
    pub(super) more: u64,
}

impl Entry {
    pub(super) fn of(kind: Kind) -> Self {
        Entry {
            time: Utc::now(),
            kind,
            outcome: "ok",
            subject: None,
            credential: None,
            key: None,
            peer: None,
            connection: None,
            details: Vec::new(),
            more: 0,
        }
    }

    fn by(kind: Kind, principal: &Principal) -> Self {
        let mut entry = Entry::of(kind);
        entry.subject = Some(cut(principal.subject()));
        match principal.credential() {
            Credential::None => {}
            Credential::Token { id, key } => {
                entry.credential = Some(("token", cut(id.as_deref().unwrap_or_default())));
                entry.key = Some(cut(key));
            }
            Credential::ApiKey { id } => entry.credential = Some(("api_key", cut(id))),
        }
        entry
    }

    fn because(mut self, refusal: &Refusal) -> Self {
        self.outcome = refusal.code.name();
        self.detail("message", &refusal.message)
    }

    /// Somebody came in.
    pub fn connect(principal: &Principal) -> Self {
        Entry::by(Kind::Connect, principal)
    }

    /// A credential was refused: nobody knows who it was.
    pub fn refused(refusal: &Refusal) -> Self {
        Entry::of(Kind::Refused).because(refusal)
    }

    /// A subscription began with this effective filter, which is the one asked for within the grant.
    pub fn subscribe(principal: &Principal, effective_filter: &str) -> Self {
        Entry::by(Kind::Subscribe, principal).detail("filter", effective_filter)
    }

    /// A subscription was refused.
    pub fn subscribe_refused(principal: &Principal, refusal: &Refusal) -> Self {
        Entry::by(Kind::SubscribeRefused, principal).because(refusal)
    }

    /// A publish was refused.
    pub fn publish_refused(principal: &Principal, refusal: &Refusal) -> Self {
        Entry::by(Kind::PublishRefused, principal).because(refusal)
    }

    /// Another policy is in force; `None` when a signal and not an admin brought it.
    pub fn policy_changed(principal: Option<&Principal>, policy_hash: &str, masks_changed: bool) -> Self {
        let entry = match principal {
            Some(principal) => Entry::by(Kind::PolicyChanged, principal),
            None => Entry::of(Kind::PolicyChanged),
        };
        entry
            .detail("policy", policy_hash)
            .detail("masks", if masks_changed { "changed" } else { "unchanged" })
    }

    /// Something is no longer accepted.
    pub fn revoked(principal: &Principal, what: &Revocation) -> Self {
        let (name, id) = match what {
            Revocation::Subject(id) => ("revoked_subject", id),
            Revocation::Token(id) => ("revoked_token", id),
            Revocation::Key(id) => ("revoked_key", id),
        };
        Entry::by(Kind::Revoked, principal).detail(name, id)
    }

    /// An admin looked at what belongs to others, such as `connections`.
    pub fn admin_read(principal: &Principal, what: &str) -> Self {
        Entry::by(Kind::AdminRead, principal).detail("read", what)
    }

    /// An admin ended a connection, whose id and subject these are.
    pub fn disconnected(principal: &Principal, connection: &str, subject: &str) -> Self {
        Entry::by(Kind::Disconnected, principal)
            .detail("target_connection", connection)
            .detail("target_subject", subject)
    }

    /// An admin ended a subscription of a connection.
    pub fn unsubscribed(principal: &Principal, connection: &str, subscription: &str) -> Self {
        Entry::by(Kind::Unsubscribed, principal)
            .detail("target_connection", connection)
            .detail("target_subscription", subscription)
    }

    /// A connection brought a newer credential.
    pub fn token_refreshed(principal: &Principal) -> Self {
        Entry::by(Kind::TokenRefreshed, principal)
    }

    /// A limit was met; `None` for somebody who had not said who it is.
    pub fn limit(principal: Option<&Principal>, limit: &str, refusal: &Refusal) -> Self {
        let entry = match principal {
            Some(principal) => Entry::by(Kind::Limit, principal),
            None => Entry::of(Kind::Limit),
        };
        entry.because(refusal).detail("limit", limit)
    }

    /// The same with where the caller's packets come from.
    #[must_use]
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The same with the id of the connection.
    #[must_use]
    pub fn connection(mut self, id: &str) -> Self {
        self.connection = Some(cut(id));
        self
    }

    /// The same with one more fact, cut to 256 bytes; beyond eight of them no more are kept.
    #[must_use]
    pub fn detail(mut self, name: &'static str, text: &str) -> Self {
        if self.details.len() < DETAILS_MAX {
            self.details.push((name, cut(text)));
        }
        self
    }

    /// Whom its rate is counted for: the subject, or the address of somebody unknown.
    pub(super) fn caller(&self) -> Box<str> {
        match (&self.subject, self.peer) {
            (Some(subject), _) => subject.clone(),
            (None, Some(peer)) => peer.ip().to_string().into(),
            (None, None) => Box::default(),
        }
    }
}

/// The text, cut at a character's end when it is too long, and then with an ellipsis.
fn cut(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX - '…'.len_utf8());
    [text.get(..end).unwrap_or_default(), "…"].concat().into()
}
