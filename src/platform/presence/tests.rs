//! The roster against a model, what it holds, and what is told of it.

use super::{
    connection::{Connection, News},
    roster::Roster,
    *,
};
use crate::{
    auth::{Credential, Grant, View},
    event::{EventType, Rule, ScopeField},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NAMES: [&str; 4] = ["task:t1", "room:r1", "user:ada", "user:bob"];

/// Somebody; without a name nobody in particular. Each organization has its own people.
fn principal(subject: Option<&str>, organization: Option<&str>) -> Principal {
    let credential = match subject {
        Some(_) => Credential::Token { id: None, key: "k".into() },
        None => Credential::None,
    };
    let grant = match organization {
        None => Grant::everything(),
        Some(id) => {
            let rule = Rule::default().with_ids(ScopeField::Organization, vec![id.to_owned()]).unwrap();
            Grant::new(vec![rule], Vec::new(), false).unwrap()
        }
    };
    Principal::new(subject.unwrap_or("anonymous"), credential, grant, View::whole(), None)
}

/// What happens to a connection.
#[derive(Clone, Debug)]
enum Step {
    Know(Option<&'static str>, Option<&'static str>),
    Say(Status),
    Enter(Vec<usize>),
    Exit(usize),
    Leave,
    /// Readers are told of so many; or they are not, and it is given back.
    Tell(usize, bool),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let user = prop::sample::select(vec![None, Some("ada"), Some("bob")]);
    let organization = prop::sample::select(vec![None, Some("acme"), Some("bolt")]);
    let step = prop_oneof![
        3 => (user, organization).prop_map(|(user, organization)| Step::Know(user, organization)),
        2 => prop::sample::select(vec![Status::Online, Status::Away]).prop_map(Step::Say),
        3 => prop::collection::vec(0..NAMES.len(), 1..3).prop_map(Step::Enter),
        2 => (0..3_usize).prop_map(Step::Exit),
        2 => Just(Step::Leave),
        2 => (1..4_usize, any::<bool>()).prop_map(|(most, is_told)| Step::Tell(most, is_told)),
    ];
    (0..5_u64, step)
}

/// A connection as the model has it.
#[derive(Clone, Debug, Default)]
struct Modelled {
    /// Who, where and doing what, while it is present.
    present: Option<(Option<&'static str>, Option<&'static str>, Status)>,
    /// The rooms of each open subscription.
    stays: Vec<Vec<usize>>,
}

impl Modelled {
    fn rooms(&self) -> BTreeSet<&'static str> {
        self.stays.iter().flatten().map(|room| NAMES[*room]).collect()
    }

    /// What readers of everything know: its user, organization, status and rooms.
    fn shown(&self) -> Option<Known> {
        let (user, organization, status) = self.present?;
        let own = user.map(|user| format!("user:{user}"));
        let rooms = self.rooms().into_iter().filter(|room| Some(*room) != own.as_deref());
        let text = |id: Option<&str>| id.map(str::to_owned);
        Some((text(user), text(organization), status.name().to_owned(), rooms.map(str::to_owned).collect()))
    }
}

type Known = (Option<String>, Option<String>, String, Vec<String>);

/// What a reader makes of the events that it is told.
#[derive(Debug, Default)]
struct Reading(BTreeMap<String, Known>);

impl Reading {
    fn read(&mut self, event: &NewEvent) {
        let data: serde_json::Value = serde_json::from_str(event.data().as_str()).unwrap();
        let id = |field| event.scope().get(field).map(str::to_owned);
        let rooms = data["rooms"].as_array().unwrap().iter().map(|room| room.as_str().unwrap().to_owned());
        let status = data["status"].as_str().unwrap().to_owned();
        let known = (id(ScopeField::User), id(ScopeField::Organization), status, rooms.collect());
        let connection = data["connectionId"].as_str().unwrap().to_owned();
        assert_eq!((event.subject(), event.is_persistent()), (Some(&*connection), false));
        match event.event_type().action() {
            "connected" => assert_eq!(self.0.insert(connection, known), None, "it was there already"),
            "changed" => {
                let before = self.0.insert(connection, known.clone()).expect("it was there");
                assert_ne!(before, known, "nothing has changed");
                assert_eq!((before.0, before.1), (known.0, known.1), "it has moved without a word");
            }
            "disconnected" => {
                let before = self.0.remove(&connection).expect("it was there");
                assert_eq!((before.0, before.1, "offline".to_owned(), before.3), known);
            }
            other => panic!("{other}"),
        }
    }
}

