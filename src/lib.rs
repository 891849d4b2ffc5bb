//! Fanfare, a real-time event server. (The way an event goes stands here once all rooms do.)
pub mod auth;
pub mod bus;
pub mod config;
pub mod error;
pub mod event;
pub mod fanout;
pub mod graphql;
pub mod hub;
pub mod ingest;
pub mod log;
pub mod metrics;
pub mod platform;
pub mod protocol;
pub mod server;
