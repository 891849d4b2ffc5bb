//! The schema: what clients can ask, publish and follow, and how an event looks in GraphQL.
//!
//! Flow: queries and mutations are executed on the [`Schema`] and ask the `hub`, or the resources of `platform`. A subscription goes through [`prepare`], which
//! gives what it asks for, and becomes a member of the group of its [`SelectionForm`], which renders events for all members.
//! Run alone, by [`Schema::execute_stream`](async_graphql::Schema::execute_stream), every subscription works without a server.
//! Invariants: resolvers see what is in the request's data: a `Principal` (without one, nobody in particular) or, in a group,
//! nobody: its events are as the group's view shows them. Every error carries a code.
//! Not here: HTTP and WebSocket (`server`), who receives what (`fanout`).

pub mod error;
pub mod guard;
pub mod selection;

mod administer;
mod administration;
mod chat;
mod documents;
mod draft;
mod event;
mod filter;
mod members;
mod mutation;
mod notifications;
mod operation;
mod presence;
mod query;
mod render;
mod resource;
mod scalars;
mod source;
mod subscription;

pub use administration::{Administration, Connected, Connections, Following};
pub use documents::Documents;
pub use guard::GuardOptions;
pub use mutation::Mutation;
pub use operation::prepare;
pub use presence::Speaking;
pub use query::Query;
pub use render::SelectionForm;
pub use subscription::Subscription;

use crate::{auth::Principal, hub::Hub, platform::presence::Presence};
use async_graphql::{Context, SDLExportOptions, SchemaBuilder, ValidationMode};

/// The schema over a hub. Cloning shares it.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// Arguments of subscription fields that cannot be left out: the canonical text of a selection keeps them, empty.
pub const REQUIRED_ARGUMENTS: &[&str] = &["correlationId", "roomId"];

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The limits of the engine. The document guard stands before it and is stricter; these hold where a document comes another way.
#[derive(Clone, Copy, Debug)]
pub struct GraphqlOptions {
    /// May clients read the schema?
    pub introspection: bool,
    /// The deepest nesting of fields.
    pub depth_max: usize,
    /// The most fields; those inside a page of history count ten times.
    pub complexity_max: usize,
    /// The most aliases.
    pub aliases_max: usize,
    /// The most directives on one field.
    pub directives_max: usize,
}

impl Default for GraphqlOptions {
    fn default() -> Self {
        GraphqlOptions {
            introspection: true,
            depth_max: 24,
            complexity_max: 2_000,
            aliases_max: 64,
            directives_max: 8,
        }
    }
}

/// The schema over this hub.
pub fn schema(hub: Hub, options: &GraphqlOptions) -> Schema {
    build(Schema::build(Query, Mutation, Subscription).data(hub), options)
}

/// The same of a server: with what administrators work on, and who is present; without these their fields refuse.
pub fn served(
    hub: Hub,
    administration: Administration,
    presence: Presence,
    options: &GraphqlOptions,
) -> Schema {
    let schema = Schema::build(Query, Mutation, Subscription);
    build(schema.data(hub).data(administration).data(presence), options)
}

fn build(schema: SchemaBuilder<Query, Mutation, Subscription>, options: &GraphqlOptions) -> Schema {
    let schema = schema
        .validation_mode(ValidationMode::Strict)
        .disable_suggestions()
        .limit_depth(options.depth_max)
        .limit_complexity(options.complexity_max)
        .limit_aliases(options.aliases_max)
        .limit_directives(options.directives_max);
    match options.introspection {
        true => schema.finish(),
        false => schema.disable_introspection().finish(),
    }
}

/// The text of the schema that this build serves.
pub fn schema_text() -> String {
    sdl(&Schema::build(Query, Mutation, Subscription).finish())
}

/// The schema as text: types by name, fields in the order in which they are declared, with all descriptions.
pub fn sdl(schema: &Schema) -> String {
    let options =
        SDLExportOptions::new().prefer_single_line_descriptions().include_specified_by().use_space_ident();
    schema.sdl_with_options(options)
}

/// What [`schema`] has put into every schema.
fn hub<'a>(ctx: &Context<'a>) -> &'a Hub {
    ctx.data_unchecked::<Hub>()
}

/// Who asks.
fn principal(ctx: &Context<'_>) -> Principal {
    ctx.data_opt::<Principal>().cloned().unwrap_or_else(Principal::anonymous)
}

#[cfg(test)]
mod api_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