/// A roster beside its model, and three readers: of everything, of Acme and of Bolt.
struct World {
    roster: Roster,
    model: BTreeMap<u64, Modelled>,
    stays: BTreeMap<u64, Vec<Box<[Room]>>>,
    readers: [(Option<&'static str>, Reading); 3],
}

impl World {
    fn new() -> Self {
        let readers =
            [None, Some("acme"), Some("bolt")].map(|organization| (organization, Reading::default()));
        World { roster: Roster::new(true), model: BTreeMap::new(), stays: BTreeMap::new(), readers }
    }

    fn go(&mut self, number: u64, step: &Step) {
        let (id, modelled) = (ConnectionId::new(number), self.model.entry(number).or_default());
        match step {
            Step::Know(user, organization) => {
                let status = modelled.present.map_or(Status::Online, |(_, _, status)| status);
                modelled.present = Some((*user, *organization, status));
                self.roster.know(id, "test", Utc::now(), &principal(*user, *organization));
            }
            Step::Say(status) => {
                let is_present = modelled.present.is_some();
                modelled.present.iter_mut().for_each(|(_, _, own)| *own = *status);
                assert_eq!(self.roster.set_status(id, *status), is_present);
            }
            Step::Enter(rooms) => {
                modelled.stays.push(rooms.clone());
                let named = rooms.iter().map(|room| Room::parse(NAMES[*room]).unwrap());
                let entered = self.roster.enter(id, named.collect());
                self.stays.entry(number).or_default().push(entered);
            }
            Step::Exit(nth) => {
                let stays = self.stays.entry(number).or_default();
                if *nth < stays.len() {
                    modelled.stays.remove(*nth);
                    self.roster.exit(id, &stays.remove(*nth));
                }
            }
            Step::Leave => {
                modelled.present = None;
                self.roster.leave(id);
            }
            Step::Tell(most, is_told) => {
                let untold = self.roster.take(*most);
                match is_told {
                    true => self.told(&untold.iter().flat_map(news).collect::<Vec<_>>()),
                    false => self.roster.give_back(untold),
                }
            }
        }
    }

    fn told(&mut self, events: &[NewEvent]) {
        for (organization, reading) in &mut self.readers {
            let is_due = |event: &&NewEvent| {
                organization.is_none_or(|own| event.scope().get(ScopeField::Organization) == Some(own))
            };
            events.iter().filter(is_due).for_each(|event| reading.read(event));
        }
    }

    /// Everybody is told everything; then all agree.
    fn settle(&mut self) {
        loop {
            let untold = self.roster.take(3);
            if untold.is_empty() {
                break;
            }
            self.told(&untold.iter().flat_map(news).collect::<Vec<_>>());
        }
        let shown = |number: &u64, modelled: &Modelled| {
            Some((ConnectionId::new(*number).to_string(), modelled.shown()?))
        };
        let present: BTreeMap<String, Known> =
            self.model.iter().filter_map(|(number, modelled)| shown(number, modelled)).collect();
        for (organization, reading) in &self.readers {
            let is_due = |known: &Known| organization.is_none_or(|own| known.1.as_deref() == Some(own));
            let due: BTreeMap<_, _> = present
                .iter()
                .filter(|(_, known)| is_due(known))
                .map(|(id, known)| (id.clone(), known.clone()))
                .collect();
            assert_eq!(reading.0, due, "as a reader of {organization:?} has it");
        }
        assert_eq!(self.roster.len(), present.len());
        for name in NAMES {
            let is_in = |modelled: &&Modelled| {
                let own = modelled.present.and_then(|(user, ..)| user).map(|user| format!("user:{user}"));
                modelled.present.is_some()
                    && (modelled.rooms().contains(name) || own.as_deref() == Some(name))
            };
            let due = self.model.values().filter(is_in).count();
            assert_eq!(self.roster.some(Some(name), None, 100).len(), due, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_readers_come_to_know_who_is_where_and_nobody_else(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for (number, step) in &steps {
            world.go(*number, step);
            if number % 3 == 0 {
                world.settle();
            }
        }
        world.settle();
        for number in 0..5 {
            world.go(number, &Step::Leave);
            while world.stays.get(&number).is_some_and(|stays| !stays.is_empty()) {
                world.go(number, &Step::Exit(0));
            }
        }
        world.settle();
        prop_assert_eq!(world.roster.held(), (0, 0, 0), "something is left of nobody");
    }
}

#[test]
fn what_waits_to_be_told_is_bounded_by_who_is_there() {
    let mut roster = Roster::new(true);
    let come = |roster: &mut Roster, number| {
        roster.know(ConnectionId::new(number), "test", Utc::now(), &principal(Some("ada"), None));
    };
    come(&mut roster, 0);
    assert_eq!(roster.take(10).len(), 1);
    // From here on nobody can be told anything.
    for number in 1..10_000 {
        come(&mut roster, number);
        let untold = roster.take(10);
        roster.give_back(untold);
        roster.set_status(ConnectionId::new(0), if number % 2 == 0 { Status::Online } else { Status::Away });
        roster.leave(ConnectionId::new(number));
    }
    assert_eq!(roster.held(), (1, 1, 1), "entries, rooms, waiting");
    roster.leave(ConnectionId::new(0));
    assert_eq!(roster.held(), (1, 0, 1), "of whom readers know, they have to be told");
    assert_eq!(roster.take(10).len(), 1);
    assert_eq!(roster.held(), (0, 0, 0));
}

#[test]
fn without_anybody_to_tell_nothing_waits() {
    let presence = Presence::default();
    for number in 0..100 {
        presence.know(number, "test", Utc::now(), &principal(None, None));
        presence.leave(number);
    }
    assert_eq!(presence.roster().held(), (0, 0, 0));
}

#[test]
fn a_connection_is_in_a_bounded_number_of_rooms_and_leaves_those_that_it_entered() {
    let (presence, filter) = (Presence::default(), |ids: std::ops::Range<u32>| {
        let ids = ids.map(|id| id.to_string()).collect();
        let draft = crate::event::FilterDraft { task_id: Some(ids), ..Default::default() };
        EventFilter::new(draft).unwrap()
    });
    presence.know(1, "test", Utc::now(), &principal(None, None));
    let first = presence.enter(1, &filter(0..30));
    let second = presence.enter(1, &filter(20..60));
    let rooms = || presence.roster().some_rooms(None, 100).len();
    assert_eq!((rooms(), second.rooms.len()), (ROOMS_MAX, 12));
    drop(first);
    assert_eq!(rooms(), 12);
    drop(second);
    assert_eq!(rooms(), 0);
}

#[test]
fn only_ones_own_connections_change_what_one_does() {
    let presence = Presence::default();
    let (ada, bob, nobody) =
        (principal(Some("ada"), None), principal(Some("bob"), None), principal(None, None));
    for (number, who) in [(1, &ada), (2, &ada), (3, &bob), (4, &nobody), (5, &nobody)] {
        presence.know(number, "test", Utc::now(), who);
    }
    let code = |result: Result<usize, Refusal>| result.map_err(|refusal| refusal.code);
    let set = |who, number, named: Option<u64>| {
        code(presence.set_status(who, number, named.map(|named| presence.id(named)), Status::Away))
    };
    assert_eq!(set(&ada, None, None), Ok(2), "all of a user");
    assert_eq!(set(&bob, Some(3), None), Ok(1), "the one that it speaks by");
    assert_eq!(set(&ada, Some(1), Some(2)), Ok(1), "another one of hers");
    assert_eq!(set(&nobody, Some(4), Some(4)), Ok(1));
    for (who, number, named) in
        [(&ada, None, 3), (&ada, Some(1), 4), (&nobody, Some(4), 5), (&nobody, None, 1)]
    {
        assert_eq!(set(who, number, Some(named)), Err(Code::NotFound), "{named}");
    }
    assert_eq!(set(&ada, None, Some(9)), Err(Code::NotFound), "as one that is not there");
    assert_eq!(set(&nobody, None, None), Err(Code::Unauthenticated));
    let status = |number| presence.roster().find(presence.id(number)).unwrap().status;
    assert_eq!(
        [1, 2, 3, 4, 5].map(status),
        [Status::Away, Status::Away, Status::Away, Status::Away, Status::Online]
    );
}

#[test]
fn an_event_says_what_there_is_to_say_once() {
    let ada = principal(Some("ada"), Some("acme"));
    let since = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let rooms = [Room::parse("task:t1").unwrap(), Room::of_user("ada")];
    let id = ConnectionId::new(7);
    let user = Some(Room::of_user("ada"));
    let connection = Connection::first(id, "json-rpc", since, (&ada, user), rooms.iter());
    let event = connection.event(News::Connected);
    assert_eq!(
        event.data().as_str(),
        r#"{"connectionId":"0000000000000007","protocol":"json-rpc","rooms":["task:t1"],"since":"2023-11-14T22:13:20Z","status":"online"}"#
    );
    let scope: Vec<_> = event.scope().iter().collect();
    assert_eq!(scope, [(ScopeField::Organization, "acme"), (ScopeField::User, "ada")]);
    assert_eq!((event.source(), event.subject()), ("fanfare", Some("0000000000000007")));
    assert!(connection.event(News::Disconnected).data().as_str().contains(r#""status":"offline""#));
    let types = [News::Connected, News::Changed, News::Disconnected].map(|news| connection.event(news));
    let known = crate::event::Family::Presence.actions();
    assert!(
        types.iter().map(|event| event.event_type()).all(|own: &EventType| known.contains(&own.action()))
    );
}

#[test]
fn a_user_whose_name_is_no_id_is_shown_without_it() {
    let ada = principal(Some("Ada Lovelace"), Some("acme"));
    let presence = Presence::default();
    presence.know(1, "test", Utc::now(), &ada);
    let event = presence.roster().find(presence.id(1)).unwrap().told();
    assert_eq!(event.scope().iter().collect::<Vec<_>>(), [(ScopeField::Organization, "acme")]);
    assert_eq!(presence.set_status(&ada, None, None, Status::Idle).map_err(|refusal| refusal.code), Ok(1));
}

#[test]
fn an_id_is_read_as_it_is_shown() {
    for id in [0, 7, u64::MAX] {
        assert_eq!(ConnectionId::parse(&ConnectionId::new(id).to_string()), Some(ConnectionId::new(id)));
    }
    for bad in ["", "7", "00000000000000FF", "+000000000000007", "00000000000000071"] {
        assert_eq!(ConnectionId::parse(bad), None, "{bad}");
    }
}
