//! What is lost: events that the server refuses, that expire, or for which a deadline was too short; and nobody beside them.

use crate::support::{
    DEADLINE, Detour, Passage, SOURCE, TestServer, ids, numbered, numbers, publisher, publisher_with,
};
use fanfare::auth::token::NewApiKey;
use fanfare_client::{DeadlineError, Event, Lost, Options, OptionsError, PublishError, Publisher, Token};
use serde_json::json;
use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Long enough for several attempts over loopback, and for nothing if nobody is there.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_bad_event_takes_no_innocent_one_with_it() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher(&detour.url());
    let bad = [
        ("INVALID_EVENT", "type", Event::new("not a type")),
        ("INVALID_EVENT", "taskId", Event::new("task.created").task_id("two words")),
        ("ID_CONFLICT", "id", Event::new("task.created").with_id("0")),
        ("TOO_LARGE", "data", Event::new("task.created").data("x".repeat(300 * 1024))),
    ];
    // Behind a shut door all but the first gather into one batch.
    let mut answers = Vec::new();
    for (number, (code, field, event)) in (0..).zip(bad) {
        publisher.publish(numbered(number));
        let answer = tokio::spawn({
            let publisher = publisher.clone();
            async move { publisher.publish_durable(event).await }
        });
        tokio::task::yield_now().await;
        answers.push((code, field, answer));
    }
    publisher.publish(numbered(4));
    detour.failed(1).await;
    detour.set(Passage::Open);
    publisher.flush(DEADLINE).await.unwrap();
    for (code, field, answer) in answers {
        let Err(PublishError::Refused(refusal)) = answer.await.unwrap() else { panic!("{code}") };
        assert_eq!((refusal.code.as_str(), refusal.field.as_deref()), (code, Some(field)));
        assert!(refusal.next.is_some_and(|next| next.ends_with('.')));
    }
    assert_eq!(ids(&server.history("{}").await), numbers(5));
    let lost = Lost { refused: 4, ..Lost::default() };
    assert_eq!((publisher.stats().acknowledged, publisher.stats().lost), (5, lost));
}

#[tokio::test]
async fn what_the_grant_does_not_cover_is_refused_alone_and_another_credential_helps() {
    let dir = tempfile::tempdir().unwrap();
    let made = NewApiKey::make("shop").unwrap();
    let policy = format!(
        "[roles.shop]\npublish = [{{ types = [\"task.*\"] }}]\nread = [{{ types = [\"*\"] }}]\n\
         [anonymous]\nroles = [\"reader\"]\n[roles.reader]\nread = [{{ types = [\"*\"] }}]\n\
         [[api_keys]]\nid = \"shop\"\nsubject = \"shop\"\nhash = \"{}\"\nroles = [\"shop\"]\n",
        made.hash
    );
    std::fs::write(dir.path().join("policy.toml"), policy).unwrap();
    let server = TestServer::with(|config| {
        config.policy = Some(dir.path().join("policy.toml"));
        config.data_dir = dir.path().to_owned();
    });
    let wrong = made.key.replace("ffk_shop_", "ffk_shop_0");
    let publisher = publisher_with(&server.url(), |options| options.token = Some(wrong.into()));
    let Err(PublishError::Refused(refusal)) = publisher.publish_durable(numbered(0)).await else { panic!() };
    assert_eq!(refusal.code, "UNAUTHENTICATED");

    assert!(publisher.set_token(Some("two words".into())).is_err());
    publisher.set_token(Some(Token::from(made.key))).unwrap();
    for number in 0..2 {
        publisher.publish(numbered(number));
        publisher.publish(Event::new("agent.killed"));
    }
    publisher.flush(DEADLINE).await.unwrap();
    assert_eq!(ids(&server.history("{}").await), numbers(2));
    let lost = Lost { refused: 3, ..Lost::default() };
    assert_eq!((publisher.stats().acknowledged, publisher.stats().lost), (2, lost));
}

#[tokio::test]
async fn a_server_that_takes_smaller_requests_gets_smaller_requests() {
    let server = TestServer::with(|config| {
        config.batch_max = 8;
        config.request_bytes_max = 4 * 1024;
    });
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher(&detour.url());
    let padding = "x".repeat(700);
    for number in 0..100 {
        publisher.publish(numbered(number).data(json!({ "padding": padding })));
    }
    detour.failed(1).await;
    detour.set(Passage::Open);
    publisher.flush(DEADLINE).await.unwrap();
    assert_eq!(ids(&server.history("{}").await), numbers(100));
    assert_eq!(publisher.stats().lost, Lost::default());
}

#[tokio::test]
async fn an_event_that_nobody_acknowledges_expires_and_says_how_to_publish_it_again() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher_with(&detour.url(), |options| options.retry_window = Duration::from_secs(1));
    publisher.publish(numbered(0));
    let error = publisher.publish_durable(numbered(1)).await.unwrap_err();
    let PublishError::Unacknowledged { id, waited, reason } = &error else { panic!("{error}") };
    assert!(id == "1" && *waited >= Duration::from_secs(1) && !reason.is_empty(), "{error}");
    assert!(error.to_string().contains("with the id 1"), "{error}");
    let stats = publisher.stats();
    assert_eq!((stats.queued, stats.lost), (0, Lost { expired: 2, ..Lost::default() }));
    assert!(server.history("{}").await.is_empty());
}

