//! A real server on a free port, and a raw WebSocket to speak to it.

mod server;
mod socket;

pub(crate) use server::{TestServer, post_json};
pub(crate) use socket::{Frame, Socket};

use std::time::Duration;

/// Nothing that a test waits for takes this long unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
