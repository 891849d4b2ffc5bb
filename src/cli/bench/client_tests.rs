//! One connection of the load against a server that does what a server must not.

use super::*;
use crate::cli::bench::{load::testing, sequence::Faults, tick::Run};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::header::SEC_WEBSOCKET_PROTOCOL,
        protocol::CloseFrame,
    },
};

struct Bad {
    listener: TcpListener,
    load: Arc<Load>,
}

struct Peer(WebSocketStream<TcpStream>, Run);

impl Bad {
    async fn serve(scenario: Scenario) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut load, _) = testing::load(&listener).await;
        load.plan.scenario = scenario;
        load.patience = Duration::from_millis(200);
        Bad { listener, load: Arc::new(load) }
    }

    /// Runs one connection beside the server's side of it; everything up to 7 is acknowledged when the server is done.
    async fn run(&self, server: impl AsyncFnOnce(&Self)) -> (ClientEnd, Result<(), Break>) {
        let (opened, mut heard) = mpsc::channel(1);
        let client = run(Arc::clone(&self.load), 0, opened);
        let server = async {
            server(self).await;
            self.load.phase.send_modify(|phase| phase.published = Some([7].into()));
        };
        let (end, ()) = tokio::join!(client, server);
        (end, heard.recv().await.unwrap())
    }

    /// Takes a connection up to its subscribe message; gives that, too.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    async fn accept(&self) -> (Peer, Value) {
        let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let asked = request.headers().get(SEC_WEBSOCKET_PROTOCOL).unwrap().clone();
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, asked);
            Ok(response)
        };
        let socket = accept_hdr_async(self.listener.accept().await.unwrap().0, choose).await.unwrap();
        let mut peer = Peer(socket, self.load.run.clone());
        assert_eq!(peer.receive().await["type"], "connection_init");
        peer.send(&json!({"type": "connection_ack"})).await;
        let subscribe = peer.receive().await;
        assert_eq!((&subscribe["type"], &subscribe["id"]), (&json!("subscribe"), &json!("0")));
        (peer, subscribe["payload"]["variables"]["start"].clone())
    }

    async fn accept_ready(&self) -> (Peer, Value) {
        let (mut peer, start) = self.accept().await;
        let ready = json!({"data": null, "extensions": {"ready": true, "cursor": "c0"}});
        peer.send(&json!({"id": "0", "type": "next", "payload": ready})).await;
        (peer, start)
    }
}

impl Peer {
    async fn send(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        serde_json::from_str(self.0.next().await.unwrap().unwrap().to_text().unwrap()).unwrap()
    }

