//! State that announces itself: organizations, domains, instances, agents, deployments, users and tasks, each kept as its
//! latest event.
//!
//! Flow: a request is checked against its kind's declaration (`kind`, `fields`), decided inside the log's transaction
//! (`decide`), where a pure function makes the event of what is there and what is asked for (`change`); the event is logged
//! and kept in one commit.
//! Invariants: no state without its event and no event without its state; folding the events of a resource gives its state;
//! versions count from 1 without holes, the deletion included.
//! Not here: how state is kept (`log`), who may read and publish what (`auth`), the fields of GraphQL (`graphql`).

mod change;
mod decide;
mod fields;
mod kind;
mod read;
mod resource;
mod shape;

pub use fields::Fields;
pub use kind::{Declaration, Field, Kind, Reference, Verb};
pub use read::{Entry, List, PAGE_MAX, Page};
pub use resource::Resource;

/// The source of the events of resources.
pub use crate::hub::STATE_SOURCE as SOURCE;

use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, EventType, Scope, ScopeField, check_id},
    hub::{ChangeMade, Hub, StateKey},
};
use change::Stamp;
use decide::{Asked, Request, not_found};
use fields::{Checked, Place};
use read::may_name;

/// Which resource: its kind and id, and its organization where others have one of the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    kind: Kind,
    id: String,
    organization_id: Option<String>,
}

impl Which {
    /// The resource of this id.
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Which { kind, id: id.into(), organization_id: None }
    }

    /// The one of this organization, if one is given.
    #[must_use]
    pub fn of(self, organization_id: Option<String>) -> Self {
        Which { organization_id, ..self }
    }
}

/// A change that is on stable storage.
#[derive(Clone, Debug)]
pub struct Made {
    /// The resource as its latest event tells it to the caller; `None` where the caller may not read that. Of a deleted one, what
    /// it was.
    pub resource: Option<Resource>,
    /// The place of the event.
    pub cursor: Cursor,
}

/// The resources of a server. Cloning shares them.
///
/// A program that embeds Fanfare changes state and announces the change in one step:
///
/// ```
/// use fanfare::{
///     auth::Principal,
///     bus::{self, Bus},
///     error::Code,
///     event::Limits,
///     hub::Hub,
///     log::{MemoryLog, MemoryOptions},
///     metrics::Metrics,
///     platform::resources::{Fields, Kind, Resources, Verb, Which},
/// };
///
/// # async fn example() -> Result<(), fanfare::error::Refusal> {
/// let bus = Bus::new(&bus::Options::default());
/// let ring = bus.clone();
/// let log = MemoryLog::open(MemoryOptions::default(), Box::new(move |batch| ring.publish(batch)));
/// let hub = Hub::new(std::sync::Arc::new(log), bus, Metrics::new(), Limits::default());
///
/// // A server's own hub does as well: `Resources::new(server.hub().clone())`.
/// let resources = Resources::new(hub);
/// let me = Principal::anonymous();
/// let quant = Fields::new().with("id", "quant").with("name", "Quant");
/// resources.create(&me, Kind::Organization, quant).await?;
///
/// let task = Fields::new().with("id", "t1").with("organizationId", "quant").with("name", "Report");
/// resources.create(&me, Kind::Task, task).await?;
/// let task = Which::new(Kind::Task, "t1");
/// let started = resources.transition(&me, &task, Verb::Start, Fields::new(), Some(1)).await?;
/// let state = started.resource.expect("who may do everything may read it");
/// assert_eq!((state.version(), state.status().as_deref()), (Some(2), Some("started")));
/// assert_eq!(state.event().event_type().as_str(), "task.started");
///
/// // Nobody changes what they have not seen.
/// let renamed = Fields::new().with("name", "Weekly report");
/// let refusal = resources.update(&me, &task, renamed, Some(1)).await.unwrap_err();
/// assert_eq!(refusal.code, Code::Conflict);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Resources {
    hub: Hub,
}

impl Resources {
    /// The resources that are kept in the log of this hub.
    pub fn new(hub: Hub) -> Self {
        Resources { hub }
    }

