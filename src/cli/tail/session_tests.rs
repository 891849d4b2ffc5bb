//! The states of `tail`.

use super::*;
use fanfare::event::{Epoch, Offset};

const ACK: &str = r#"{"type":"connection_ack"}"#;

fn cursor(offset: u64) -> String {
    Epoch::new([7; 16]).seal(Offset::new(offset)).to_string()
}

fn event(offset: u64) -> String {
    let cursor = cursor(offset);
    let event =
        json!({"id": "e", "type": "a", "time": "t", "source": "/", "priority": "LOW", "cursor": cursor});
    json!({"id": "tail", "type": "next", "payload": {"data": {"events": event}, "extensions": {"cursor": cursor}}})
        .to_string()
}

fn ready(offset: u64) -> String {
    let extensions = json!({"ready": true, "cursor": cursor(offset)});
    json!({"id": "tail", "type": "next", "payload": {"data": null, "extensions": extensions}}).to_string()
}

fn ping(offset: u64) -> String {
    json!({"type": "ping", "payload": {"cursor": cursor(offset)}}).to_string()
}

fn refusal(code: &str) -> String {
    let error = json!({"message": "no", "extensions": {"code": code, "next": "Do this."}});
    json!({"id": "tail", "type": "error", "payload": [error]}).to_string()
}

/// Opens a connection and gives the start of its subscribe message.
fn subscribe(session: &mut Session) -> Value {
    assert!(session.opened().contains("connection_init"));
    let Step::Send(text) = session.receive(ACK) else { panic!("no subscribe after the ack") };
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["type"], "subscribe");
    message["payload"]["variables"]["start"].clone()
}

fn start_at(start: Value) -> Session {
    Session::new(Request { start: Some(start), ..Request::default() })
}

#[test]
fn a_live_tail_resumes_after_the_cursor_of_ready_and_then_of_each_event() {
    let mut session = Session::new(Request::default());
    assert_eq!(subscribe(&mut session), Value::Null);
    assert!(matches!(session.receive(&ready(5)), Step::Following));
    assert_eq!(subscribe(&mut session), json!({"after": cursor(5)}));
    assert!(matches!(session.receive(&event(9)), Step::Show(_)));
    assert_eq!(subscribe(&mut session), json!({"after": cursor(9)}));
}

#[test]
fn the_cursor_of_ready_never_skips_a_replay_that_is_still_to_come() {
    let mut session = start_at(json!({"last": 10}));
    assert_eq!(subscribe(&mut session), json!({"last": 10}));
    session.receive(&ready(100));
    assert_eq!(subscribe(&mut session), json!({"last": 10}), "nothing was shown yet");
    session.receive(&ready(100));
    session.receive(&event(91));
    assert_eq!(subscribe(&mut session), json!({"after": cursor(91)}));
    session.receive(&ready(120));
    assert_eq!(session.position(), Some(cursor(91).as_str()));
}

#[test]
fn a_ping_is_answered_and_moves_an_idle_tail_once_its_subscription_stands() {
    let mut session = Session::new(Request::default());
    subscribe(&mut session);
    assert!(matches!(session.receive(&ping(50)), Step::Send(pong) if pong.contains("pong")));
    assert_eq!(session.position(), None, "a ping before the subscription stands says nothing about it");
    session.receive(&ready(5));
    session.receive(&ping(8));
    assert_eq!(session.position(), Some(cursor(8).as_str()));
}

#[test]
fn refusals_end_the_tail_unless_a_later_attempt_may_succeed() {
    for code in Code::ALL {
        let step = Session::new(Request::default()).receive(&refusal(code.name())).into_told();
        assert_eq!(step, (code.retryable(), format!("{}: no. Do this.", code.name())));
    }
    assert!(!Session::new(Request::default()).receive(&refusal("SOMETHING_NEW")).into_told().0);
}

#[test]
fn closing_codes_that_would_come_again_end_the_tail_and_all_others_do_not() {
    for code in [4400, 4401, 4403, 4406, 4409, 4429] {
        assert!(!closed(Some(code), "").into_told().0, "{code}");
    }
    for code in
        [None, Some(1000), Some(1001), Some(1006), Some(1011), Some(1012), Some(1013), Some(4408), Some(4999)]
    {
        assert!(closed(code, "").into_told().0, "{code:?}");
    }
    assert_eq!(
        closed(Some(1012), "restart").into_told().1,
        "the server closed the connection (1012 restart)"
    );
}

#[test]
fn an_event_that_cannot_be_shown_is_told_and_passed() {
    let mut session = start_at(json!({"earliest": true}));
    subscribe(&mut session);
    let failed = json!({"data": null, "errors": [{"message": "no"}], "extensions": {"cursor": cursor(3)}});
    let text = json!({"id": "tail", "type": "next", "payload": failed}).to_string();
    assert!(matches!(session.receive(&text), Step::Tell(told) if told.contains("cannot be shown: no")));
    assert_eq!(session.position(), Some(cursor(3).as_str()));
}

#[test]
fn a_server_that_speaks_nonsense_ends_the_tail() {
    assert!(matches!(Session::new(Request::default()).receive("nonsense"), Step::End(_)));
}

impl Step<'_> {
    /// Is it tried again, and what is told?
    fn into_told(self) -> (bool, String) {
        match self {
            Step::Again(told) => (true, told),
            Step::End(told) => (false, told),
            Step::Wait | Step::Send(_) | Step::Following | Step::Show(_) | Step::Tell(_) => {
                panic!("neither again nor end")
            }
        }
    }
}
