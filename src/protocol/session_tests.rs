//! The session without a codec: every state met by every command that matters in it.

use super::*;
use crate::protocol::{DIALECTS, negotiate};
use proptest::prelude::*;

fn session(dialect: &str) -> Session {
    Session::new(negotiate([dialect].into_iter()).unwrap(), Options { subscriptions_max: 3 })
}

fn ready(dialect: &str) -> Session {
    let mut session = session(dialect);
    assert_eq!(session.handle(Command::Init { payload: None }), [Action::Authenticate { payload: None }]);
    assert_eq!(session.accepted().first(), Some(&Action::Reply(Reply::Ack)));
    session
}

fn subscribe(id: &str) -> Command {
    Command::Subscribe {
        id: id.into(),
        operation: Operation { query: "subscription { events { id } }".to_owned(), ..Operation::default() },
    }
}

fn complete(id: &str) -> Command {
    Command::Complete { id: id.into() }
}

/// The key of the only action, a start.
fn started(actions: &[Action]) -> Key {
    match actions {
        [Action::Start { key, .. }] => *key,
        other => panic!("{other:?}"),
    }
}

fn closed(actions: &[Action]) -> (u16, &str) {
    match actions {
        [Action::Close(closing)] => (closing.code, &closing.reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 96, "{}", size_of::<Session>());
}

#[test]
fn a_second_initialisation_closes_while_the_first_is_pending_and_after_it() {
    for dialect in DIALECTS {
        let mut pending = Session::new(dialect, Options::default());
        pending.handle(Command::Init { payload: None });
        assert_eq!(closed(&pending.handle(Command::Init { payload: None })).0, 4429);
        assert_eq!(pending.accepted(), [], "the late answer meets a closed session");
        let mut later = ready(dialect.name());
        assert_eq!(closed(&later.handle(Command::Init { payload: None })).0, 4429);
    }
}

#[test]
fn an_operation_before_any_initialisation_closes() {
    for dialect in DIALECTS {
        let mut session = Session::new(dialect, Options::default());
        assert_eq!(closed(&session.handle(subscribe("a"))), (4401, "Unauthorized"));
        assert_eq!(session.active_count(), 0);
    }
}

#[test]
fn an_operation_during_the_initialisation_closes_or_waits_as_the_dialect_has_it() {
    let mut strict = session("graphql-transport-ws");
    strict.handle(Command::Init { payload: None });
    assert_eq!(closed(&strict.handle(subscribe("a"))).0, 4401);

    let mut legacy = session("graphql-ws");
    legacy.handle(Command::Init { payload: None });
    for id in ["a", "b", "a", "c"] {
        assert_eq!(legacy.handle(subscribe(id)), [], "{id}");
    }
    assert_eq!(
        legacy.handle(complete("c")),
        [Action::Reply(Reply::Complete { id: "c".into() })],
        "stopped before it started"
    );
    let actions = legacy.accepted();
    let ids: Vec<&str> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Start { id, .. } => Some(&**id),
            Action::Authenticate { .. }
            | Action::Refresh { .. }
            | Action::Reply(_)
            | Action::Stop { .. }
            | Action::Close(_) => None,
        })
        .collect();
    assert_eq!(ids, ["b", "a"], "each once, the replaced one in its new place");
    assert_eq!(actions[..2], [Action::Reply(Reply::Ack), Action::Reply(Reply::KeepAlive)]);
}

#[test]
fn what_waits_for_the_initialisation_is_bounded_in_number_and_bytes() {
    let mut legacy = session("graphql-ws");
    legacy.handle(Command::Init { payload: None });
    let operation = Operation { query: "x".repeat(HELD_BYTES_MAX), ..Operation::default() };
    let large = |id: &str| Command::Subscribe { id: id.into(), operation: operation.clone() };
    assert_eq!(legacy.handle(large("a")), []);
    let actions = legacy.handle(large("b"));
    assert!(matches!(&actions[..], [Action::Reply(Reply::Error { id, .. })] if id == "b"), "{actions:?}");
    assert_eq!(legacy.handle(large("a")), [], "a replacement takes the place of the one before");
}

