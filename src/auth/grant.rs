//! What a principal may publish and read.
//!
//! Flow: [`Policy`](super::Policy) makes a [`Grant`] of roles and claims; `hub` has it narrow what is asked for and admit what is
//! published.
//! Invariants: deny by default: nothing but a rule allows anything, and an event that lacks a field which a rule limits is
//! outside of it. Rules are alternatives, so joining grants never takes anything away. A refusal shows the caller its own
//! grant and what it gave, nothing else.
//! Not here: which events meet a rule (`event`), where rules come from (`policy`).

mod narrowing;
mod publishing;

use crate::{
    error::{Code, Refusal, excerpt},
    event::{EventFilter, EventType, NewEvent, Rule, Rules, Scope, ScopeField},
};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// What a principal may publish and read. Cloning shares it; two are equal when they allow the same by the same rules,
/// wherever these came from.
#[derive(Clone, Debug)]
pub struct Grant(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    read: Reach,
    publish: Reach,
    is_admin: bool,
    origin: Box<str>,
}

/// How far a grant reaches in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Everything,
    Within(Rules),
}

/// The origin of a grant that nobody named.
const OWN: &str = "this server";

impl Reach {
    fn new(rules: Vec<Rule>) -> Result<Self, Refusal> {
        match rules.iter().any(Rule::is_unlimited) {
            true => Ok(Reach::Everything),
            false => Rules::new(rules).map(Reach::Within),
        }
    }

    /// The rule that allows an event, as text.
    fn rule_for(&self, event: &NewEvent) -> Option<String> {
        match self {
            Reach::Everything => Some("everything".to_owned()),
            Reach::Within(rules) => rules.iter().find(|rule| rule.allows(event)).map(rule_text),
        }
    }

    fn rules(&self) -> Vec<Rule> {
        match self {
            Reach::Everything => vec![Rule::default()],
            Reach::Within(rules) => rules.iter().cloned().collect(),
        }
    }

    /// Does it reach every event of a type that has these ids, whatever its other ids are?
    fn takes_all(&self, event_type: &EventType, ids: &Scope) -> bool {
        let is_met = |rule: &Rule| {
            rule.scope_ids().all(|(field, allowed)| ids.get(field).is_some_and(|id| allowed.contains(id)))
        };
        match self {
            Reach::Everything => true,
            Reach::Within(rules) => rules.iter().any(|rule| rule.allows_type(event_type) && is_met(rule)),
        }
    }
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (&self.0, &other.0);
        Arc::ptr_eq(own, other)
            || (&own.read, &own.publish, own.is_admin) == (&other.read, &other.publish, other.is_admin)
    }
}

impl Eq for Grant {}

impl Grant {
    /// A grant that reads and publishes what these rules allow. Fails with `TOO_MANY` beyond the bounds of [`Rules::new`],
    /// which hold for reading and for publishing each.
    pub fn new(read: Vec<Rule>, publish: Vec<Rule>, is_admin: bool) -> Result<Self, Refusal> {
        let named = |direction: &str, refusal: Refusal| {
            let message = format!("the grant has too many rules to {direction} by: {}", refusal.message);
            Refusal { message: message.into(), ..refusal }
        };
        let read = Reach::new(read).map_err(|refusal| named("read", refusal))?;
        let publish = Reach::new(publish).map_err(|refusal| named("publish", refusal))?;
        Ok(Grant(Arc::new(Parts { read, publish, is_admin, origin: OWN.into() })))
    }

    /// Every event, and the administration of the server.
    pub fn everything() -> Self {
        let (read, publish) = (Reach::Everything, Reach::Everything);
        let origin = "a server without authentication".into();
        Grant(Arc::new(Parts { read, publish, is_admin: true, origin }))
    }

    /// Nothing at all.
    pub fn nothing() -> Self {
        let none = || Reach::Within(Rules::default());
        Grant(Arc::new(Parts { read: none(), publish: none(), is_admin: false, origin: OWN.into() }))
    }