    /// Creates a resource from its fields: `id` (a UUIDv7 where it is left out), what it belongs to (`organizationId`,
    /// which the grant may fix, `domainId` and the like), and those of its kind. Fails with `BAD_REQUEST`, `FORBIDDEN`,
    /// `CONFLICT` for an id that is taken, `NOT_FOUND` for what it refers to, and as [`Hub::change`] does.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    pub async fn create(&self, principal: &Principal, kind: Kind, fields: Fields) -> Result<Made, Refusal> {
        let declaration = kind.declaration();
        let mut given = Checked::new(kind, Place::Creation, fields)?;
        let (id, is_given) = match given.id.take() {
            Some(id) => (id, true),
            None => (uuid::Uuid::now_v7().to_string(), false),
        };
        let draft = change::create(kind, &id, &given, &Stamp::now())?;
        let event = decide::admitted(principal, draft, self.hub.limits())?;
        let scope = event.scope();
        for reference in declaration.references().iter().filter(|reference| reference.is_required) {
            if scope.get(reference.field).is_none() {
                let allowed = format!("the id of its {}", reference.kind.name());
                return Err(Refusal::field(Code::BadRequest, reference.field.camel(), "nothing", allowed));
            }
        }
        if is_given && !may_choose_id(principal, kind, scope) {
            return Err(Refusal::field(
                Code::Forbidden,
                "id",
                &id,
                "none, because your grant covers only some of those whose ids it could be; the server gives one",
            ));
        }
        let key = StateKey::new(kind.name(), scope.get(ScopeField::Organization), &id)?;
        let (event_type, bytes) = (event.event_type().clone(), event.bytes());
        let decide = decide::create(principal.clone(), kind, key, event);
        made(kind, self.hub.change(principal, &event_type, bytes, decide).await?)
    }

    /// Changes the fields that are given: a value sets, null clears, what is absent stays. Fails with `BAD_REQUEST`, `NOT_FOUND`,
    /// `CONFLICT` when the version is not the expected one, `FORBIDDEN`, and as [`Hub::change`] does.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    pub async fn update(
        &self,
        principal: &Principal,
        which: &Which,
        fields: Fields,
        expected_version: Option<u64>,
    ) -> Result<Made, Refusal> {
        let action = which.kind.declaration().actions().update.ok_or_else(|| change::fixed(which.kind))?;
        let given = Checked::new(which.kind, Place::Update, fields)?;
        if given.is_empty() {
            return Err(Refusal::field(Code::BadRequest, "changes", "nothing", "at least one field"));
        }
        self.change(principal, which, action, Asked::Update(given), expected_version).await
    }

    /// Changes the status, or tells how far something is; `fields` are those that the transition takes. Fails with
    /// `BAD_REQUEST`, `NOT_FOUND`, `CONFLICT` when the version is not the expected one or the transition cannot follow the
    /// status, `FORBIDDEN`, and as [`Hub::change`] does.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    pub async fn transition(
        &self,
        principal: &Principal,
        which: &Which,
        verb: Verb,
        fields: Fields,
        expected_version: Option<u64>,
    ) -> Result<Made, Refusal> {
        let declaration = which.kind.declaration();
        let Some(transition) = declaration.transition(verb) else {
            let verbs: Vec<_> = declaration.verbs().map(Verb::name).collect();
            return Err(Refusal::field(Code::BadRequest, which.kind.name(), verb.name(), verbs.join(", ")));
        };
        let given = Checked::new(which.kind, Place::Transition(transition.takes), fields)?;
        if let Some(first) =
            transition.takes.first().filter(|first| transition.needs_first && !given.sets(first))
        {
            return Err(Refusal::field(Code::BadRequest, first, "nothing", "a value"));
        }
        let asked = Asked::Transition(transition, given);
        self.change(principal, which, transition.action, asked, expected_version).await
    }

    /// Deletes a resource. Fails with `NOT_FOUND`, `CONFLICT` when the version is not the expected one or others still
    /// belong to it, `FORBIDDEN`, and as [`Hub::change`] does.
    ///
    /// Cancel safety: dropping the future does not take the change back.
    pub async fn delete(
        &self,
        principal: &Principal,
        which: &Which,
        expected_version: Option<u64>,
    ) -> Result<Made, Refusal> {
        let action = which.kind.declaration().actions().delete;
        self.change(principal, which, action, Asked::Delete, expected_version).await
    }

    async fn change(
        &self,
        principal: &Principal,
        which: &Which,
        action: &str,
        asked: Asked,
        expected_version: Option<u64>,
    ) -> Result<Made, Refusal> {
        let kind = which.kind;
        let event_type = EventType::parse(&kind.declaration().event_type(action), "type")?;
        let key = self.locate(principal, which, &event_type).await?;
        let (stamp, limits) = (Stamp::now(), *self.hub.limits());
        let bytes = asked.bytes();
        let request =
            Request { principal: principal.clone(), kind, key, asked, expected_version, stamp, limits };
        made(kind, self.hub.change(principal, &event_type, bytes, decide::change(request)).await?)
    }

    /// The key of a resource that may be there: by the organization that is given, that the grant fixes, or that alone has one of
    /// this id. Fails with `NOT_FOUND`, `BAD_REQUEST` where several have one, and `FORBIDDEN` where ids are masked.
    async fn locate(
        &self,
        principal: &Principal,
        which: &Which,
        event_type: &EventType,
    ) -> Result<StateKey, Refusal> {
        let Which { kind, id, organization_id } = which;
        check_id(id, Code::BadRequest, "id")?;
        may_name(principal, *kind, organization_id.as_deref())?;
        let own = kind.declaration().own();
        if own == Some(ScopeField::Organization) {
            return StateKey::new(kind.name(), Some(id), id);
        }
        let mut scope = Scope::default();
        if let Some(organization_id) = organization_id {
            check_id(organization_id, Code::BadRequest, ScopeField::Organization.camel())?;
            scope.set(ScopeField::Organization, organization_id)?;
        } else {
            if let Some(own) = own {
                scope.set(own, id)?;
            }
            // Who may not publish it anywhere is refused when the change is decided, like anybody else.
            scope = self.hub.complete_scope(principal, event_type, scope.clone()).unwrap_or(scope);
        }
        if let Some(organization) = scope.get(ScopeField::Organization) {
            return StateKey::new(kind.name(), Some(organization), id);
        }
        self.find(principal, *kind, id).await?.map(|(key, _)| key).ok_or_else(|| not_found(*kind, "id", id))
    }
}

