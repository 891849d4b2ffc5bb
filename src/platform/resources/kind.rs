//! The seven kinds of resources, each a declaration: its fields with their limits, what it belongs to, how its status changes,
//! and which events tell of it.
//!
//! Invariants: what a kind is stands here and nowhere else; the mechanism (`change`) knows no kind by name.

use super::shape::Shape;
use crate::event::ScopeField;

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A tenant of the platform; everything else belongs to one.
    Organization,
    /// A part of an organization.
    Domain,
    /// Something that runs, such as a server process.
    Instance,
    /// An agent.
    Agent,
    /// A release on its way to where it runs.
    Deployment,
    /// Somebody who uses the platform.
    User,
    /// Something that an agent is asked to do.
    Task,
}

impl Kind {
    /// Every kind, what others belong to first.
    pub const ALL: [Kind; 7] = [
        Kind::Organization,
        Kind::Domain,
        Kind::Instance,
        Kind::Agent,
        Kind::Deployment,
        Kind::User,
        Kind::Task,
    ];

    /// The name: the first segment of its events' types, such as `agent`.
    pub const fn name(self) -> &'static str {
        self.declaration().name
    }

    /// The kind of that name.
    pub fn of(name: &str) -> Option<Kind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What the kind is.
    pub const fn declaration(self) -> &'static Declaration {
        match self {
            Kind::Organization => &ORGANIZATION,
            Kind::Domain => &DOMAIN,
            Kind::Instance => &INSTANCE,
            Kind::Agent => &AGENT,
            Kind::Deployment => &DEPLOYMENT,
            Kind::User => &USER,
            Kind::Task => &TASK,
        }
    }
}

/// What a transition is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Gives it any status.
    SetStatus,
    /// Begins it.
    Start,
    /// Says how far it is.
    Progress,
    /// Lets it wait.
    Pause,
    /// Goes on after a pause.
    Resume,
    /// Ends it well.
    Complete,
    /// Ends it badly.
    Fail,
    /// Ends it because nobody wants it any more.
    Cancel,
}

impl Verb {
    /// The name, such as `start`.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::SetStatus => "setStatus",
            Verb::Start => "start",
            Verb::Progress => "progress",
            Verb::Pause => "pause",
            Verb::Resume => "resume",
            Verb::Complete => "complete",
            Verb::Fail => "fail",
            Verb::Cancel => "cancel",
        }
    }
}

/// What a kind is.
#[derive(Debug)]
pub struct Declaration {
    name: &'static str,
    own: Option<ScopeField>,
    references: &'static [Reference],
    fields: &'static [Field],
    actions: Actions,
    first_status: Option<&'static str>,
    transitions: &'static [Transition],
}

/// The types of the events of a kind, without their first segment. Transitions have their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actions {
    pub(super) create: &'static str,
    /// `None`: nothing but its transitions changes it.
    pub(super) update: Option<&'static str>,
    pub(super) delete: &'static str,
}

/// A field that holds the id of another resource of the same organization; it is a field of the event's scope, and no part of
/// its data, so that whoever masks it has masked it.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// The kind of the other resource.
    pub kind: Kind,
    /// Where the id stands in the scope.
    pub field: ScopeField,
    /// Must it be there?
    pub is_required: bool,
    /// May an update give another one?
    pub is_updatable: bool,
    /// Does it keep the other one from being deleted once this one's life is over?
    pub(super) outlives: bool,
}

/// A field of a resource, in the data of its events.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub(super) shape: Shape,
    /// Must it be there?
    pub is_required: bool,
    /// May it be given when the resource is created?
    pub at_creation: bool,
    /// May an update change it?
    pub by_update: bool,
}

/// A change of status, or of what is told beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transition {
    pub(super) verb: Verb,
    /// The statuses that it can follow; none: all.
    pub(super) from: &'static [&'static str],
    /// The status that it leads to; `None`: the one that is given with it.
    pub(super) to: Option<&'static str>,
    /// The type of its event, without the first segment.
    pub(super) action: &'static str,
    /// The fields that may be given with it, of which the first must be where `needs_first`.
    pub(super) takes: &'static [&'static str],
    pub(super) needs_first: bool,
}

impl Declaration {
    /// The field of a scope that holds the resource's own id.
    pub const fn own(&self) -> Option<ScopeField> {
        self.own
    }

