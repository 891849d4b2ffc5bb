//! Who is here, who is in which room, and of whom readers have not been told yet: a state machine without tasks or clocks.
//!
//! Flow: a connection gets known, follows, does something, leaves; [`Roster::take`] gives what readers have to be told of that.
//! Invariants: a connection waits at most once to be told about, and what has changed back by then is not told; of one that came
//! and left meanwhile nothing is told; one that left is forgotten once that is told. So what is kept is bounded by the
//! connections that were open at a time, however long nothing can be told.

use super::{
    connection::{Connection, ConnectionId, Status},
    room::{ROOMS_MAX, Room},
};
use crate::auth::Principal;
use chrono::{DateTime, Utc};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

/// Every connection that is present, and what readers know of it.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<ConnectionId, Entry>,
    rooms: BTreeMap<Room, Members>,
    /// Of whom something is to be told, in the order in which that began.
    untold: BTreeMap<u64, ConnectionId>,
    turns_given: u64,
    /// Is there anybody to tell?
    is_told: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// None before it is known who speaks, and after it has left.
    now: Option<Arc<Connection>>,
    /// As readers know it.
    told: Option<Arc<Connection>>,
    /// The rooms of its subscriptions in order, with how many of these are in each.
    followed: Vec<(Room, u32)>,
    /// Its turn in [`Roster::untold`].
    turn: Option<u64>,
}

/// Most rooms are those of users with one connection.
#[derive(Debug)]
enum Members {
    One(ConnectionId),
    Many(BTreeSet<ConnectionId>),
}

/// What readers have to be told of a connection.
#[derive(Debug)]
pub(super) struct Untold {
    id: ConnectionId,
    /// As readers know it; none if they do not.
    pub(super) before: Option<Arc<Connection>>,
    /// As it is; none if it has left.
    pub(super) now: Option<Arc<Connection>>,
}

impl Roster {
    /// Nobody. `is_told`: will [`Roster::take`] be called?
    pub(super) fn new(is_told: bool) -> Self {
        Roster { is_told, ..Roster::default() }
    }

    /// It is known whose connection it is, for the first time or anew.
    pub(super) fn know(
        &mut self,
        id: ConnectionId,
        protocol: &'static str,
        since: DateTime<Utc>,
        principal: &Principal,
    ) {
        let user = principal.signed_in().map(|user| self.shared(Room::of_user(user)));
        let entry = self.entries.entry(id).or_default();
        let followed = entry.followed.iter().map(|(room, _)| room);
        let now = match &entry.now {
            Some(now) => now.known_as(principal, user).in_rooms(followed),
            None => Connection::first(id, protocol, since, (principal, user), followed),
        };
        self.put(id, Some(now));
    }

    /// It does something else; says whether it is present.
    pub(super) fn set_status(&mut self, id: ConnectionId, status: Status) -> bool {
        let Some(now) = self.find(id) else { return false };
        if now.status != status {
            let now = now.with_status(status);
            self.put(id, Some(now));
        }
        true
    }

    /// A subscription of it is in these rooms from now on. Gives those that it has entered; beyond [`ROOMS_MAX`] it enters none.
    pub(super) fn enter(&mut self, id: ConnectionId, rooms: Vec<Room>) -> Box<[Room]> {
        let mut entered = Vec::with_capacity(rooms.len());
        for room in rooms {
            let room = self.shared(room);
            let followed = &mut self.entries.entry(id).or_default().followed;
            match followed.binary_search_by(|(own, _)| own.cmp(&room)) {
                Ok(at) => followed.get_mut(at).into_iter().for_each(|(_, count)| *count += 1),
                Err(_) if followed.len() >= ROOMS_MAX => continue,
                Err(at) => followed.insert(at, (room.clone(), 1)),
            }
            entered.push(room);
        }
        self.follow(id);
        entered.into()
    }

