//! Two tenants of one server: what they publish is apart, and nobody publishes where their grant does not reach, whichever way.

use crate::support::{Access, May, Past, Socket, TestServer, by_id, code_of, request, sent};
use reqwest::Method;
use serde_json::{Value, json};

/// May read and publish tasks of one organization, and agents of one of two of its users.
fn tenant(access: &Access, organization: &str) -> String {
    let rules = json!([
        { "types": ["task.*"], "organizationId": [organization] },
        { "types": ["agent.*"], "organizationId": [organization], "userId": ["u1", "u2"] },
    ]);
    let further = json!({ "fanfare": { "read": rules, "publish": rules } });
    access.signed_with(&format!("tenant-{organization}"), &[], None, &further)
}

/// How events are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WayIn {
    Json,
    JsonList,
    Structured,
    Binary,
    Batch,
    Publish,
    PublishAll,
    Socket,
    Rpc,
    RpcAll,
    Gateway,
    RpcBatch,
    RpcSocket,
}

impl WayIn {
    const ALL: [WayIn; 13] = [
        WayIn::Json,
        WayIn::JsonList,
        WayIn::Structured,
        WayIn::Binary,
        WayIn::Batch,
        WayIn::Publish,
        WayIn::PublishAll,
        WayIn::Socket,
        WayIn::Rpc,
        WayIn::RpcAll,
        WayIn::Gateway,
        WayIn::RpcBatch,
        WayIn::RpcSocket,
    ];

    fn takes_many(self) -> bool {
        matches!(self, WayIn::JsonList | WayIn::Batch | WayIn::PublishAll | WayIn::RpcAll)
    }

    /// The refusal, or what was answered for the last event.
    async fn publish(self, server: &TestServer, token: &str, events: &[Value]) -> Result<Value, Value> {
        let answer = match self {
            WayIn::Json | WayIn::JsonList | WayIn::Structured | WayIn::Batch | WayIn::Binary => {
                self.post(server, token, events).await
            }
            WayIn::Publish | WayIn::PublishAll | WayIn::Socket => self.graphql(server, token, events).await,
            _ => self.rpc(server, token, events).await,
        };
        let errors = [answer.pointer("/errors/0"), answer.pointer("/0/extensions"), answer.get("error")];
        if let Some(error) = errors.into_iter().flatten().next() {
            return Err(error.clone());
        }
        if answer["code"].is_string() {
            return Err(answer);
        }
        let found = ["/data/publish", "/data/publishAll", "/result"].iter().find_map(|at| answer.pointer(at));
        let found = found.unwrap_or(&answer);
        Ok(found.as_array().and_then(|list| list.last()).unwrap_or(found).clone())
    }

    async fn post(self, server: &TestServer, token: &str, events: &[Value]) -> Value {
        let post = |media: &str| {
            request(server, Method::POST, "/events").bearer_auth(token).header("content-type", media)
        };
        let event = events.last().unwrap();
        let request = match self {
            WayIn::Json => post("application/json").body(event.to_string()),
            WayIn::JsonList => post("application/json").body(json!(events).to_string()),
            WayIn::Structured => post("application/cloudevents+json").body(cloud_event(event).to_string()),
            WayIn::Batch => {
                let events: Vec<_> = events.iter().map(cloud_event).collect();
                post("application/cloudevents-batch+json").body(json!(events).to_string())
            }
            _ => {
                cloud_event(event).as_object().unwrap().iter().filter(|(name, _)| *name != "data").fold(
                    post("application/json").body(event["data"].to_string()),
                    |request, (name, value)| request.header(format!("ce-{name}"), value.as_str().unwrap()),
                )
            }
        };
        sent(request).await.1
    }

    async fn graphql(self, server: &TestServer, token: &str, events: &[Value]) -> Value {
        let (query, given) = match self {
            WayIn::PublishAll => {
                ("mutation($e:[NewEvent!]!){publishAll(events:$e){id cursor duplicate}}", json!(events))
            }
            _ => (
                "mutation($e:NewEvent!){publish(event:$e){id cursor duplicate}}",
                events.last().unwrap().clone(),
            ),
        };
        let operation = json!({ "query": query, "variables": { "e": given } });
        if self == WayIn::Socket {
            let mut socket = Socket::graphql_as(server, token).await;
            socket.send(json!({ "type": "subscribe", "id": "a", "payload": operation })).await;
            let answer = socket.json().await["payload"].clone();
            socket.close().await;
            return answer;
        }
        let request = request(server, Method::POST, "/graphql").header("content-type", "application/json");
        sent(request.bearer_auth(token).body(operation.to_string())).await.1
    }

    async fn rpc(self, server: &TestServer, token: &str, events: &[Value]) -> Value {
        let event = events.last().unwrap();
        let (method, params) = match self {
            WayIn::RpcAll => ("events.publishAll", json!({ "events": events })),
            WayIn::Gateway => ("gateway.publish", json!({ "event": event })),
            _ => ("events.publish", json!({ "event": event })),
        };
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        if self == WayIn::RpcSocket {
            let mut socket = Socket::rpc_as(server, token).await;
            socket.send(call).await;
            let answer = loop {
                let message = socket.json().await;
                if message["id"] == 1 {
                    break message;
                }
            };
            socket.close().await;
            return answer;
        }
        let body = if self == WayIn::RpcBatch { json!([call]) } else { call };
        let request = request(server, Method::POST, "/rpc").header("content-type", "application/json");
        let answer = sent(request.bearer_auth(token).body(body.to_string())).await.1;
        if self == WayIn::RpcBatch { answer[0].clone() } else { answer }
    }
}

