//! The publisher against the real server, as one binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test ends by a panic; what it did not expect is a failure"
)]

/// What is lost, what is refused, and what is said about it.
mod losses;
/// The server goes away and comes back: once and in order.
mod outages;
/// One request through two services.
mod requests;
/// Spans that become events.
mod spans;
/// The server, a way to it that can fail, and the waiting that the tests share.
mod support;

/// The service of the documentation is the one that is tested.
#[allow(dead_code, reason = "the test has a main function of its own")]
#[path = "../../examples/axum.rs"]
mod example;
