//! Resources in GraphQL: an object, a page and a change for each kind, and the fields that look at them and change them.
//!
//! Invariants: everything is asked of [`Resources`], as whoever asks.
//! Not here: what the kinds are and how they change (`platform`), the events of changes (`event`).

mod inputs;
mod mutation;
mod objects;
mod query;

pub(super) use mutation::ResourceMutation;
pub(super) use objects::{Agent, Deployment, Domain, Instance, Organization, Task, User};
pub(super) use query::ResourceQuery;

use super::hub;
use crate::platform::resources::Resources;
use async_graphql::Context;

fn resources(ctx: &Context<'_>) -> Resources {
    Resources::new(hub(ctx).clone())
}
