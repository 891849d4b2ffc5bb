//! Who shares renderings, counted: readers who see the same do, whatever their grants and filters; others never do.

use crate::support::{Access, DEADLINE, Line, Root, TestServer, Wanted, Way, publish};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

const POLICY: &str = "
[claims.variables]
org = 'org'
[roles.open]
read = [{ types = ['*'], organizationId = '{org}' }]
[roles.masked]
read = [{ types = ['*'], organizationId = '{org}' }]
[[masks]]
types = ['*']
path = 'agentId'
action = 'partial'
roles = ['masked']
";

const PRINCIPALS: usize = 1_000;
const STREAMS: usize = 50;
const EVENTS: u64 = 20;

fn token(access: &Access, subject: &str, role: &str, organizations: &Value) -> String {
    access.signed_with(subject, &[role], None, &json!({ "org": organizations }))
}

async fn follow(server: &TestServer, way: Way, token: &str, filter: Value) -> Line {
    let (id, root, selection) = ("a".to_owned(), Root::Events, "id agentId".to_owned());
    let wanted = Wanted { id, root, filter, start: None, selection };
    way.open(server, token, &[wanted]).await.pop().unwrap()
}

async fn until(holds: impl Fn() -> bool, what: &str) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// So many deliveries are counted, at the latest soon after the last one came.
async fn delivered(server: &TestServer, count: u64) {
    until(|| server.hub.metrics().events_delivered.get() >= count, "all deliveries are counted").await;
    assert_eq!(server.hub.metrics().events_delivered.get(), count);
}

#[tokio::test]
async fn equal_views_share_and_different_views_never_do_whatever_grants_and_filters() {
    for way in Way::ALL.into_iter().filter(|way| !matches!(way, Way::FeedAgain)) {
        let access = Access::with_policy(POLICY);
        let server = access.server();
        let people = [
            ("ada", "open", json!("q"), json!({})),
            ("bob", "open", json!(["q", "x"]), json!({ "types": ["agent.*"] })),
            ("eve", "open", json!(["y", "q"]), json!({ "organizationId": ["q"] })),
            ("ida", "masked", json!("q"), json!({})),
            ("joe", "masked", json!(["z", "q"]), json!({ "types": ["agent.log"] })),
        ];
        let mut lines = Vec::new();
        for (subject, role, organizations, filter) in people {
            let token = token(&access, subject, role, &organizations);
            lines.push((role, follow(&server, way, &token, filter).await));
        }
        let metrics = server.hub.metrics();
        // What `gateway.subscribe` replaces gives way to it soon after the answer.
        until(|| server.fanout.len() == (2, 5), "a group for each view").await;
        let before = metrics.executions.get();
        for id in 0..EVENTS {
            publish(&server.hub, 10_000_000 + id, "q").await;
        }
        for (role, line) in &mut lines {
            for id in 0..EVENTS {
                let event = line.next().await.1;
                let id = (10_000_000 + id).to_string();
                let shown = if way == Way::Gateway { &event["agent_id"] } else { &event["agentId"] };
                let expected = if *role == "open" { id } else { format!("***{}", &id[4..]) };
                assert_eq!(*shown, expected, "{way:?} {role}: {event}");
            }
        }
        assert_eq!(metrics.executions.get() - before, 2 * EVENTS, "{way:?}: one rendering for each view");
        delivered(&server, 5 * EVENTS).await;
    }
}

/// Many principals, each with a stream of its own.
async fn streams(
    server: &TestServer,
    tokens: &[String],
) -> (Vec<Response<Incoming>>, http2::SendRequest<Empty<bytes::Bytes>>) {
    let socket = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), socket).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for (nth, token) in tokens.iter().enumerate() {
        // Every filter lets the same events through, and every one is another.
        let query = format!(
            "subscription%7Bevents(filter:%7BorganizationId:%5B%22q%22,%22own-{nth}%22%5D%7D)%7Bid%20agentId%7D%7D"
        );
        let url = format!("http://{}/graphql?query={query}", server.address);
        let request = Request::get(url)
            .header("accept", "text/event-stream")
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::new())
            .unwrap();
        let answer = timeout(DEADLINE, client.send_request(request)).await.expect("no answer").unwrap();
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    (answers, client)
}

#[tokio::test]
async fn a_thousand_principals_of_one_view_cost_one_rendering_of_each_event() {
    let access = Access::with_policy(POLICY);
    let server = access.server_with(|config| config.operations_per_second = None);
    let token = |nth: usize| {
        let organizations = json!(["q", format!("own-{}", nth % STREAMS)]);
        token(&access, &format!("user-{nth}"), "open", &organizations)
    };
    let tokens: Vec<_> = (0..PRINCIPALS).map(token).collect();
    let (mut answers, mut clients) = (Vec::new(), Vec::new());
    for tokens in tokens.chunks(STREAMS) {
        let (open, client) = streams(&server, tokens).await;
        answers.extend(open);
        clients.push(client);
    }
    assert_eq!(server.fanout.len(), (1, PRINCIPALS), "one group");
    for id in 0..EVENTS {
        publish(&server.hub, id, "q").await;
    }
    let mut first = None;
    for answer in answers {
        let (mut body, mut text) = (answer.into_body(), String::new());
        while text.matches("event: next").count() < usize::try_from(EVENTS).unwrap()
            || !text.ends_with("\n\n")
        {
            let frame = timeout(DEADLINE, body.frame()).await.expect("an event is missing").unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
        let events: Vec<_> =
            text.lines().filter(|line| line.starts_with("data: {")).map(str::to_owned).collect();
        assert_eq!(*first.get_or_insert_with(|| events.clone()), events, "everybody sees the same");
    }
    let metrics = server.hub.metrics();
    assert_eq!(metrics.executions.get(), EVENTS, "one rendering of each event");
    delivered(&server, EVENTS * PRINCIPALS as u64).await;
    drop(clients);
}