    /// A subscription of it that was in these rooms is over.
    pub(super) fn exit(&mut self, id: ConnectionId, rooms: &[Room]) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        for room in rooms {
            if let Ok(at) = entry.followed.binary_search_by(|(own, _)| own.cmp(room))
                && let Some((_, count)) = entry.followed.get_mut(at)
            {
                *count -= 1;
                if *count == 0 {
                    entry.followed.remove(at);
                }
            }
        }
        self.follow(id);
    }

    /// It has left.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        self.put(id, None);
    }

    /// The connection as it is, if it is present.
    pub(super) fn find(&self, id: ConnectionId) -> Option<&Arc<Connection>> {
        self.entries.get(&id)?.now.as_ref()
    }

    /// How many are present.
    pub(super) fn len(&self) -> usize {
        self.entries.values().filter(|entry| entry.now.is_some()).count()
    }

    /// So many of those present, of a room or of all, in the order of their ids.
    pub(super) fn some(
        &self,
        room: Option<&str>,
        after: Option<ConnectionId>,
        most: usize,
    ) -> Vec<Arc<Connection>> {
        let present = |id: &ConnectionId| self.find(*id).cloned();
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let Some(room) = room else {
            let entries = self.entries.range(range);
            return entries.filter_map(|(_, entry)| entry.now.clone()).take(most).collect();
        };
        match self.rooms.get(room) {
            None => Vec::new(),
            Some(Members::One(id)) => Some(id)
                .filter(|id| after.is_none_or(|after| **id > after))
                .and_then(present)
                .into_iter()
                .collect(),
            Some(Members::Many(ids)) => ids.range(range).filter_map(present).take(most).collect(),
        }
    }

    /// So many rooms that somebody is in, in the order of their names.
    pub(super) fn some_rooms(&self, after: Option<&str>, most: usize) -> Vec<Room> {
        let after = after.map_or(Unbounded, Excluded);
        self.rooms.range::<str, _>((after, Unbounded)).take(most).map(|(room, _)| room.clone()).collect()
    }

    /// What is to be told of up to so many connections. It counts as told unless it is given back.
    pub(super) fn take(&mut self, most: usize) -> Vec<Untold> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, id)) = self.untold.pop_first()
        {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.turn = None;
            let before = std::mem::replace(&mut entry.told, entry.now.clone());
            let now = entry.now.clone();
            self.forget_if_over(id);
            taken.push(Untold { id, before, now });
        }
        taken
    }

    /// Takes back what could not be told.
    pub(super) fn give_back(&mut self, untold: Vec<Untold>) {
        for Untold { id, before, .. } in untold {
            self.entries.entry(id).or_default().told = before;
            self.mark(id);
            self.forget_if_over(id);
        }
    }

    /// Its rooms as those of its subscriptions are.
    fn follow(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get(&id) else { return };
        let Some(now) = &entry.now else { return self.forget_if_over(id) };
        let next = now.in_rooms(entry.followed.iter().map(|(room, _)| room));
        if next.rooms != now.rooms {
            self.put(id, Some(next));
        }
    }

    fn put(&mut self, id: ConnectionId, now: Option<Connection>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let now = now.map(Arc::new);
        let before = std::mem::replace(&mut entry.now, now.clone());
        let rooms = |connection: &Option<Arc<Connection>>| -> Vec<Room> {
            connection.iter().flat_map(|connection| connection.all_rooms()).cloned().collect()
        };
        let (old, new) = (rooms(&before), rooms(&now));
        old.iter().filter(|room| !new.contains(room)).for_each(|room| self.take_out(room, id));
        new.into_iter().filter(|room| !old.contains(room)).for_each(|room| self.put_in(room, id));
        self.mark(id);
        self.forget_if_over(id);
    }

    /// There is something to tell of it, unless it comes to nothing.
    fn mark(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|_| self.is_told) else { return };
        match (entry.turn, entry.now.is_none() && entry.told.is_none()) {
            (None, false) => {
                self.turns_given += 1;
                entry.turn = Some(self.turns_given);
                self.untold.insert(self.turns_given, id);
            }
            (Some(turn), true) => {
                entry.turn = None;
                self.untold.remove(&turn);
            }
            (None, true) | (Some(_), false) => {}
        }
    }

    fn forget_if_over(&mut self, id: ConnectionId) {
        let is_over = |entry: &Entry| {
            entry.now.is_none() && entry.told.is_none() && entry.followed.is_empty() && entry.turn.is_none()
        };
        if self.entries.get(&id).is_some_and(is_over) {
            self.entries.remove(&id);
        }
    }

    fn put_in(&mut self, room: Room, id: ConnectionId) {
        match self.rooms.get_mut(&room) {
            None => {
                self.rooms.insert(room, Members::One(id));
            }
            Some(Members::Many(ids)) => {
                ids.insert(id);
            }
            Some(one @ Members::One(_)) => {
                if let Members::One(other) = *one {
                    *one = Members::Many(BTreeSet::from([other, id]));
                }
            }
        }
    }

    fn take_out(&mut self, room: &Room, id: ConnectionId) {
        let is_empty = match self.rooms.get_mut(room) {
            None => return,
            Some(Members::One(_)) => true,
            Some(Members::Many(ids)) => {
                ids.remove(&id);
                ids.is_empty()
            }
        };
        if is_empty {
            self.rooms.remove(room);
        }
    }

    /// The same room with the name that is there already.
    fn shared(&self, room: Room) -> Room {
        self.rooms.get_key_value(&room).map_or(room, |(known, _)| known.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Roster {
        /// How many entries, rooms and waiting ones are held.
        pub(in crate::platform) fn held(&self) -> (usize, usize, usize) {
            (self.entries.len(), self.rooms.len(), self.untold.len())
        }
    }

    /// An idle connection should cost little: this is what the presence of a signed-in user with one connection adds to it. Trees
    /// are two thirds full on average.
    #[test]
    fn to_be_present_costs_less_than_300_bytes() {
        let (counts, name) = (2 * size_of::<usize>(), 16);
        let connection = counts + size_of::<Connection>();
        let (entry, room) = (size_of::<(ConnectionId, Entry)>(), size_of::<(Room, Members)>());
        let in_all = connection + (entry + room) * 3 / 2 + counts + name;
        assert!(in_all <= 300, "{in_all} bytes");
    }
}
