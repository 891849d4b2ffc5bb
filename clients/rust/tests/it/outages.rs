//! The server goes away and comes back. The story of each test: events are published all the while, and in the end the log has
//! each of those that had room, once and in order.

use crate::support::{
    DEADLINE, Detour, Passage, TestServer, ids, numbered, numbers, publisher, publisher_with,
};
use fanfare_client::{Lost, Stats};

#[tokio::test]
async fn a_server_that_is_away_costs_exactly_what_the_queue_cannot_hold_and_the_rest_arrives_in_order() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher_with(&detour.url(), |options| options.queue_events_max = 100);
    for number in 0..150 {
        publisher.publish(numbered(number));
    }
    detour.failed(2).await;
    let lost = Lost { queue_full: 50, ..Lost::default() };
    let stats = publisher.stats();
    assert_eq!((stats.published, stats.queued, stats.acknowledged, stats.lost), (150, 100, 0, lost));

    detour.set(Passage::Open);
    publisher.flush(DEADLINE).await.unwrap();
    assert_eq!(ids(&server.history("{}").await), numbers(100));
    let stats = publisher.stats();
    assert_eq!((stats.queued, stats.queued_bytes, stats.acknowledged), (0, 0, 100));
    assert_eq!((stats.duplicates, stats.lost), (0, lost));
}

#[tokio::test]
async fn lost_acknowledgements_repeat_nothing() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::AnswersLost).await;
    let publisher = publisher_with(&detour.url(), |options| options.batch_events_max = 10);
    for number in 0..35 {
        publisher.publish(numbered(number));
    }
    let durable = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_durable(numbered(35)).await }
    });
    // The first batch was logged twice over, and nobody knows.
    detour.failed(2).await;
    assert_eq!(publisher.stats().acknowledged, 0);

    detour.set(Passage::Open);
    publisher.flush(DEADLINE).await.unwrap();
    assert_eq!(durable.await.unwrap().unwrap().id, "35");
    assert_eq!(ids(&server.history("{}").await), numbers(36));
    let stats = publisher.stats();
    assert_eq!((stats.acknowledged, stats.lost), (36, Lost::default()));
    // A connection that was cut by the change of passage may have been a third time.
    assert!(stats.duplicates >= 10 && stats.sent >= 36 + 20, "{stats:?}");
}

#[tokio::test]
async fn a_repeat_whose_answer_was_lost_says_that_it_is_one() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::AnswersLost).await;
    let publisher = publisher(&detour.url());
    let published = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish_durable(numbered(0)).await }
    });
    detour.failed(1).await;
    detour.set(Passage::Open);
    let published = published.await.unwrap().unwrap();
    let history = server.history("{}").await;
    assert!(published.duplicate && history.len() == 1, "{history:?}");
    assert_eq!(history[0]["cursor"], published.cursor.as_str());
}

#[tokio::test]
async fn a_service_that_publishes_through_an_outage_loses_nothing_within_its_bounds() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Open).await;
    let publisher = publisher_with(&detour.url(), |options| options.batch_events_max = 7);
    let mut number = 0;
    let mut publish = |count: u64| {
        (0..count).for_each(|_| {
            publisher.publish(numbered(number));
            number += 1;
        });
    };
    publish(40);
    publisher.flush(DEADLINE).await.unwrap();
    for (passage, failed) in [(Passage::AnswersLost, 1), (Passage::Shut, 2)] {
        detour.set(passage);
        publish(60);
        detour.failed(failed).await;
        publish(60);
    }
    detour.set(Passage::Open);
    publish(40);
    publisher.flush(DEADLINE).await.unwrap();
    assert_eq!(ids(&server.history("{}").await), numbers(320));
    assert_eq!(publisher.stats().lost, Lost::default());
}

#[tokio::test]
async fn a_durable_publish_answers_with_the_place_in_the_log() {
    let server = TestServer::start();
    let publisher = publisher(&server.url());
    let event = numbered(0);
    let first = publisher.publish_durable(event.clone()).await.unwrap();
    let again = publisher.publish_durable(event).await.unwrap();
    let history = server.history("{}").await;
    assert_eq!(history.len(), 1);
    assert_eq!((history[0]["cursor"].as_str(), first.duplicate), (Some(first.cursor.as_str()), false));
    assert!(again.duplicate && again.cursor == first.cursor);
    let stats = publisher.stats();
    let expected = Stats { published: 2, sent: 2, acknowledged: 2, duplicates: 1, ..Stats::default() };
    assert_eq!(stats, expected);
}

#[tokio::test]
async fn the_last_publisher_that_is_dropped_leaves_its_events_to_the_sender() {
    let server = TestServer::start();
    let detour = Detour::to(server.address, Passage::Shut).await;
    let publisher = publisher(&detour.url());
    for number in 0..20 {
        publisher.clone().publish(numbered(number).correlation_id("c"));
    }
    drop(publisher);
    detour.failed(1).await;
    detour.set(Passage::Open);
    assert_eq!(ids(&server.trace("c", 20).await), numbers(20));
}