impl Asked {
    /// About how much it holds.
    fn bytes(&self) -> usize {
        match self {
            Asked::Update(given) | Asked::Transition(_, given) => given.bytes(),
            Asked::Delete => 0,
        }
    }
}

/// What came of a change with one event.
fn made(kind: Kind, made: ChangeMade) -> Result<Made, Refusal> {
    let (Some(cursor), Some(event)) = (made.cursors.into_iter().next(), made.events.into_iter().next())
    else {
        return Err(Refusal::new(Code::Internal, "the log gave no answer for the change"));
    };
    Ok(Made { resource: event.map(|event| Resource::new(kind, event)), cursor })
}

/// May the caller give an id? Only who may know of every resource that could have it: the answer tells whether it is taken.
fn may_choose_id(principal: &Principal, kind: Kind, scope: &Scope) -> bool {
    let fixed = [Some(ScopeField::Organization), kind.declaration().own()];
    let ids = scope.shown(|field, id| fixed.contains(&Some(field)).then(|| id.into()));
    let (grant, types) = (principal.grant(), event_types(kind));
    types.iter().any(|event_type| grant.publishes_all(event_type, &ids))
        || types.iter().all(|event_type| grant.reads_all(event_type, &ids))
}

/// Every type that an event of the kind may have.
fn event_types(kind: Kind) -> Vec<EventType> {
    let types = kind.declaration().event_types().into_iter();
    types.filter_map(|event_type| EventType::parse(&event_type, "type").ok()).collect()
}

#[cfg(test)]
#[path = "resources/resources_tests.rs"]
mod tests;
