//! Fanfare, a real-time event server: producers publish typed events, and whoever may see them subscribes through GraphQL.
//!
//! # The way an event goes
//!
//! | stage | verb | where | from -> to |
//! |---|---|---|---|
//! | ingest | receive | [`server`], [`ingest`], [`graphql`] | bytes -> [`event::NewEvent`], checked |
//! | authorise | allow | [`hub`] asking [`auth`] | (`Principal`, `NewEvent`) -> go, or a [`error::Code`] |
//! | log | append | [`log`] | `NewEvent` -> [`event::Event`] with its offset, after the group commit |
//! | route | match | [`bus`] | `Event` -> the distinct filters that match |
//! | render | execute once | [`fanout`] with a form of [`graphql`] | `Event` x each distinct (form, view) -> [`fanout::Payload`] |
//! | fan out | deliver | [`fanout`] | `Payload` -> the mailboxes of the matching subscriptions |
//! | connection | write | [`server`] with a dialect of [`protocol`] | `Payload` -> frame, many frames a flush |
//!
//! The log is also the buffer of the slow and the absent: resume, replay and lag are one mechanism ([`hub::Tail`] and the
//! replays of [`fanout`]). The floors of the house, and what each room may import, stand in ARCHITECTURE.md and are checked by
//! `tests/it/house.rs`.

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
mod serve;
pub mod server;
mod threads;

pub use serve::{ServeError, Server, serve};
pub use threads::runtime_builder;
