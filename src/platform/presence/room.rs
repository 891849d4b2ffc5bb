//! What people are in together: a task, a chat, or what concerns one user.

use crate::event::{EventFilter, ScopeField};
use std::{borrow::Borrow, fmt, sync::Arc};

/// The most rooms of one connection; a subscription that names more is in the first ones.
pub const ROOMS_MAX: usize = 32;

/// The scope fields that are rooms, with the first part of a room's name.
const KINDS: [(ScopeField, &str); 3] =
    [(ScopeField::Task, "task"), (ScopeField::User, "user"), (ScopeField::Room, "room")];

/// A room: `task:<id>`, `user:<id>` or `room:<id>`. An event with that id is in it. Cloning shares the name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// The room of an id; none for a scope field that is no room.
    pub fn of(field: ScopeField, id: &str) -> Option<Self> {
        let (_, kind) = KINDS.into_iter().find(|(kind, _)| *kind == field)?;
        Some(Room(format!("{kind}:{id}").into()))
    }

    /// The room of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, id) = name.split_once(':')?;
        let (field, _) = KINDS.into_iter().find(|(_, name)| *name == kind)?;
        Room::of(field, id).filter(|_| !id.is_empty())
    }

    /// What concerns one user.
    pub(super) fn of_user(id: &str) -> Self {
        Room(format!("user:{id}").into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.name()).finish()
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The rooms that a filter names, as far as the grants that limit it allow: whoever follows it hears what is in them.
pub(super) fn named_by(filter: &EventFilter) -> Vec<Room> {
    let is_granted = |field: ScopeField, id: &str| {
        let allows = |ids: Option<&crate::event::Ids>| ids.is_none_or(|ids| ids.contains(id));
        filter.grants().iter().all(|rules| rules.iter().any(|rule| allows(rule.ids(field))))
    };
    let alternatives = filter.any_of().unwrap_or_default().iter().flat_map(EventFilter::scope_ids);
    let named = filter.scope_ids().chain(alternatives).flat_map(|(field, ids)| {
        ids.iter().filter(move |id| is_granted(field, id)).filter_map(move |id| Room::of(field, id))
    });
    let mut rooms: Vec<Room> = named.take(ROOMS_MAX).collect();
    rooms.sort_unstable();
    rooms.dedup();
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AlternativeDraft, FilterDraft, Rule, Rules};

    fn ids(ids: &[&str]) -> Option<Vec<String>> {
        Some(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    fn names(filter: &EventFilter) -> Vec<String> {
        named_by(filter).iter().map(|room| room.name().to_owned()).collect()
    }

    #[test]
    fn a_filter_names_the_rooms_of_its_tasks_users_and_rooms_in_alternatives_too() {
        let alternative =
            AlternativeDraft { user_id: ids(&["ada"]), task_id: ids(&["t1"]), ..Default::default() };
        let draft = FilterDraft {
            task_id: ids(&["t2", "t1"]),
            room_id: ids(&["r1"]),
            agent_id: ids(&["a1"]),
            any_of: Some(vec![alternative]),
            ..Default::default()
        };
        let filter = EventFilter::new(draft).unwrap();
        assert_eq!(names(&filter), ["room:r1", "task:t1", "task:t2", "user:ada"]);
        assert_eq!(names(&EventFilter::default()), [""; 0]);
    }

    #[test]
    fn nobody_is_in_a_room_that_the_grant_does_not_allow() {
        let draft = FilterDraft { task_id: ids(&["t1", "t2"]), room_id: ids(&["r1"]), ..Default::default() };
        let rule = Rule::default().with_ids(ScopeField::Task, vec!["t1".to_owned()]).unwrap();
        let filter = EventFilter::new(draft).unwrap().granted(&Rules::new(vec![rule]).unwrap());
        assert_eq!(names(&filter), ["room:r1", "task:t1"]);
    }

    #[test]
    fn a_connection_is_in_no_more_rooms_than_it_may() {
        let many: Vec<String> = (0..100).map(|id| id.to_string()).collect();
        let filter = EventFilter::new(FilterDraft { room_id: Some(many), ..Default::default() }).unwrap();
        assert_eq!(names(&filter).len(), ROOMS_MAX);
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for name in ["task:t1", "user:a:b", "room:r1"] {
            assert_eq!(Room::parse(name).map(|room| room.name().to_owned()).as_deref(), Some(name));
        }
        for bad in ["", "t1", "task:", "agent:a1", "Task:t1"] {
            assert_eq!(Room::parse(bad), None, "{bad}");
        }
    }
}
