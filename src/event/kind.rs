//! What an event is called: its [`EventType`], the [`TypePattern`]s that select types, and the [`Family`] of a type.
//!
//! Invariants: a type has 1 to 8 dotted segments of `[A-Za-z0-9_-]` and at most 128 bytes; a pattern is a type in which
//! segments may be `*`. Both are checked once, when parsed.

use crate::error::{Code, Refusal};
use std::{fmt, sync::Arc};

/// The most bytes of a type or pattern.
pub const TYPE_BYTES_MAX: usize = 128;
/// The most segments of a type or pattern.
pub const TYPE_SEGMENTS_MAX: usize = 8;

const TYPE_RULE: &str = "1 to 8 segments of A-Z a-z 0-9 _ - joined by dots, 128 bytes at most";
const PATTERN_RULE: &str =
    "a type whose segments may be *, such as agent.*, *.created or *; 1 to 8 segments, 128 bytes at most";

/// The dotted name of what happened, such as `task.created`. Cloning shares the text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Checks a type; `field` names it in the refusal, which has code `INVALID_EVENT`.
    pub fn parse(text: &str, field: &str) -> Result<Self, Refusal> {
        if is_dotted(text, is_plain) {
            return Ok(EventType(text.into()));
        }
        let rule = match text.contains(':') && is_dotted(&text.replace(':', "."), is_plain) {
            true => format!("{TYPE_RULE}; the colon form is written {:?} here", text.replace(':', ".")),
            false => TYPE_RULE.to_owned(),
        };
        Err(Refusal::field(Code::InvalidEvent, field, text, rule))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// The family that its first segment names.
    pub fn family(&self) -> Family {
        Family::of(self.segments().next().unwrap_or_default())
    }

    /// The type without its first segment: `created` of `task.created`; a type of one segment is its own action.
    pub fn action(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(_, action)| action)
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of types. `*` alone matches all; a last segment `*` matches one or more remaining segments; `*` elsewhere
/// matches exactly one segment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypePattern(Arc<str>);

impl TypePattern {
    /// Checks a pattern; `field` names it in the refusal, which has code `INVALID_FILTER`.
    pub fn parse(text: &str, field: &str) -> Result<Self, Refusal> {
        match is_dotted(text, |segment| segment == "*" || is_plain(segment)) {
            true => Ok(TypePattern(text.into())),
            false => Err(Refusal::field(Code::InvalidFilter, field, text, PATTERN_RULE)),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, in order; `*` stands for any.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Is the type in this set?
    pub fn matches(&self, event_type: &EventType) -> bool {
        let mut types = event_type.segments();
        let mut patterns = self.segments().peekable();
        while let Some(pattern) = patterns.next() {
            let Some(segment) = types.next() else { return false };
            if pattern == "*" && patterns.peek().is_none() {
                return true;
            }
            if pattern != "*" && pattern != segment {
                return false;
            }
        }
        types.next().is_none()
    }

    /// Can a type be in both sets? `false` is proven; `true` leaves aside how long a type may be.
    pub fn intersects(&self, other: &TypePattern) -> bool {
        let (mut ours, mut theirs) = (self.segments().peekable(), other.segments().peekable());
        loop {
            let (own, their) = match (ours.next(), theirs.next()) {
                (Some(own), Some(their)) => (own, their),
                (None, None) => return true,
                (Some(_), None) | (None, Some(_)) => return false,
            };
            let takes_the_rest =
                own == "*" && ours.peek().is_none() || their == "*" && theirs.peek().is_none();
            if takes_the_rest {
                return true;
            }
            if own != "*" && their != "*" && own != their {
                return false;
            }
        }
    }

    /// Can a type of the family be in this set?
    pub fn meets_family(&self, family: Family) -> bool {
        let first = self.segments().next().unwrap_or_default();
        first == "*" || Family::of(first) == family
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_dotted(text: &str, is_segment: impl Fn(&str) -> bool) -> bool {
    let mut segments = text.split('.');
    text.len() <= TYPE_BYTES_MAX
        && segments.by_ref().take(TYPE_SEGMENTS_MAX).all(is_segment)
        && segments.next().is_none()
}

fn is_plain(segment: &str) -> bool {
    !segment.is_empty()
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident $segment:literal $types:expr;)*) => {
        /// The family of a type, by its first segment; GraphQL has one object for each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family {
            $($(#[$doc])* $variant,)*
            /// Every type whose first segment names no family above.
            Custom,
        }

        impl Family {
            /// Every family, `Custom` last.
            pub const ALL: &'static [Family] = &[$(Family::$variant,)* Family::Custom];

            /// Those in which a server tells about itself.
            pub const OF_SERVERS: &'static [Family] =
                &[Family::Presence, Family::Health, Family::System, Family::Performance, Family::Graphql];

            /// The family that a first segment names.
            pub fn of(segment: &str) -> Family {
                match segment {
                    $($segment => Family::$variant,)*
                    _ => Family::Custom,
                }
            }

            /// The first segment of the family's types; `Custom` has none.
            pub const fn segment(self) -> Option<&'static str> {
                match self {
                    $(Family::$variant => Some($segment),)*
                    Family::Custom => None,
                }
            }

            /// The actions (types without the first segment) that the systems in the field publish.
            pub const fn actions(self) -> &'static [&'static str] {
                match self {
                    $(Family::$variant => &$types,)*
                    Family::Custom => &[],
                }
            }
        }
    };
}

families! {
    /// Who is connected.
    Presence "presence" ["connected", "disconnected", "changed"];
    /// How the server does.
    Health "health" ["snapshot"];
    /// Agents and their runs.
    Agent "agent" ["created", "updated", "deleted", "status_changed", "spawned", "started", "paused", "resumed",
        "completed", "failed", "killed", "log", "metric"];
    /// Organizations.
    Organization "organization" ["created", "updated", "deleted"];
    /// Domains of an organization.
    Domain "domain" ["created", "updated", "deleted"];
    /// Running instances.
    Instance "instance" ["created", "updated", "deleted"];
    /// Deployments.
    Deployment "deployment" ["started", "completed", "failed"];
    /// Users.
    User "user" ["created", "updated", "deleted"];
    /// Tasks that agents work on.
    Task "task" ["created", "started", "progress", "completed", "failed", "cancelled", "status", "deleted"];
    /// Workflows of several steps.
    Workflow "workflow" ["started", "step_completed", "completed", "failed", "paused", "resumed"];
    /// The platform's own processes.
    System "system" ["daemon_started", "daemon_stopping", "health_check", "metrics_update",
        "connection_established", "connection_closed", "error"];
    /// Entries of a state store.
    State "state" ["created", "updated", "deleted"];
    /// Chat.
    Chat "chat" ["message"];
    /// Sessions with a coding model.
    Claude "claude" ["session.started", "session.completed", "session.failed", "command.executed",
        "agentRun.progress"];
    /// Source repositories.
    Repository "repo" ["status.queried", "commit.created", "push.completed", "scan.completed"];
    /// GitHub: its API and its webhooks.
    Github "github" ["api.started", "api.completed", "workflow.triggered"];
    /// GraphQL operations.
    Graphql "graphql" ["query.started", "query.completed", "mutation.started", "mutation.completed",
        "subscription.started", "subscription.completed"];
    /// Measurements that crossed a limit.
    Performance "performance" ["slowOperation.detected"];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word, on lists: slow and plain.
    fn oracle(pattern: &[&str], segments: &[&str]) -> bool {
        match pattern {
            ["*"] => !segments.is_empty(),
            [] => segments.is_empty(),
            [first, rest @ ..] => match segments {
                [segment, others @ ..] => (*first == "*" || first == segment) && oracle(rest, others),
                [] => false,
            },
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_naive_oracle_says(
            pattern in prop::collection::vec(prop::sample::select(vec!["*", "a", "b", "task"]), 1..8),
            segments in prop::collection::vec(prop::sample::select(vec!["a", "b", "task"]), 1..8),
        ) {
            let parsed = TypePattern::parse(&pattern.join("."), "p").unwrap();
            let event_type = EventType::parse(&segments.join("."), "t").unwrap();
            prop_assert_eq!(parsed.matches(&event_type), oracle(&pattern, &segments));
        }

        #[test]
        fn a_type_is_accepted_exactly_by_its_definition(text in "[a-zA-Z0-9_.*: -]{0,140}") {
            let segments: Vec<&str> = text.split('.').collect();
            let right = text.len() <= 128 && segments.len() <= 8 && segments.iter().all(|segment|
                !segment.is_empty() && segment.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'));
            prop_assert_eq!(EventType::parse(&text, "type").is_ok(), right);
        }
    }

    /// Every type of up to five segments over the letters of the patterns, and one letter that no pattern names.
    fn small_types() -> Vec<EventType> {
        let mut all: Vec<String> = Vec::new();
        let mut longest = vec![String::new()];
        for _ in 0..5 {
            let longer = |text: &String| ["a", "b", "z"].map(|end| format!("{text}.{end}"));
            longest = longest.iter().flat_map(longer).collect();
            all.extend(longest.iter().map(|text| text[1..].to_owned()));
        }
        all.iter().map(|text| EventType::parse(text, "t").unwrap()).collect()
    }

    #[test]
    fn patterns_intersect_exactly_when_some_type_is_in_both() {
        let types = small_types();
        let mut patterns = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..4 {
            let longer = |text: &String| ["*", "a", "b"].map(|end| format!("{text}.{end}"));
            patterns = patterns.iter().flat_map(longer).collect();
            all.extend(patterns.iter().map(|text| TypePattern::parse(&text[1..], "p").unwrap()));
        }
        // What a pattern matches, a bit for each type.
        let sets: Vec<Vec<bool>> =
            all.iter().map(|pattern| types.iter().map(|one| pattern.matches(one)).collect()).collect();
        for (one, of_one) in all.iter().zip(&sets) {
            for (other, of_other) in all.iter().zip(&sets) {
                let common = of_one.iter().zip(of_other).any(|(one, other)| *one && *other);
                assert_eq!(one.intersects(other), common, "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_pattern_meets_a_family_exactly_when_it_names_its_segment_or_none() {
        let meets = |pattern: &str, family| TypePattern::parse(pattern, "p").unwrap().meets_family(family);
        assert!(
            meets("task.*", Family::Task) && meets("*.created", Family::Task) && meets("*", Family::Custom)
        );
        assert!(meets("billing.*", Family::Custom));
        assert!(
            !meets("task.*", Family::Agent) && !meets("task", Family::Custom) && !meets("x", Family::Task)
        );
    }

    #[test]
    fn the_designs_examples_hold() {
        let cases = [
            ("*", "task.created", true),
            ("claude.*", "claude.session.started", true),
            ("claude.*", "claude", false),
            ("*.created", "task.created", true),
            ("*.created", "repo.commit.created", false),
            ("repo.*.created", "repo.commit.created", true),
            ("task", "task.created", false),
        ];
        for (pattern, event_type, expected) in cases {
            let matched = TypePattern::parse(pattern, "p")
                .unwrap()
                .matches(&EventType::parse(event_type, "t").unwrap());
            assert_eq!(matched, expected, "{pattern} {event_type}");
        }
    }

    #[test]
    fn a_refused_type_names_field_given_allowed_and_the_dotted_form_of_a_colon() {
        let refusal = EventType::parse("task:created", "events[3].type").unwrap_err();
        assert_eq!(refusal.detail("field"), Some("events[3].type"));
        assert_eq!(refusal.detail("given"), Some("task:created"));
        assert!(refusal.detail("allowed").unwrap().contains("task.created"));
    }

    #[test]
    fn every_known_type_is_a_valid_type_of_its_family() {
        for family in Family::ALL {
            for action in family.actions() {
                let event_type =
                    EventType::parse(&format!("{}.{action}", family.segment().unwrap()), "t").unwrap();
                assert_eq!(event_type.family(), *family);
                assert_eq!(event_type.action(), *action);
            }
        }
    }
}