    /// What it belongs to.
    pub const fn references(&self) -> &'static [Reference] {
        self.references
    }

    /// Its fields, beside its id and what it belongs to.
    pub const fn fields(&self) -> &'static [Field] {
        self.fields
    }

    pub(super) const fn actions(&self) -> Actions {
        self.actions
    }

    pub(super) const fn first_status(&self) -> Option<&'static str> {
        self.first_status
    }

    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// What changes its status.
    pub fn verbs(&self) -> impl Iterator<Item = Verb> {
        self.transitions.iter().map(|one| one.verb)
    }

    pub(super) fn transition(&self, verb: Verb) -> Option<&'static Transition> {
        self.transitions.iter().find(|one| one.verb == verb)
    }

    /// The transitions that can follow a status.
    pub(super) fn transitions_from(&self, status: &str) -> impl Iterator<Item = &'static Transition> {
        self.transitions.iter().filter(move |one| one.from.is_empty() || one.from.contains(&status))
    }

    /// Is a resource of this status at the end of its life?
    pub(super) fn is_over(&self, status: &str) -> bool {
        !self.transitions.is_empty() && self.transitions_from(status).next().is_none()
    }

    /// The statuses that there are; `None` where every word is one.
    pub fn statuses(&self) -> Option<Vec<&'static str>> {
        if self.transitions.is_empty() || self.transitions.iter().any(|one| one.to.is_none()) {
            return None;
        }
        let mut statuses: Vec<_> = self.first_status.into_iter().collect();
        for to in self.transitions.iter().filter_map(|one| one.to) {
            if !statuses.contains(&to) {
                statuses.push(to);
            }
        }
        Some(statuses)
    }

    /// The type of an event of the kind.
    pub(super) fn event_type(&self, action: &str) -> String {
        format!("{}.{action}", self.name)
    }

    /// Every type that an event of the kind may have.
    pub fn event_types(&self) -> Vec<String> {
        let Actions { create, update, delete } = self.actions;
        let mut actions: Vec<_> = [Some(create), update, Some(delete)].into_iter().flatten().collect();
        actions.extend(self.transitions.iter().map(|one| one.action));
        actions.sort_unstable();
        actions.dedup();
        actions.into_iter().map(|action| self.event_type(action)).collect()
    }
}

impl Reference {
    const fn to(kind: Kind, field: ScopeField) -> Self {
        Reference { kind, field, is_required: false, is_updatable: false, outlives: true }
    }

    const fn required(self) -> Self {
        Reference { is_required: true, ..self }
    }

    const fn updatable(self) -> Self {
        Reference { is_updatable: true, ..self }
    }

    /// Once its life is over, the other one may go.
    const fn while_it_lives(self) -> Self {
        Reference { outlives: false, ..self }
    }
}

impl Field {
    /// A field that is given at creation and changed by updates.
    const fn new(name: &'static str, shape: Shape) -> Self {
        Field { name, shape, is_required: false, at_creation: true, by_update: true }
    }

    const fn required(self) -> Self {
        Field { is_required: true, ..self }
    }

    const fn fixed(self) -> Self {
        Field { by_update: false, ..self }
    }

    /// Nothing but transitions gives it.
    const fn by_transitions(self) -> Self {
        Field { at_creation: false, by_update: false, ..self }
    }
}

impl Transition {
    const fn new(verb: Verb, from: &'static [&'static str], to: &'static str, action: &'static str) -> Self {
        Transition { verb, from, to: Some(to), action, takes: &["message"], needs_first: false }
    }

    const fn takes(self, takes: &'static [&'static str]) -> Self {
        Transition { takes, ..self }
    }

    const fn needs_first(self) -> Self {
        Transition { needs_first: true, ..self }
    }
}

const CRUD: Actions = Actions { create: "created", update: Some("updated"), delete: "deleted" };

const IN_ORGANIZATION: Reference = Reference::to(Kind::Organization, ScopeField::Organization);
const IN_DOMAIN: Reference = Reference::to(Kind::Domain, ScopeField::Domain);

const NAME: Field = Field::new("name", Shape::Line(256)).required();
const DISPLAY_NAME: Field = Field::new("displayName", Shape::Line(256));
const DESCRIPTION: Field = Field::new("description", Shape::Text(16 * 1024));
const STATUS: Field = Field::new("status", Shape::Word);
const MESSAGE: Field = Field::new("message", Shape::Text(4 * 1024)).by_transitions();
const ERROR: Field = Field::new("error", Shape::Text(4 * 1024)).by_transitions();
const METADATA: Field = Field::new("metadata", Shape::Json(64 * 1024));

