//! The arguments of a subscription as clients write them: which events, and from where on.

use super::scalars::{CursorText, Time};
use crate::{
    error::Refusal,
    event::{self, AlternativeDraft, Family, FilterDraft},
};
use async_graphql::{Enum, ID, InputObject, OneofObject};

/// A family of event types; each has its own object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::event::Family")]
pub(super) enum Category {
    /// Who is connected: `presence.*`.
    Presence,
    /// How the platform does: `health.*`.
    Health,
    /// Agents and their runs: `agent.*`.
    Agent,
    /// Organizations: `organization.*`.
    Organization,
    /// Domains of an organization: `domain.*`.
    Domain,
    /// Running instances: `instance.*`.
    Instance,
    /// Deployments: `deployment.*`.
    Deployment,
    /// Users: `user.*`.
    User,
    /// Tasks that agents work on: `task.*`.
    Task,
    /// Workflows of several steps: `workflow.*`.
    Workflow,
    /// The platform's own processes: `system.*`.
    System,
    /// Entries of a state store: `state.*`.
    State,
    /// Chat: `chat.*`.
    Chat,
    /// Sessions with a coding model: `claude.*`.
    Claude,
    /// Source repositories: `repo.*`.
    Repository,
    /// GitHub, its API and its webhooks: `github.*`.
    Github,
    /// GraphQL operations: `graphql.*`.
    Graphql,
    /// Measurements that crossed a limit: `performance.*`.
    Performance,
    /// Every type of none of the families above.
    Custom,
}

/// What happens to a subscription whose reader is so far behind that its connection's byte budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[graphql(remote = "crate::event::Overflow")]
pub(super) enum Overflow {
    /// It reads the log from where it stands, and misses nothing.
    #[default]
    Replay,
    /// Of the events that wait, only the newest of each subject (of each source) is kept, for feeds of states;
    /// `extensions.replaced` says how many older ones it stands for. Events without a subject are all kept. If that wins too
    /// little room, the log is read.
    LatestPerSubject,
}

impl Category {
    /// The name in a [`FilterDraft`].
    fn segment(self) -> String {
        Family::from(self).segment().unwrap_or("custom").to_owned()
    }
}

/// Ids as a filter's draft has them.
pub(super) fn ids(given: Option<Vec<ID>>) -> Option<Vec<String>> {
    given.map(|ids| ids.into_iter().map(|id| id.0).collect())
}

macro_rules! filter_inputs {
    ($($(#[$meta:meta])* $name:ident => $draft:ident { $($(#[$more:meta])* $any_of:ident: $kind:ident,)? })*) => {
        $(
            $(#[$meta])*
            pub(super) struct $name {
                /// Types or patterns of types: `task.created`, `agent.*`, `*.failed`, `*`.
                types: Option<Vec<String>>,
                /// Families of types.
                categories: Option<Vec<Category>>,
                /// Organizations, one id or a list.
                organization_id: Option<Vec<ID>>,
                /// Domains, one id or a list.
                domain_id: Option<Vec<ID>>,
                /// Instances, one id or a list.
                instance_id: Option<Vec<ID>>,
                /// Agents, one id or a list.
                agent_id: Option<Vec<ID>>,
                /// Tasks, one id or a list.
                task_id: Option<Vec<ID>>,
                /// Workflows, one id or a list.
                workflow_id: Option<Vec<ID>>,
                /// Users, one id or a list.
                user_id: Option<Vec<ID>>,
                /// Rooms, one id or a list.
                room_id: Option<Vec<ID>>,
                /// Producers: the `source` of an event, exactly.
                sources: Option<Vec<String>>,
                /// Requests, one correlation id or a list.
                correlation_id: Option<Vec<String>>,
                /// The least priority.
                min_priority: Option<super::event::Priority>,
                $($(#[$more])* $any_of: Option<Vec<$kind>>,)?
            }

            impl From<$name> for $draft {
                fn from(given: $name) -> Self {
                    $draft {
                        types: given.types,
                        categories: given.categories.map(|all| all.into_iter().map(Category::segment).collect()),
                        organization_id: ids(given.organization_id),
                        domain_id: ids(given.domain_id),
                        instance_id: ids(given.instance_id),
                        agent_id: ids(given.agent_id),
                        task_id: ids(given.task_id),
                        workflow_id: ids(given.workflow_id),
                        user_id: ids(given.user_id),
                        room_id: ids(given.room_id),
                        sources: given.sources,
                        correlation_id: given.correlation_id,
                        min_priority: given.min_priority.map(|least| event::Priority::from(least).name().to_owned()),
                        $($any_of: given.$any_of.map(|all| all.into_iter().map(Into::into).collect()),)?
                    }
                }
            }
        )*
    };
}

filter_inputs! {
    /// Which events. Items of a list are alternatives, fields must all hold, an absent field allows everything; an empty list
    /// is refused, since it would match nothing. At most 64 patterns and 1,000 ids, alternatives included.
    #[derive(Debug, Default, InputObject)]
    #[graphql(name = "EventFilter")]
    FilterInput => FilterDraft {
        /// At most 8 alternatives, of which one must hold beside the fields above.
        any_of: AlternativeInput,
    }

    /// One alternative of a filter's `anyOf`: the same fields, without alternatives of its own.
    #[derive(Debug, Default, InputObject)]
    #[graphql(name = "EventFilterAlternative")]
    AlternativeInput => AlternativeDraft {}
}

/// The filter of an argument. Fails with `INVALID_FILTER`.
pub(super) fn filter(given: Option<FilterInput>) -> Result<event::EventFilter, Refusal> {
    event::EventFilter::new(given.unwrap_or_default().into())
}

/// Where a subscription starts; without it, with the next event. Give one field.
#[derive(Debug, OneofObject)]
#[graphql(name = "StartPosition")]
pub(super) enum StartInput {
    /// After the event of this cursor: how a client resumes.
    After(CursorText),
    /// With the first event that was logged at or after this time.
    Time(Time),
    /// With the last so many events that match the filter, 1 to 10,000.
    Last(i32),
    /// True: with the earliest event that the log still has.
    Earliest(bool),
}

/// The start of an argument. Fails with `INVALID_FILTER` or `CURSOR_INVALID`.
pub(super) fn start(given: Option<StartInput>) -> Result<event::StartPosition, Refusal> {
    let Some(given) = given else { return Ok(event::StartPosition::Live) };
    let mut draft = event::StartDraft::default();
    match given {
        StartInput::After(cursor) => draft.after = Some(cursor.0),
        StartInput::Time(time) => draft.time = Some(time.0),
        StartInput::Last(count) => draft.last = Some(count.into()),
        StartInput::Earliest(earliest) => draft.earliest = Some(earliest),
    }
    event::StartPosition::new(draft)
}