#[test]
fn a_refused_initialisation_closes_with_the_code_of_its_reason() {
    for (code, expected) in
        [(Code::Unauthenticated, 4403), (Code::Forbidden, 4403), (Code::Unavailable, 1013)]
    {
        let mut session = session("graphql-transport-ws");
        session.handle(Command::Init { payload: None });
        let actions = session.rejected(&Refusal::new(code, "no"));
        let [Action::Reply(Reply::InitRefused { error }), Action::Close(closing)] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(closing.code, expected);
        assert!(error.contains(code.name()) && closing.reason.contains("no"));
        assert_eq!(session.accepted(), []);
    }
}

#[test]
fn the_timer_closes_only_what_is_not_acknowledged() {
    for dialect in DIALECTS {
        let mut new = Session::new(dialect, Options::default());
        assert_eq!(closed(&new.on_init_timeout()).0, 4408);
        let mut pending = Session::new(dialect, Options::default());
        pending.handle(Command::Init { payload: None });
        assert_eq!(closed(&pending.on_init_timeout()).0, 4408);
        assert_eq!(ready(dialect.name()).on_init_timeout(), []);
    }
}

#[test]
fn a_live_id_is_refused_even_before_its_operation_is_prepared() {
    let mut session = ready("graphql-transport-ws");
    started(&session.handle(subscribe("a")));
    assert_eq!(closed(&session.handle(subscribe("a"))), (4409, "Subscriber for a already exists"));
}