    async fn deliver(&mut self, key: u64, numbers: &[u64]) {
        for number in numbers {
            let tick = Tick { publisher: 0, key, number: *number, time: 0 };
            let line = self.1.line(*number, &tick, 128).json;
            let data = line.split_once(r#""data":"#).unwrap().1;
            let data = data.strip_suffix('}').unwrap();
            let message = format!(
                r#"{{"id":"0","type":"next","payload":{{"data":{{"events":{{"id":"x","data":{data}}}}},"extensions":{{"cursor":"c{number}"}}}}}}"#
            );
            self.0.send(Message::text(message)).await.unwrap();
        }
    }

    /// Waits until the other side has left.
    async fn gone(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

fn missing(bad: &Bad, end: &ClientEnd) -> Missing {
    end.subscriptions[0].missing(&bad.load, &[7])
}

#[tokio::test]
async fn a_server_that_delivers_everything_once_and_in_order_is_left_at_once() {
    let bad = Bad::serve(Scenario::Fanout).await;
    let (end, opened) = bad
        .run(async |bad| {
            let (mut peer, start) = bad.accept_ready().await;
            assert_eq!(start, Value::Null);
            peer.send(&json!({"type": "ping"})).await;
            assert_eq!(peer.receive().await["type"], "pong");
            peer.deliver(0, &[0, 1, 2, 3, 4, 5, 6]).await;
            bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
            peer.gone().await;
        })
        .await;
    assert_eq!((end.stood, opened), (true, Ok(())));
    assert_eq!((missing(&bad, &end), end.subscriptions[0].faults()), (Missing::default(), Faults::default()));
    assert!(bad.load.tally.troubles().is_empty(), "{:?}", bad.load.tally.troubles());
}

#[tokio::test]
async fn loss_repeat_disorder_and_misrouting_are_found() {
    let bad = Bad::serve(Scenario::Fanout).await;
    let (end, _) = bad
        .run(async |bad| {
            let (mut peer, _) = bad.accept_ready().await;
            peer.deliver(0, &[0, 1, 1, 3, 2, 5]).await;
            peer.deliver(1, &[6]).await;
            let foreign = json!({"data": {"events": {"id": "x", "data": 1}}, "extensions": {"cursor": "c"}});
            peer.send(&json!({"id": "0", "type": "next", "payload": foreign})).await;
            bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
            peer.gone().await;
        })
        .await;
    assert!(end.stood);
    assert_eq!(missing(&bad, &end), Missing { skipped: 1, behind: 1 });
    assert_eq!(end.subscriptions[0].faults(), Faults { repeated: 1, out_of_order: 1, misrouted: 2 });
}

#[tokio::test]
async fn a_close_is_counted_with_its_code_and_ends_the_connection() {
    let bad = Bad::serve(Scenario::Fanout).await;
    let (end, opened) = bad
        .run(async |bad| {
            let (mut peer, _) = bad.accept_ready().await;
            peer.deliver(0, &[0, 1]).await;
            let frame = CloseFrame { code: 4008.into(), reason: "too slow".into() };
            peer.0.send(Message::Close(Some(frame))).await.unwrap();
            peer.gone().await;
        })
        .await;
    assert_eq!((end.stood, opened), (false, Ok(())));
    assert_eq!(missing(&bad, &end), Missing { skipped: 0, behind: 5 });
    assert_eq!(bad.load.tally.troubles()["closed by the server: 4008 too slow"], 1);
}

#[tokio::test]
async fn a_refusal_that_patience_heals_is_tried_again_and_counted_and_another_is_not() {
    for (code, heals) in [(Code::RateLimited, true), (Code::TooMany, false)] {
        let bad = Bad::serve(Scenario::Fanout).await;
        let (end, opened) = bad
            .run(async |bad| {
                let (mut peer, _) = bad.accept().await;
                let error = json!([{"message": "no", "extensions": {"code": code.name()}}]);
                peer.send(&json!({"id": "0", "type": "error", "payload": error})).await;
                if heals {
                    let (mut peer, _) = bad.accept_ready().await;
                    peer.deliver(0, &[0, 1, 2, 3, 4, 5, 6]).await;
                    bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
                    peer.gone().await;
                }
            })
            .await;
        assert_eq!((end.stood, opened.is_ok()), (heals, heals), "{code}");
        let troubles = bad.load.tally.troubles();
        assert!(troubles.keys().any(|told| told.contains(code.name())), "{troubles:?}");
    }
}

#[tokio::test]
async fn in_a_storm_it_drops_and_resumes_after_the_last_event_it_got() {
    let bad = Bad::serve(Scenario::Storm).await;
    let (end, _) = bad
        .run(async |bad| {
            let (mut peer, _) = bad.accept_ready().await;
            // The run's order to drop comes when the first three are there.
            peer.deliver(0, &[0, 1, 2]).await;
            peer.send(&json!({"type": "ping"})).await;
            assert_eq!(peer.receive().await["type"], "pong");
            bad.load.tally.acknowledge(0, 5, 1);
            bad.load.phase.send_modify(|phase| phase.storms += 1);
            peer.gone().await;
            let (mut peer, start) = bad.accept_ready().await;
            assert_eq!(start, json!({"after": "c2"}));
            peer.deliver(0, &[3, 4, 5, 6]).await;
            bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
            peer.gone().await;
        })
        .await;
    assert!(end.stood);
    assert_eq!((missing(&bad, &end), end.subscriptions[0].faults()), (Missing::default(), Faults::default()));
    assert_eq!(bad.load.tally.catching_up().count(), 1);
}

#[tokio::test]
async fn a_replay_starts_at_the_earliest_and_is_measured_until_all_is_there() {
    let bad = Bad::serve(Scenario::Replay).await;
    bad.load.tally.acknowledge(0, 7, 1);
    let (end, _) = bad
        .run(async |bad| {
            let (mut peer, start) = bad.accept_ready().await;
            assert_eq!(start, json!({"earliest": true}));
            peer.deliver(0, &[0, 1, 2, 3, 4, 5, 6]).await;
            bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
            peer.gone().await;
        })
        .await;
    assert!(end.stood);
    assert_eq!(bad.load.tally.catching_up().count(), 1);
    assert_eq!(bad.load.tally.delivering().count(), 0, "the past says nothing about latency");
}

#[tokio::test]
async fn a_server_that_is_overloaded_while_connections_open_gets_another_attempt() {
    let bad = Bad::serve(Scenario::Fanout).await;
    let (end, opened) = bad
        .run(async |bad| {
            let (mut peer, _) = bad.accept().await;
            let frame = CloseFrame { code: 1013.into(), reason: "".into() };
            peer.0.send(Message::Close(Some(frame))).await.unwrap();
            let (mut peer, _) = bad.accept_ready().await;
            peer.deliver(0, &[0, 1, 2, 3, 4, 5, 6]).await;
            bad.load.phase.send_modify(|phase| phase.published = Some([7].into()));
            peer.gone().await;
        })
        .await;
    assert_eq!((end.stood, opened), (true, Ok(())));
    assert_eq!(bad.load.tally.troubles()["closed by the server: 1013"], 1);
}