fn cloud_event(event: &Value) -> Value {
    let mut cloud_event = json!({ "specversion": "1.0" });
    for (name, value) in event.as_object().unwrap() {
        cloud_event[name.to_ascii_lowercase()] = value.clone();
    }
    cloud_event
}

#[tokio::test]
async fn nobody_publishes_outside_their_grant_whichever_way() {
    let access = Access::new();
    let (tenant, root) = (tenant(&access, "q"), access.token("root", May::All, None));
    let reads =
        access.signed_with("reader", &[], None, &json!({ "fanfare": { "read": [{ "types": ["*"] }] } }));
    let server = access.server();
    let mut refused = 0;
    for (nth, way) in WayIn::ALL.into_iter().enumerate() {
        let event = |fields: Value| {
            let mut event = json!({ "id": format!("{nth}"), "source": "/a", "type": "task.created", "data": { "n": nth } });
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            event
        };
        let head = server.hub.bounds().head;
        let outside = [
            (json!({ "organizationId": "x" }), "organizationId"),
            (json!({ "organizationId": "Q" }), "organizationId"),
            (json!({ "type": "billing.created" }), "type"),
            (json!({ "type": "task", "organizationId": "q" }), "type"),
            (json!({ "type": "agent.log", "userId": "u3" }), "userId"),
            // Two users are possible, so none is filled in.
            (json!({ "type": "agent.log" }), "userId"),
        ];
        for (fields, field) in outside {
            let good = event(json!({ "id": "good" }));
            let events = if way.takes_many() { vec![good, event(fields)] } else { vec![event(fields)] };
            let refusal = way.publish(&server, &tenant, &events).await.unwrap_err();
            assert_eq!(code_of(&refusal), "FORBIDDEN", "{way:?} {refusal}");
            let text = refusal.to_string();
            assert!(
                text.contains(&format!("\"field\":\"{field}\"")) || text.contains(&format!(".{field}\"")),
                "{way:?} {text}"
            );
            refused += 1;
        }
        let refusal = way.publish(&server, &reads, &[event(json!({}))]).await.unwrap_err();
        assert_eq!(code_of(&refusal), "FORBIDDEN", "{way:?} {refusal}");
        assert_eq!(server.hub.bounds().head, head, "{way:?}: nothing was published");

        let inside = [
            (json!({ "id": format!("{nth}-a") }), Value::Null),
            (json!({ "id": format!("{nth}-b"), "type": "agent.log", "userId": "u2" }), json!("u2")),
        ];
        for (fields, user) in inside {
            let event = event(fields);
            let answer = way.publish(&server, &tenant, std::slice::from_ref(&event)).await.unwrap();
            assert_eq!(answer["duplicate"], false, "{way:?} {answer}");
            let ids = [event["id"].as_str().unwrap().to_owned()];
            let found = by_id(&server, &root, &ids, "organizationId userId type").await.unwrap();
            assert_eq!((&found[0]["organizationId"], &found[0]["userId"]), (&json!("q"), &user), "{way:?}");
        }
        assert_eq!(server.hub.bounds().head.get() - head.get(), 2, "{way:?}");
    }
    assert_eq!(refused, 6 * WayIn::ALL.len());
}

#[tokio::test]
async fn the_same_id_of_two_tenants_is_two_events_of_which_each_sees_its_own() {
    let access = Access::new();
    let (a, b) = (tenant(&access, "a"), tenant(&access, "b"));
    let server = access.server();
    for (nth, way) in WayIn::ALL.into_iter().enumerate() {
        let id = format!("same-{nth}");
        let event =
            |of: &str| json!({ "id": id, "source": "/shared", "type": "task.created", "data": { "of": of } });
        let mut cursors = Vec::new();
        for (token, of) in [(&a, "a"), (&b, "b")] {
            let answer = way.publish(&server, token, &[event(of)]).await.unwrap();
            assert_eq!(answer["duplicate"], false, "{way:?} {of}: {answer}");
            cursors.push(answer["cursor"].clone());
        }
        for ((token, of), cursor) in [(&a, "a"), (&b, "b")].into_iter().zip(&cursors) {
            let again = way.publish(&server, token, &[event(of)]).await.unwrap();
            assert_eq!((&again["duplicate"], &again["cursor"]), (&json!(true), cursor), "{way:?} {of}");
            let other = way.publish(&server, token, &[event("another")]).await.unwrap_err();
            assert_eq!(code_of(&other), "ID_CONFLICT", "{way:?}");
            let found =
                by_id(&server, token, std::slice::from_ref(&id), "cursor organizationId data").await.unwrap();
            assert_eq!(
                found[0],
                json!({ "cursor": cursor, "organizationId": of, "data": { "of": of } }),
                "{way:?}"
            );
        }
    }
    // Each has its own history, also from and up to positions that the other one gave away.
    for (token, of, foreign) in [(&a, "a", &b), (&b, "b", &a)] {
        let theirs = Past::RpcForward.read(&server, foreign, (&json!({}), ""), 100).await.unwrap();
        assert_eq!(theirs.len(), WayIn::ALL.len());
        let mut seen = 0;
        for cursor in theirs.iter().map(|event| event["cursor"].as_str().unwrap()) {
            for (place, size) in [("after", "first"), ("before", "last")] {
                let params = json!({ place: cursor, size: 100 });
                let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "events.history", "params": params });
                let request =
                    request(&server, Method::POST, "/rpc").header("content-type", "application/json");
                let answer = sent(request.bearer_auth(token).body(call.to_string())).await.1;
                let events = answer["result"]["events"].as_array().unwrap();
                assert!(events.iter().all(|event| event["organizationId"] == of), "{of} {place}: {answer}");
                seen += events.len();
            }
        }
        // Each cursor parts the own events in two.
        assert_eq!(seen, WayIn::ALL.len() * WayIn::ALL.len());
    }
}