#[test]
fn a_live_id_is_replaced_in_the_older_dialect() {
    let mut session = ready("graphql-ws");
    let old = started(&session.handle(subscribe("a")));
    let actions = session.handle(subscribe("a"));
    let [Action::Stop { key }, Action::Start { key: new, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(key, old);
    assert_eq!((session.id(old), session.id(new), session.active_count()), (None, Some("a"), 1));
}

#[test]
fn a_stopped_operation_is_silent_and_its_id_is_free_at_once() {
    let mut session = ready("graphql-transport-ws");
    let first = started(&session.handle(subscribe("a")));
    assert_eq!(session.handle(complete("a")), [Action::Stop { key: first }]);
    let second = started(&session.handle(subscribe("a")));
    assert_ne!(first, second);
    assert_eq!(session.finished(first), None, "the late end of the first says nothing about the second");
    assert_eq!(session.key("a"), Some(second));
    assert_eq!(session.handle(complete("never")), []);
}

#[test]
fn a_stop_is_answered_once_in_the_older_dialect() {
    let mut session = ready("graphql-ws");
    let key = started(&session.handle(subscribe("a")));
    let answer = Action::Reply(Reply::Complete { id: "a".into() });
    assert_eq!(session.handle(complete("a")), [Action::Stop { key }, answer]);
    assert_eq!(session.handle(complete("a")), []);
}

#[test]
fn a_finished_operation_frees_its_id_and_its_place() {
    let mut session = ready("graphql-transport-ws");
    let keys: Vec<Key> = ["a", "b", "c"].map(|id| started(&session.handle(subscribe(id)))).to_vec();
    assert_eq!(session.finished(keys[1]).as_deref(), Some("b"));
    assert_eq!(session.finished(keys[1]), None);
    started(&session.handle(subscribe("b")));
    assert_eq!(session.id(keys[2]), Some("c"));
}

#[test]
fn one_operation_too_many_is_refused_alone_and_takes_no_place() {
    let mut session = ready("graphql-transport-ws");
    for id in ["a", "b", "c"] {
        started(&session.handle(subscribe(id)));
    }
    let actions = session.handle(subscribe("d"));
    let [Action::Reply(Reply::Error { id, errors })] = &actions[..] else { panic!("{actions:?}") };
    assert!(id == "d" && errors.contains("TOO_MANY"));
    assert_eq!((session.key("d"), session.active_count(), session.is_closed()), (None, 3, false));
    session.handle(complete("a"));
    started(&session.handle(subscribe("d")));
}

#[test]
fn pings_are_answered_in_every_state_and_pongs_are_not() {
    let payload = Json::parse(r#"{"n":1}"#).unwrap();
    let pong = Action::Reply(Reply::Pong { payload: Some(r#"{"n":1}"#.into()) });
    for mut session in [session("graphql-transport-ws"), ready("graphql-transport-ws")] {
        assert_eq!(
            session.handle(Command::Ping { payload: Some(payload.clone()) }),
            std::slice::from_ref(&pong)
        );
        assert_eq!(session.handle(Command::Pong), []);
    }
}

#[test]
fn after_a_close_nothing_is_answered() {
    let mut session = ready("graphql-transport-ws");
    let key = started(&session.handle(subscribe("a")));
    let refusal = Refusal::new(Code::SlowConsumer, "too slow");
    assert_eq!(closed(&session.close(&CloseReason::Refused(&refusal))).0, 4008);
    assert_eq!(session.finished(key), None);
    assert_eq!(session.close(&CloseReason::Draining), []);
    assert_eq!(session.on_binary(), []);
    assert_eq!(session.on_text("{"), []);
    for command in [subscribe("b"), Command::Init { payload: None }, Command::Ping { payload: None }] {
        assert_eq!(session.handle(command), []);
    }
}

proptest! {
    /// Whatever comes in whatever order: keys rise, live ids are unique and within the limit, a stop names a live key.
    #[test]
    fn a_session_keeps_its_promises(
        legacy: bool,
        steps in prop::collection::vec((0..6_u8, prop::sample::select(vec!["a", "b", "c", "d", "e"])), 0..60),
    ) {
        let mut session = ready(if legacy { "graphql-ws" } else { "graphql-transport-ws" });
        let (mut live, mut last) = (Vec::<(Key, Box<str>)>::new(), None);
        for (step, id) in steps {
            let actions = match step {
                0..=2 => session.handle(subscribe(id)),
                3 => session.handle(complete(id)),
                4 => {
                    let key = live.first().map(|(key, _)| *key);
                    let finished = key.and_then(|key| session.finished(key));
                    prop_assert_eq!(finished.as_ref(), live.first().map(|(_, id)| id));
                    live.retain(|(other, _)| Some(*other) != key);
                    Vec::new()
                }
                _ => session.handle(Command::Pong),
            };
            for action in actions {
                match action {
                    Action::Start { key, id, .. } => {
                        prop_assert!(last < Some(key));
                        prop_assert!(live.iter().all(|(_, other)| *other != id));
                        last = Some(key);
                        live.push((key, id));
                    }
                    Action::Stop { key } => {
                        prop_assert!(live.iter().any(|(other, _)| *other == key));
                        live.retain(|(other, _)| *other != key);
                    }
                    Action::Close(closing) => {
                        prop_assert!(!legacy && closing.code == 4409);
                        return Ok(());
                    }
                    Action::Reply(_) => {}
                    Action::Authenticate { .. } => prop_assert!(false, "initialised already"),
                    Action::Refresh { .. } => prop_assert!(false, "nobody sends a token"),
                }
            }
            prop_assert!(live.len() <= 3);
            prop_assert_eq!(session.active_count(), live.len());
        }
    }
}

#[test]
fn a_ping_with_a_token_renews_the_credential_and_does_not_echo_it() {
    let mut session = ready("graphql-transport-ws");
    let actions = session.on_text(r#"{"type":"ping","payload":{"token":"Bearer a.b"}}"#);
    let [Action::Refresh { token }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(token.as_str(), "a.b");
    assert_eq!(session.refreshed(), [Action::Reply(Reply::Pong { payload: None })]);
    let refusal = Refusal::new(Code::Unauthenticated, "token expired");
    let actions = session.expelled(&refusal);
    assert!(matches!(actions.last(), Some(Action::Close(closing)) if closing.code == 4403), "{actions:?}");
    assert!(session.refreshed().is_empty() && session.expelled(&refusal).is_empty());
}

#[test]
fn a_ping_before_the_acknowledgement_or_without_a_token_is_only_a_ping() {
    let text = r#"{"type":"ping","payload":{"token":"a"}}"#;
    let mut new = session("graphql-transport-ws");
    assert!(matches!(&new.on_text(text)[..], [Action::Reply(Reply::Pong { payload: Some(_) })]));
    let other = r#"{"type":"ping","payload":{"fence":1}}"#;
    assert!(matches!(
        &ready("graphql-transport-ws").on_text(other)[..],
        [Action::Reply(Reply::Pong { payload: Some(_) })]
    ));
}
