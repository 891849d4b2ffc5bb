//! What is published in a trial ([`Fact`]) and what is asked for ([`Wanted`]), with a matching of their own: the oracle shares no
//! code with the server's filter.

use super::random::Random;
use fanfare::event::{Draft, Limits, NewEvent};
use serde_json::{Value, json};

const TYPES: [&str; 6] =
    ["task.created", "task.progress", "agent.log", "agent.created", "repo.push.completed", "x"];
/// Patterns that the fence meets, and others.
const PATTERNS_OF_FENCE: [&str; 5] = ["task.*", "*.created", "task.created", "*.*", "*"];
const PATTERNS: [&str; 5] = ["agent.log", "agent.*", "repo.*.completed", "x", "none.*"];
const ORGANIZATIONS: [&str; 4] = ["o0", "o1", "o2", "o3"];
const TASKS: [&str; 4] = ["t0", "t1", "t2", "t3"];
/// The last character of the id of an event that is not kept.
const TRANSIENT: char = '~';
const PRIORITIES: [&str; 4] = ["LOW", "NORMAL", "HIGH", "CRITICAL"];

/// An event to publish.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) id: String,
    event_type: &'static str,
    organization: &'static str,
    task: Option<&'static str>,
    priority: &'static str,
}

/// Is it the id of an event that is delivered and not kept?
pub(crate) fn is_transient(id: &str) -> bool {
    id.ends_with(TRANSIENT)
}

impl Fact {
    /// Any event; one of a few is not kept, and its id says so.
    pub(crate) fn random(random: &mut Random, mut id: String) -> Self {
        if random.once_in(4) {
            id.push(TRANSIENT);
        }
        Fact {
            id,
            event_type: random.pick(&TYPES),
            organization: random.pick(&ORGANIZATIONS),
            task: (!random.once_in(3)).then(|| random.pick(&TASKS)),
            priority: random.pick(&PRIORITIES),
        }
    }

    /// The last event of a trial, which everything that is ever [`Wanted`] matches.
    pub(crate) fn fence() -> Self {
        Fact {
            id: "fence".to_owned(),
            event_type: "task.created",
            organization: "o0",
            task: Some("t0"),
            priority: "CRITICAL",
        }
    }

    /// The event.
    pub(crate) fn event(&self) -> NewEvent {
        let draft = Draft {
            id: Some(self.id.clone()),
            event_type: self.event_type.to_owned(),
            organization_id: Some(self.organization.to_owned()),
            task_id: self.task.map(str::to_owned),
            priority: Some(self.priority.to_owned()),
            persist: Some(!is_transient(&self.id)),
            ..Draft::default()
        };
        NewEvent::new(draft, &Limits::default()).unwrap()
    }
}

/// What a subscription asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    types: Option<Vec<&'static str>>,
    organizations: Option<Vec<&'static str>>,
    tasks: Option<Vec<&'static str>>,
    min_priority: Option<&'static str>,
    any_of: Vec<Wanted>,
}

impl Wanted {
    /// Anything that the fence meets.
    pub(crate) fn random(random: &mut Random) -> Self {
        let mut wanted = Wanted::alternative(random);
        if random.once_in(4) {
            wanted.any_of = (0..random.within(1, 3)).map(|_| Wanted::alternative(random)).collect();
        }
        wanted
    }

    fn alternative(random: &mut Random) -> Self {
        let mut some_of = |needed: &'static str, pool: &[&'static str]| {
            random.once_in(3).then(|| {
                let more = (0..random.below(3)).map(|_| random.pick(pool));
                let mut chosen: Vec<_> = more.collect();
                chosen.push(needed);
                chosen
            })
        };
        let organizations = some_of("o0", &ORGANIZATIONS);
        let tasks = some_of("t0", &TASKS);
        let mut types = some_of("task.created", &PATTERNS);
        if let Some(last) = types.as_mut().and_then(|types| types.last_mut()) {
            *last = random.pick(&PATTERNS_OF_FENCE);
        }
        let min_priority = random.once_in(5).then(|| random.pick(&PRIORITIES));
        Wanted { types, organizations, tasks, min_priority, any_of: Vec::new() }
    }

    /// Does it ask for this event?
    pub(crate) fn includes(&self, fact: &Fact) -> bool {
        let rank = |name: &str| PRIORITIES.iter().position(|own| *own == name);
        self.types
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| covers(pattern, fact.event_type)))
            && self.organizations.as_ref().is_none_or(|ids| ids.contains(&fact.organization))
            && self.tasks.as_ref().is_none_or(|ids| fact.task.is_some_and(|task| ids.contains(&task)))
            && self.min_priority.is_none_or(|least| rank(fact.priority) >= rank(least))
            && (self.any_of.is_empty() || self.any_of.iter().any(|one| one.includes(fact)))
    }

    /// The filter as callers write it.
    pub(crate) fn json(&self) -> Value {
        let fields = [
            ("types", self.types.as_ref().map(|list| json!(list))),
            ("organizationId", self.organizations.as_ref().map(|list| json!(list))),
            ("taskId", self.tasks.as_ref().map(|list| json!(list))),
            ("minPriority", self.min_priority.map(|least| json!(least))),
            ("anyOf", (!self.any_of.is_empty()).then(|| self.any_of.iter().map(Wanted::json).collect())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// The definition of a pattern, word for word.
fn covers(pattern: &str, event_type: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('.').collect();
    let segments: Vec<&str> = event_type.split('.').collect();
    let has_tail = pattern.last() == Some(&"*");
    let fits = if has_tail { segments.len() >= pattern.len() } else { segments.len() == pattern.len() };
    fits && pattern.iter().zip(&segments).all(|(own, segment)| *own == "*" || own == segment)
}
