//! A real server on a free port, and a raw WebSocket to speak to it.

mod server;
mod socket;

pub use server::{TestServer, post_json};
pub use socket::{Frame, Socket};

use std::time::Duration;

/// Nothing that a test waits for takes this long unless it never comes.
pub const DEADLINE: Duration = Duration::from_secs(20);