    /// What one of these grants allows. Fails as [`Grant::new`] does.
    pub fn union<'a>(grants: impl IntoIterator<Item = &'a Grant>) -> Result<Self, Refusal> {
        let (mut read, mut publish, mut is_admin) = (Vec::new(), Vec::new(), false);
        for Grant(parts) in grants {
            read.extend(parts.read.rules());
            publish.extend(parts.publish.rules());
            is_admin |= parts.is_admin;
        }
        Grant::new(read, publish, is_admin)
    }

    /// The same grant, whose refusals tell where it came from: `role member (claim roles)`.
    #[must_use]
    pub fn from_origin(self, origin: &str) -> Self {
        let Parts { read, publish, is_admin, .. } = &*self.0;
        let (read, publish) = (read.clone(), publish.clone());
        Grant(Arc::new(Parts { read, publish, is_admin: *is_admin, origin: origin.into() }))
    }

    /// Where it came from, for people.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// May the principal see and end what belongs to others?
    pub fn is_admin(&self) -> bool {
        self.0.is_admin
    }

    /// The part of a filter that the principal may read. Fails with `FORBIDDEN` when that is provably nothing: the refusal names
    /// the field, what was given, what the grant allows of it and where the grant came from.
    pub fn narrow(&self, filter: EventFilter) -> Result<EventFilter, Refusal> {
        match &self.0.read {
            Reach::Everything => Ok(filter),
            Reach::Within(rules) => match narrowing::clash(&filter, rules) {
                None => Ok(filter.granted(rules)),
                Some(clash) => Err(self.refusal("read", clash)),
            },
        }
    }

    /// May the principal read the event? Fails with `FORBIDDEN`, which says why not: for explanations, never for callers, who
    /// would learn that the event exists.
    pub fn check_read(&self, event: &NewEvent) -> Result<(), Refusal> {
        self.check("read", &self.0.read, event.event_type(), event.scope())
    }

    /// May the principal read the event?
    pub fn may_read(&self, event: &NewEvent) -> bool {
        match &self.0.read {
            Reach::Everything => true,
            Reach::Within(rules) => rules.allow(event),
        }
    }

    /// May the principal publish an event of this type with this scope as it is? Fails with `FORBIDDEN`, as [`Grant::narrow`]
    /// does.
    pub fn check_publish(&self, event_type: &EventType, scope: &Scope) -> Result<(), Refusal> {
        self.check("publish", &self.0.publish, event_type, scope)
    }

    fn check(&self, verb: &str, reach: &Reach, event_type: &EventType, scope: &Scope) -> Result<(), Refusal> {
        match reach {
            Reach::Within(rules) if !rules.allow_in(event_type, scope) => {
                Err(self.refusal(verb, publishing::clash(event_type, scope, rules)))
            }
            Reach::Everything | Reach::Within(_) => Ok(()),
        }
    }

    /// The rule by which the principal may read the event, as text: `types agent.* in organizationId quant`.
    pub fn rule_to_read(&self, event: &NewEvent) -> Option<String> {
        self.0.read.rule_for(event)
    }

    /// The rule by which the principal may publish the event that [`Grant::admit`] gave.
    pub fn rule_to_publish(&self, event: &NewEvent) -> Option<String> {
        self.0.publish.rule_for(event)
    }

    /// The event as the principal may publish it. A scope field that the event leaves out gets the id that the grant fixes: the
    /// one id on which all rules agree that could still allow the event. Fails with `FORBIDDEN`, as [`Grant::narrow`] does.
    pub fn admit(&self, event: NewEvent) -> Result<NewEvent, Refusal> {
        let rules = match &self.0.publish {
            Reach::Everything => return Ok(event),
            Reach::Within(rules) => rules,
        };
        let event = publishing::fixed_scope(event.event_type(), event.scope(), rules)
            .try_fold(event, |event, (field, id)| event.or_scope(field, id))?;
        self.check_publish(event.event_type(), event.scope())?;
        Ok(event)
    }

    /// The scope in which an event of this type can be read that has this scope: what is given, and the ids on which the rules to
    /// read agree that could still allow it. Fails with `INVALID_EVENT` for what is no id.
    pub fn readable_scope(&self, event_type: &EventType, mut scope: Scope) -> Result<Scope, Refusal> {
        let Reach::Within(rules) = &self.0.read else { return Ok(scope) };
        for (field, id) in publishing::fixed_scope(event_type, &scope, rules) {
            if scope.get(field).is_none() {
                scope.set(field, id)?;
            }
        }
        Ok(scope)
    }

    /// The scope that [`Grant::admit`] gives an event of this type with this scope. Fails as it does.
    pub fn complete(&self, event_type: &EventType, mut scope: Scope) -> Result<Scope, Refusal> {
        let rules = match &self.0.publish {
            Reach::Everything => return Ok(scope),
            Reach::Within(rules) => rules,
        };
        for (field, id) in publishing::fixed_scope(event_type, &scope, rules) {
            if scope.get(field).is_none() {
                scope.set(field, id)?;
            }
        }
        self.check_publish(event_type, &scope)?;
        Ok(scope)
    }

    /// Whose ids of events an id of this event is told apart from: the scope fields that all rules to publish by limit, with the
    /// event's ids, such as `organizationId=quant userId=u1`. `None` for a grant that publishes everything. Ask with the event that
    /// [`Grant::admit`] gave.
    pub fn publish_namespace(&self, event: &NewEvent) -> Option<Box<str>> {
        let rules = match &self.0.publish {
            Reach::Everything => return None,
            Reach::Within(rules) => rules,
        };
        let is_common = |field: &ScopeField| rules.iter().all(|rule| rule.ids(*field).is_some());
        let named = |field: ScopeField| Some(format!("{}={}", field.camel(), event.scope().get(field)?));
        let fields: Vec<_> = ScopeField::ALL.into_iter().filter(is_common).filter_map(named).collect();
        // Those who share no field are together, but apart from those who publish everything.
        Some(if fields.is_empty() { "limited".into() } else { fields.join(" ").into() })
    }

    /// The ids that the grant fixes: in each field the one on which all its rules agree, those to read by and those to publish by.
    /// A grant that reads or publishes everything fixes none.
    pub fn fixed_scope(&self) -> Scope {
        let mut scope = Scope::default();
        if let (Reach::Within(read), Reach::Within(publish)) = (&self.0.read, &self.0.publish) {
            let rules: Vec<&Rule> = read.iter().chain(publish.iter()).collect();
            for field in ScopeField::ALL {
                if let Some(id) = publishing::agreed(field, &rules) {
                    // What a rule names as an id is one.
                    let _ = scope.set(field, id);
                }
            }
        }
        scope
    }

    /// May every event of this type that has these ids be read, whatever its other ids are?
    pub fn reads_all(&self, event_type: &EventType, ids: &Scope) -> bool {
        self.0.read.takes_all(event_type, ids)
    }

    /// May every event of this type that has these ids be published, whatever its other ids are?
    pub fn publishes_all(&self, event_type: &EventType, ids: &Scope) -> bool {
        self.0.publish.takes_all(event_type, ids)
    }

    /// Is it by the id in this field that the event may be published? Such an id is in the grant itself.
    pub fn names(&self, event: &NewEvent, field: ScopeField) -> bool {
        match &self.0.publish {
            Reach::Everything => false,
            Reach::Within(rules) => rules.iter().any(|rule| rule.ids(field).is_some() && rule.allows(event)),
        }
    }

    /// What may be read, on one line for people.
    pub fn readable(&self) -> String {
        match &self.0.read {
            Reach::Everything => "everything".to_owned(),
            Reach::Within(rules) if rules.iter().len() == 0 => "nothing".to_owned(),
            Reach::Within(rules) => rules.iter().map(rule_text).collect::<Vec<_>>().join("; "),
        }
    }

    fn refusal(&self, verb: &str, clash: Clash) -> Refusal {
        let Clash { field, given, allowed } = clash;
        let is_elsewhere = given.iter().any(|given| allowed.contains(given));
        let other = if is_elsewhere { ", but not with the other fields as given" } else { "" };
        let (given, allowed) = (excerpt(&listed(&given)), format!("{}{other}", listed(&allowed)));
        let origin = &self.0.origin;
        let message = format!(
            "{field}: {given} is not within the grant, which may {verb} {allowed}; it comes from {origin}"
        );
        Refusal::new(Code::Forbidden, message)
            .with("field", field)
            .with("given", given)
            .with("allowed", allowed)
            .with("grant", &**origin)
    }
}