const ORGANIZATION: Declaration = Declaration {
    name: "organization",
    own: Some(ScopeField::Organization),
    references: &[],
    fields: &[NAME, DISPLAY_NAME, DESCRIPTION, STATUS, METADATA],
    actions: CRUD,
    first_status: None,
    transitions: &[],
};

const DOMAIN: Declaration = Declaration {
    name: "domain",
    own: Some(ScopeField::Domain),
    references: &[IN_ORGANIZATION.required()],
    fields: &[NAME, DISPLAY_NAME, DESCRIPTION, STATUS, METADATA],
    actions: CRUD,
    first_status: None,
    transitions: &[],
};

const INSTANCE: Declaration = Declaration {
    name: "instance",
    own: Some(ScopeField::Instance),
    references: &[IN_ORGANIZATION.required(), IN_DOMAIN],
    fields: &[NAME, STATUS, Field::new("release", Shape::Line(128)), METADATA],
    actions: CRUD,
    first_status: None,
    transitions: &[],
};

const AGENT: Declaration = Declaration {
    name: "agent",
    own: Some(ScopeField::Agent),
    references: &[IN_ORGANIZATION.required(), IN_DOMAIN],
    fields: &[NAME, DISPLAY_NAME, DESCRIPTION, STATUS.fixed(), MESSAGE, METADATA],
    actions: CRUD,
    first_status: Some("idle"),
    transitions: &[Transition {
        verb: Verb::SetStatus,
        from: &[],
        to: None,
        action: "status_changed",
        takes: &["status", "message"],
        needs_first: true,
    }],
};

const DEPLOYMENT: Declaration = Declaration {
    name: "deployment",
    own: None,
    references: &[
        IN_ORGANIZATION.required(),
        IN_DOMAIN,
        Reference::to(Kind::Instance, ScopeField::Instance).while_it_lives(),
    ],
    fields: &[
        Field::new("release", Shape::Line(128)).required().fixed(),
        Field::new("environment", Shape::Line(128)).fixed(),
        STATUS.by_transitions(),
        MESSAGE,
        ERROR,
        Field::new("metadata", Shape::Json(64 * 1024)).fixed(),
    ],
    actions: Actions { create: "started", update: None, delete: "deleted" },
    first_status: Some("started"),
    transitions: &[
        Transition::new(Verb::Complete, &["started"], "completed", "completed"),
        Transition::new(Verb::Fail, &["started"], "failed", "failed").takes(&["error", "message"]),
    ],
};

const USER: Declaration = Declaration {
    name: "user",
    own: Some(ScopeField::User),
    references: &[IN_ORGANIZATION],
    fields: &[NAME, DISPLAY_NAME, Field::new("email", Shape::Line(320)), STATUS, METADATA],
    actions: CRUD,
    first_status: None,
    transitions: &[],
};

const TASK: Declaration = Declaration {
    name: "task",
    own: Some(ScopeField::Task),
    references: &[
        IN_ORGANIZATION,
        IN_DOMAIN,
        Reference::to(Kind::User, ScopeField::User),
        Reference::to(Kind::Agent, ScopeField::Agent).updatable().while_it_lives(),
    ],
    fields: &[
        NAME,
        DESCRIPTION,
        STATUS.by_transitions(),
        Field::new("progress", Shape::Number).by_transitions(),
        MESSAGE,
        Field::new("result", Shape::Json(64 * 1024)).by_transitions(),
        ERROR,
        METADATA,
    ],
    actions: CRUD,
    first_status: Some("created"),
    transitions: &[
        Transition::new(Verb::Start, &["created"], "started", "started"),
        Transition::new(Verb::Progress, &["started"], "started", "progress")
            .takes(&["progress", "message"])
            .needs_first(),
        Transition::new(Verb::Pause, &["started"], "paused", "status"),
        Transition::new(Verb::Resume, &["paused"], "started", "status"),
        Transition::new(Verb::Complete, &["started", "paused"], "completed", "completed")
            .takes(&["result", "message"]),
        Transition::new(Verb::Fail, &["created", "started", "paused"], "failed", "failed")
            .takes(&["error", "message"]),
        Transition::new(Verb::Cancel, &["created", "started", "paused"], "cancelled", "cancelled"),
    ],
};