#[tokio::test]
async fn an_address_where_something_else_answers_gives_nothing_up_before_its_time_and_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new()).await.unwrap() });
    let publisher = publisher_with(&url, |options| options.retry_window = Duration::from_secs(1));
    let error = publisher.publish_durable(numbered(0)).await.unwrap_err();
    let PublishError::Unacknowledged { reason, waited, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("404") && reason.contains("is the address right?"), "{reason}");
    assert!(*waited >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_knows_no_such_address_refuses_at_once() {
    let server = TestServer::start();
    let publisher = publisher(&format!("{}/nowhere", server.url()));
    let error = publisher.publish_durable(numbered(0)).await.unwrap_err();
    assert!(matches!(&error, PublishError::Refused(refusal) if refusal.code == "NOT_FOUND"), "{error}");
}

#[tokio::test]
async fn flush_and_close_keep_their_deadlines_and_say_what_that_costs() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher(&detour.url());
    for number in 0..10 {
        publisher.publish(numbered(number));
    }
    let late = publisher.flush(SHORT).await.unwrap_err();
    assert!(matches!(late, DeadlineError::Waiting { queued: 10, waited } if waited >= SHORT), "{late}");
    let durable = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_durable(numbered(10)).await }
    });
    while publisher.stats().published < 11 {
        tokio::task::yield_now().await;
    }
    let late = publisher.close(SHORT).await.unwrap_err();
    assert!(matches!(late, DeadlineError::Lost { lost: 11, waited } if waited >= SHORT), "{late}");
    assert_eq!(durable.await.unwrap(), Err(PublishError::Closed));

    publisher.publish(numbered(11));
    assert_eq!(publisher.publish_durable(numbered(12)).await, Err(PublishError::Closed));
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.queued, stats.lost.closed), (13, 0, 13));
    // Nothing comes any more.
    publisher.flush(DEADLINE).await.unwrap();
    detour.set(Passage::Open);
    assert!(server.history("{}").await.is_empty());
}

#[tokio::test]
async fn a_publisher_that_is_closed_before_its_first_attempt_loses_what_it_has_and_nobody_waits() {
    let publisher = publisher("http://127.0.0.1:1");
    publisher.publish(numbered(0));
    let lost = publisher.close(Duration::ZERO).await.unwrap_err();
    assert!(matches!(lost, DeadlineError::Lost { lost: 1, .. }), "{lost}");
    assert_eq!(publisher.stats().lost.closed, 1);
}

#[tokio::test]
async fn closing_waits_for_what_is_queued() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher(&detour.url());
    for number in 0..10 {
        publisher.publish(numbered(number));
    }
    detour.failed(1).await;
    detour.set(Passage::Open);
    publisher.close(DEADLINE).await.unwrap();
    assert_eq!(ids(&server.history("{}").await), numbers(10));
    publisher.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_named_with_its_bounds() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher_with(&detour.url(), |options| options.queue_events_max = 1);
    publisher.publish(numbered(0));
    let full = publisher.publish_durable(numbered(1)).await.unwrap_err();
    assert!(matches!(full, PublishError::QueueFull { queued: 1, events_max: 1, .. }), "{full}");
    assert!(full.to_string().contains("raise queue_events_max"), "{full}");
}

/// Takes the service's log.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_services_log_tells_of_an_outage_and_of_losses_and_not_what_was_in_the_events() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let lines = Lines::default();
    let log = tracing_subscriber::fmt().with_writer({
        let lines = lines.clone();
        move || lines.clone()
    });
    let _guard = tracing::subscriber::set_default(log.with_ansi(false).finish());
    let publisher = publisher_with(&detour.url(), |options| {
        options.queue_events_max = 2;
        options.token = Some("s3cr3t".into());
    });
    publisher.publish(Event::new("a").data("s3cr3t"));
    publisher.publish(Event::new("a").subject("s3cr3t\0"));
    publisher.publish(numbered(0));
    detour.failed(1).await;
    detour.set(Passage::Open);
    publisher.close(DEADLINE).await.unwrap();
    let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("queue_full=1 expired=0 refused=0 closed=0"), "{told}");
    assert!(
        told.contains("WARN") && told.contains("does not take events") && told.contains("takes events again"),
        "{told}"
    );
    assert!(told.contains("refused=1") && told.contains("INVALID_EVENT, subject: allowed is"), "{told}");
    assert!(!told.contains("s3cr3t"), "{told}");
}

#[test]
fn without_a_runtime_there_is_no_publisher_and_it_says_so() {
    let refused = Publisher::new(Options::new("http://127.0.0.1:1", SOURCE)).unwrap_err();
    assert!(matches!(refused, OptionsError::NoRuntime), "{refused}");
}

#[tokio::test]
async fn a_publisher_shows_neither_its_events_nor_its_token() {
    let publisher = publisher_with("http://127.0.0.1:1", |options| options.token = Some("s3cr3t".into()));
    publisher.publish(Event::new("a").data("s3cr3t"));
    assert!(!format!("{publisher:?}").contains("s3cr3t"));
}