/// Why nothing is left: the field, what was given of it, and what the rules allow of it.
#[derive(Debug)]
struct Clash {
    field: &'static str,
    /// Empty: nothing was given.
    given: BTreeSet<String>,
    allowed: BTreeSet<String>,
}

/// The most items of a list that a refusal or an explanation shows.
const SHOWN_MAX: usize = 16;

fn listed(items: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = items.iter().take(SHOWN_MAX).map(String::as_str).collect();
    match items.len() {
        0 => "nothing".to_owned(),
        count if count > SHOWN_MAX => format!("{} and {} more", shown.join(", "), count - SHOWN_MAX),
        _ => shown.join(", "),
    }
}

/// A line for each rule: `read: types agent.* in organizationId quant`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (verb, reach) in [("read", &self.0.read), ("publish", &self.0.publish)] {
            match reach {
                Reach::Everything => writeln!(f, "{verb}: everything")?,
                Reach::Within(rules) if rules.iter().len() == 0 => writeln!(f, "{verb}: nothing")?,
                Reach::Within(rules) => {
                    rules.iter().try_for_each(|rule| writeln!(f, "{verb}: {}", rule_text(rule)))?;
                }
            }
        }
        write!(f, "admin: {}", if self.0.is_admin { "yes" } else { "no" })
    }
}

fn rule_text(rule: &Rule) -> String {
    let set = |items: &mut dyn Iterator<Item = &str>| listed(&items.map(str::to_owned).collect());
    let types = match rule.types() {
        None => "every type".to_owned(),
        Some(patterns) => format!("types {}", set(&mut patterns.iter().map(|pattern| pattern.as_str()))),
    };
    let scope: Vec<_> =
        rule.scope_ids().map(|(field, ids)| format!("{} {}", field.camel(), set(&mut ids.iter()))).collect();
    match scope.as_slice() {
        [] => types,
        scope => format!("{types} in {}", scope.join(" and ")),
    }
}

#[cfg(test)]
#[path = "grant/grant_tests.rs"]
mod tests;
