//! The tests through a real listener and the public API, as one binary: linking once is faster than linking ten times.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends by a panic; what it did not expect is a failure"
)]

/// Who is let in: credentials at every way in, and what is refused.
mod access;
/// What administrators see and end.
mod administration;
/// The audit file, as `fanfare audit` reads it.
mod audit;
/// What a server records, and what it does not do unrecorded.
mod audited;
/// What pages in a browser may do.
mod browser;
/// Every type of event that the systems in the field name.
mod catalogue;
/// Chat: what is said in rooms, and who is typing.
mod chat;
/// The transcripts of `tests/conformance`, over a socket.
mod conformance;
/// The feed of whole events at `GET /events`.
mod feed;
/// Documents and JSON that want to do harm.
mod hostile;
/// Peers that want to do harm while others listen.
mod hostile_peers;
/// Floors, sizes, words and tables of the house.
mod house;
/// Queries, mutations and ways in over HTTP.
mod http;
/// Grants, filters and events at random: nothing is outside the grant, whichever way it comes.
mod isolation;
/// What one caller may use.
mod limited;
/// Masked fields: what readers see, and what nobody may see.
mod masking;
/// Several streaming responses on one connection.
mod multiplexed;
/// What is addressed to a user, over all of their devices.
mod notifications;
/// Who is there, in which rooms, and who sees whom.
mod presence;
/// State that announces itself: its pages, its errors, lists joined with their changes.
mod resources;
/// Start positions, restarts, other logs.
mod resume;
/// Retention as readers see it, and `fanfare log` on the directory it leaves.
mod retention;
/// JSON-RPC over POST and WebSocket.
mod rpc;
/// What a server says about itself.
mod self_events;
/// While connected: expiry, renewal, revocation, another policy.
mod sessions;
/// Connections: limits, slow readers, the end of the server.
mod sockets;
/// GraphQL in streaming responses: event streams and multipart.
mod streaming;
/// graphql-sse's single connection mode.
mod streaming_shared;
/// Subscriptions over WebSocket.
mod subscribe;
/// The server, the sockets and the waiting that the tests share.
mod support;
/// Events that are delivered and not kept.
mod transient;
/// Thousands of clients at random, each judged by what was acknowledged.
mod trials;
