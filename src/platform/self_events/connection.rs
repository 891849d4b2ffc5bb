//! The life of a connection: `system.connection_established`, `system.connection_closed`, and `system.error` for one that could
//! not go on.

use super::{SelfEvents, transient};
use crate::{
    auth::Principal,
    event::{Draft, Family},
    platform::presence::ConnectionId,
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

/// A connection of somebody, a WebSocket or a stream.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// What others call it.
    pub id: ConnectionId,
    /// What it speaks.
    pub protocol: &'static str,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whose it is.
    pub principal: &'a Principal,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The close code of RFC 6455, section 7.4; `None` for what is no WebSocket.
    pub code: Option<u16>,
    /// In a word.
    pub reason: Reason,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Everything was said.
    Completed,
    /// The peer said goodbye.
    Left,
    /// The peer is gone without a word.
    Gone,
    /// The server stops.
    Draining,
    /// The peer is not welcome: its credential, or what it may do, has ended.
    Refused,
    /// The peer took nothing for too long.
    SlowConsumer,
    /// What the peer sent cannot be taken.
    ProtocolError,
    /// The server could not go on with it.
    Overload,
}

impl Reason {
    /// The word in the event.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Completed => "completed",
            Reason::Left => "left",
            Reason::Gone => "gone",
            Reason::Draining => "draining",
            Reason::Refused => "refused",
            Reason::SlowConsumer => "slow-consumer",
            Reason::ProtocolError => "protocol-error",
            Reason::Overload => "overload",
        }
    }

    /// Is it a fault of either side?
    const fn is_error(self) -> bool {
        match self {
            Reason::SlowConsumer | Reason::ProtocolError | Reason::Overload => true,
            Reason::Completed | Reason::Left | Reason::Gone | Reason::Draining | Reason::Refused => false,
        }
    }
}

impl End {
    /// What is no WebSocket ended.
    pub const fn of_stream(reason: Reason) -> Self {
        End { code: None, reason }
    }

    /// The peer closed the WebSocket with this code, if it gave one.
    pub fn by_peer(code: Option<u16>) -> Self {
        End { code: Some(code.unwrap_or(1005)), reason: Reason::Left }
    }

    /// The WebSocket broke off.
    pub const fn broken_off() -> Self {
        End { code: Some(1006), reason: Reason::Gone }
    }

    /// The server closed the WebSocket with this code.
    pub const fn by_server(code: u16) -> Self {
        let reason = match code {
            1000 | 1001 => Reason::Left,
            1012 => Reason::Draining,
            4403 => Reason::Refused,
            4008 => Reason::SlowConsumer,
            1013 => Reason::Overload,
            _ => Reason::ProtocolError,
        };
        End { code: Some(code), reason }
    }
}

impl SelfEvents {
    /// It is known whose a connection is.
    pub fn connection_established(&self, connection: &Connection<'_>) {
        self.tell(Family::System, || {
            connection.draft("system.connection_established", vec![("status", "established".into())])
        });
    }

    /// A connection is over.
    pub fn connection_closed(&self, connection: &Connection<'_>, end: End) {
        let (reason, code): (Value, _) = (end.reason.name().into(), Value::from(end.code));
        if end.reason.is_error() {
            let own = || vec![("error", reason.clone()), ("closeCode", code.clone())];
            self.tell(Family::System, || connection.draft("system.error", own()));
        }
        self.tell(Family::System, || {
            let own = vec![("status", "closed".into()), ("reason", reason), ("closeCode", code)];
            connection.draft("system.connection_closed", own)
        });
    }
}

impl Connection<'_> {
    fn draft(&self, event_type: &str, own: Vec<(&'static str, Value)>) -> Draft {
        let since = self.since.to_rfc3339_opts(SecondsFormat::Millis, true);
        let shared = [
            ("component", "connection".into()),
            ("connectionId", self.id.to_string().into()),
            ("protocol", self.protocol.into()),
            ("since", since.into()),
        ];
        let data: Value = shared.into_iter().chain(own).collect();
        transient(event_type, &self.principal.scope(), &data)
    }
}
