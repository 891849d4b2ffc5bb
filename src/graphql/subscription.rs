//! The subscription fields. Their arguments are the filter; all do the same ([`open`]) with another filter and object.

use super::{
    event::*,
    filter::{FilterInput, Overflow, StartInput, filter, start},
    principal,
    source::{Events, open},
};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{EventFilter, Family, ScopeField},
    fanout::Asked,
};
use async_graphql::{Context, ID, Result, Subscription};

/// What can be followed.
#[derive(Clone, Copy, Debug)]
pub struct Subscription;

/// What kind of object a subscription field gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    /// The interface: that of each event's own family.
    Any,
    /// Always that of this family.
    One(Family),
}

macro_rules! subscription {
    ($($(#[$doc:meta])* $field:ident: $object:ident = $family:ident;)*) => {
        /// What a subscription field gives; none for a name that is no field.
        pub(super) fn gives(field: &str) -> Option<Gives> {
            match field {
                "events" | "notifications" | "trace" => Some(Gives::Any),
                "chat" => Some(Gives::One(Family::Chat)),
                $(stringify!($field) => Some(Gives::One(Family::$family)),)*
                _ => None,
            }
        }

        /// What can be followed.
        #[Subscription]
        impl Subscription {
            /// Every event the caller may see that matches the filter.
            async fn events(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "Which events.")] filter: Option<FilterInput>,
                #[graphql(desc = "From where on; without it, with the next event.")] start: Option<StartInput>,
                #[graphql(default, desc = "What happens when the reader is behind.")] overflow: Overflow,
            ) -> Result<Events<AnyEvent>> {
                open(ctx, || asked(filter, start, overflow)).await
            }

            $(
                $(#[$doc])*
                async fn $field(
                    &self,
                    ctx: &Context<'_>,
                    #[graphql(desc = "Which events of the family.")] filter: Option<FilterInput>,
                    #[graphql(desc = "From where on; without it, with the next event.")] start: Option<StartInput>,
                    #[graphql(default, desc = "What happens when the reader is behind.")] overflow: Overflow,
                ) -> Result<Events<$object>> {
                    open(ctx, || {
                        let asked = asked(filter, start, overflow)?;
                        Ok(Asked { filter: asked.filter.within(Family::$family), ..asked })
                    })
                    .await
                }
            )*

            /// What is said in a room, and who is typing there.
            async fn chat(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "The room.")] room_id: ID,
                #[graphql(desc = "From where on; without it, with the next event.")] start: Option<StartInput>,
                #[graphql(default, desc = "What happens when the reader is behind.")] overflow: Overflow,
            ) -> Result<Events<ChatEvent>> {
                open(ctx, || {
                    let asked = asked(None, start, overflow)?;
                    let chat = EventFilter::default().within(Family::Chat);
                    Ok(Asked { filter: chat.with_scope(ScopeField::Room, &room_id)?, ..asked })
                })
                .await
            }

            /// Events addressed to the signed-in user, on all of their devices: those that name them as `userId`, but for the families
            /// in which a server tells about itself (`presence.*`, `health.*`, `system.*`, `performance.*`, `graphql.*`).
            async fn notifications(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "From where on; without it, with the next event.")] start: Option<StartInput>,
                #[graphql(default, desc = "What happens when the reader is behind.")] overflow: Overflow,
            ) -> Result<Events<AnyEvent>> {
                open(ctx, || {
                    let asked = asked(None, start, overflow)?;
                    Ok(Asked { filter: addressed_to(&principal(ctx))?, ..asked })
                })
                .await
            }

            /// Follow one request through all services.
            async fn trace(
                &self,
                ctx: &Context<'_>,
                #[graphql(desc = "The request: the `correlationId` of its events.")] correlation_id: ID,
                #[graphql(desc = "From where on; without it, with the next event.")] start: Option<StartInput>,
                #[graphql(default, desc = "What happens when the reader is behind.")] overflow: Overflow,
            ) -> Result<Events<AnyEvent>> {
                open(ctx, || {
                    let asked = asked(None, start, overflow)?;
                    Ok(Asked { filter: EventFilter::default().with_correlation_id(&correlation_id)?, ..asked })
                })
                .await
            }
        }
    };
}

subscription! {
    /// Who connects, leaves, or changes their status.
    presence: PresenceEvent = Presence;
    /// How the platform does.
    health: HealthEvent = Health;
    /// The life of agents and of their runs.
    agents: AgentEvent = Agent;
    /// The life of organizations.
    organizations: OrganizationEvent = Organization;
    /// The life of domains.
    domains: DomainEvent = Domain;
    /// The life of instances.
    instances: InstanceEvent = Instance;
    /// Deployments.
    deployments: DeploymentEvent = Deployment;
    /// The life of users.
    users: UserEvent = User;
    /// Tasks that agents work on.
    tasks: TaskEvent = Task;
    /// Workflows of several steps.
    workflows: WorkflowEvent = Workflow;
    /// The platform's own processes.
    system: SystemEvent = System;
    /// Entries of state stores.
    state: StateEvent = State;
    /// Sessions with a coding model.
    claude: ClaudeEvent = Claude;
    /// Source repositories.
    repositories: RepositoryEvent = Repository;
    /// GitHub, its API and its webhooks.
    github: GithubEvent = Github;
    /// GraphQL operations somewhere on the platform.
    graphql: GraphqlEvent = Graphql;
    /// Measurements that crossed a limit.
    performance: PerformanceEvent = Performance;
}

fn asked(given: Option<FilterInput>, from: Option<StartInput>, overflow: Overflow) -> Result<Asked, Refusal> {
    Ok(Asked { filter: filter(given)?, start: start(from)?, overflow: overflow.into() })
}

/// The events that name a caller as their user; without a credential nobody is signed in.
pub(super) fn addressed_to(principal: &Principal) -> Result<EventFilter, Refusal> {
    let missing = "notifications are those of the signed-in user, and this connection has not signed in";
    let user = principal.signed_in().ok_or_else(|| Refusal::new(Code::Unauthenticated, missing))?;
    EventFilter::default().without(Family::OF_SERVERS).with_scope(ScopeField::User, user)
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
