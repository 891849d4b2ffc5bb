//! A real server on a free port, and a raw WebSocket and a raw event stream to speak to it.

mod access;
mod process;
mod reader;
mod server;
mod socket;
mod stream;
mod ways;

pub(crate) use access::{Access, May};
pub(crate) use process::Process;
pub(crate) use reader::{
    Given, PROTOCOLS, Publisher, Reader, SUBSCRIPTION, call, contiguous, ended, publish,
};
pub(crate) use server::{Served, TestServer, post_json};
pub(crate) use socket::{Frame, Socket};
pub(crate) use stream::{Block, Stream, ask, get, request, sent, sse};
pub(crate) use ways::{Line, Past, Root, Start, Wanted, Way, by_id, code_of, said_in};

use std::time::Duration;

/// Nothing that a test waits for takes this long unless it never comes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
