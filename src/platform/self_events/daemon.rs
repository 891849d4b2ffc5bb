//! The server begins and ends: `system.daemon_started` and `system.daemon_stopping`, which are kept; and `system.error` when its log
//! takes no more events.

use super::{SelfEvents, transient};
use crate::event::{Draft, Family, Offset, Scope};
use serde_json::json;

const VERSION: &str = env!("CARGO_PKG_VERSION");

impl SelfEvents {
    /// The server takes connections.
    pub fn daemon_started(&self) {
        self.tell(Family::System, || daemon("daemon_started", "started"));
    }

    /// The server is about to end; gives the place of the event once it is in the log, as
    /// [`SelfEvents::tell`] would not.
    ///
    /// Cancel safety: the event may be published all the same.
    pub async fn daemon_stopping(&self) -> Option<Offset> {
        self.publish(Family::System, || daemon("daemon_stopping", "stopping")).await
    }

    /// The log takes no more events.
    pub(in crate::platform) fn log_stopped(&self) {
        self.tell(Family::System, || {
            let data = json!({ "component": "log", "error": "the log takes no events after an I/O error; reading goes on" });
            transient("system.error", &Scope::default(), &data)
        });
    }
}

fn daemon(action: &str, status: &str) -> Draft {
    let message = format!("fanfare {VERSION} is {}", if status == "started" { "ready" } else { "stopping" });
    let data = json!({ "component": "fanfare", "status": status, "message": message, "version": VERSION });
    Draft { persist: Some(true), ..transient(&format!("system.{action}"), &Scope::default(), &data) }
}
