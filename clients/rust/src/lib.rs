//! The Rust client of Fanfare: publishes the events of a service.
//!
#![doc = include_str!("../README.md")]
//!
//! # Where is what
//!
//! | what | where |
//! |---|---|
//! | the publisher, its settings and its counts | [`Publisher`], [`Options`], [`Stats`] |
//! | an event | [`Event`] |
//! | a request and its publisher | [`RequestContext`], [`RequestPublisher`] |
//! | spans as events | [`SpanEvents`] |

mod answer;
mod backoff;
mod context;
mod error;
mod event;
mod exchange;
mod options;
mod pending;
mod publisher;
mod queue;
mod report;
mod request;
mod sender;
mod spans;
mod stats;
#[cfg(feature = "tower")]
mod tower;
mod trace;

pub use context::{CORRELATION_ID, RequestContext, TRACEPARENT, TRACESTATE};
pub use error::{DeadlineError, PublishError, Published, Refusal};
pub use event::{Event, Priority};
pub use options::{Options, OptionsError, Token};
pub use publisher::Publisher;
pub use request::RequestPublisher;
pub use spans::SpanEvents;
pub use stats::{Lost, Stats};
#[cfg(feature = "tower")]
pub use tower::{ContextFuture, RequestContextLayer, RequestContextService};
