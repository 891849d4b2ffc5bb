//! Who is let in: a credential at every way in, and what is refused in which form.

use crate::support::{Access, Frame, May, Socket, Stream, TestServer, ask, request};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;

const TRANSPORT_WS: Option<&str> = Some("graphql-transport-ws");
const SUBSCRIPTION: &str = "subscription { events { id } }";

async fn answered(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

/// One way in over HTTP, and where the code of a refusal stands in its answer.
struct Way {
    method: Method,
    path: &'static str,
    accept: &'static str,
    body: Option<Value>,
    media: &'static str,
    code: &'static str,
}

fn ways() -> Vec<Way> {
    let query = || Some(json!({ "query": "{ version }" }));
    let follow = || Some(json!({ "query": SUBSCRIPTION }));
    let call = || Some(json!({ "jsonrpc": "2.0", "id": 1, "method": "events.history" }));
    let event = || Some(json!({ "type": "task.created" }));
    let way = |method, path, accept, body, (media, code)| Way { method, path, accept, body, media, code };
    let problem = ("application/problem+json", "/code");
    let graphql = ("application/json; charset=utf-8", "/errors/0/extensions/code");
    let newer = ("application/graphql-response+json; charset=utf-8", "/errors/0/extensions/code");
    let (post, get) = (|| Method::POST, || Method::GET);
    vec![
        way(post(), "/graphql", "application/json", query(), graphql),
        way(post(), "/graphql", "application/graphql-response+json", query(), newer),
        way(get(), "/graphql?query=%7Bversion%7D", "application/json", None, graphql),
        way(post(), "/graphql", "text/event-stream", follow(), newer),
        way(post(), "/graphql", "multipart/mixed;subscriptionSpec=1.0", follow(), newer),
        way(Method::PUT, "/graphql/stream", "text/plain", None, graphql),
        way(get(), "/graphql/stream?token=x", "text/event-stream", None, graphql),
        way(post(), "/graphql/stream?token=x", "application/json", follow(), graphql),
        way(Method::DELETE, "/graphql/stream?token=x&operationId=1", "*/*", None, graphql),
        way(post(), "/events", "*/*", event(), problem),
        way(get(), "/events", "text/event-stream", None, problem),
        way(post(), "/rpc", "*/*", call(), ("application/json", "/error/data/code")),
        way(get(), "/metrics", "*/*", None, problem),
        way(get(), "/schema.graphql", "*/*", None, problem),
    ]
}

impl Way {
    fn request(&self, server: &TestServer) -> RequestBuilder {
        let request = request(server, self.method.clone(), self.path).header("accept", self.accept);
        match &self.body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn refused(&self, answer: Response, status: u16, code: &str, challenge: &str) {
        let at = format!("{} {} {}", self.method, self.path, self.accept);
        let header = |name: &str| {
            answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (media, given) = (header("content-type"), header("www-authenticate"));
        assert_eq!((answer.status().as_u16(), media.as_str()), (status, self.media), "{at}");
        assert!(given.starts_with(challenge), "{at}: {given}");
        let text = answer.text().await.unwrap();
        assert!(!text.contains("secret") && !given.contains("secret"), "{at}: {text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body.pointer(self.code), Some(&json!(code)), "{at}: {body}");
        if self.path == "/rpc" {
            assert_eq!((&body["id"], &body["error"]["code"]), (&Value::Null, &json!(-32001)));
        }
    }
}

#[tokio::test]
async fn every_way_in_refuses_a_bad_credential_in_its_own_form() {
    let access = Access::new();
    let server = access.server();
    let token = access.token("ada", May::All, None);
    let invalid = "Bearer realm=\"fanfare\", error=\"invalid_token\"";
    for way in ways() {
        let answer = answered(way.request(&server)).await;
        way.refused(answer, 401, "UNAUTHENTICATED", "Bearer realm=\"fanfare\"").await;
        for bad in ["Bearer secret-unknown", "Basic c2VjcmV0", "Bearer", "secret-bare"] {
            let answer = answered(way.request(&server).header("authorization", bad)).await;
            way.refused(answer, 401, "UNAUTHENTICATED", invalid).await;
        }
        // A cookie is no credential, whatever stands in it.
        let answer =
            answered(way.request(&server).header("cookie", format!("Authorization=Bearer {token}"))).await;
        way.refused(answer, 401, "UNAUTHENTICATED", "Bearer realm=\"fanfare\"").await;
    }
}

#[tokio::test]
async fn every_way_in_takes_a_good_credential() {
    let access = Access::new();
    let token = access.token("root", May::All, None);
    let server = access.server();
    for way in ways() {
        let answer = answered(way.request(&server).header("authorization", format!("bearer  {token}"))).await;
        // There is no stream of the token x.
        let expected = if way.path.contains("token=x") { 404 } else { 200 };
        let status = answer.status().as_u16();
        assert_eq!(if status == 201 { 200 } else { status }, expected, "{} {}", way.method, way.path);
    }
}

#[tokio::test]
async fn probes_pages_and_the_version_need_no_credential() {
    let server = Access::new().server();
    for path in ["/health/live", "/health/ready", "/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(answered(request(&server, Method::GET, path)).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn two_different_credentials_are_refused_wherever_they_stand() {
    let access = Access::new();
    let (one, other) = (access.token("a", May::All, None), access.token("b", May::All, None));
    let server = access.server_with(|config| config.token_in_query = true);
    let bearer = |token: &str| format!("Bearer {token}");
    let twice = request(&server, Method::GET, "/metrics").header("authorization", bearer(&one));
    assert_eq!(answered(twice.header("authorization", bearer(&other))).await.status(), 400);
    let beside = request(&server, Method::GET, &format!("/events?token={other}"));
    assert_eq!(answered(beside.header("authorization", bearer(&one))).await.status(), 400);
    // The same one twice is one.
    let beside = request(&server, Method::GET, &format!("/events?token={one}"));
    assert_eq!(answered(beside.header("authorization", bearer(&one))).await.status(), 200);

    let mut socket =
        Socket::connect_as(&server, "/graphql", TRANSPORT_WS, Some(&bearer(&one))).await.unwrap();
    socket.send(json!({ "type": "connection_init", "payload": { "Authorization": bearer(&other) } })).await;
    assert!(matches!(socket.next().await, Frame::Close(4400, _)));
    let mut socket =
        Socket::connect_as(&server, "/graphql", TRANSPORT_WS, Some(&bearer(&one))).await.unwrap();
    socket.send(json!({ "type": "connection_init", "payload": { "authorization": bearer(&one) } })).await;
    assert_eq!(socket.json().await["type"], "connection_ack");
    socket.close().await;
}

#[tokio::test]
async fn a_token_in_the_query_string_counts_only_where_it_is_switched_on() {
    let access = Access::new();
    let token = access.token("a", May::All, None);
    let off = access.server();
    assert_eq!(answered(request(&off, Method::GET, &format!("/events?token={token}"))).await.status(), 401);
    let mut socket = Socket::connect(&off, &format!("/graphql?token={token}"), TRANSPORT_WS).await;
    socket.send(json!({ "type": "connection_init" })).await;
    assert!(matches!(socket.next().await, Frame::Close(4403, _)));

    let on = access.server_with(|config| config.token_in_query = true);
    Stream::open(request(&on, Method::GET, &format!("/events?token={token}&type=task.*"))).await;
    for path in ["/graphql", "/graphql/ws"] {
        let mut socket = Socket::connect(&on, &format!("{path}?token={token}"), TRANSPORT_WS).await;
        socket.send(json!({ "type": "connection_init" })).await;
        assert_eq!(socket.json().await["type"], "connection_ack");
        socket.close().await;
    }
    for path in [format!("/rpc?token={token}"), format!("/metrics?token={token}")] {
        let answer =
            answered(request(&on, Method::POST, &path).header("content-type", "application/json").body("{}"));
        assert!([401, 405].contains(&answer.await.status().as_u16()), "only streams and sockets: {path}");
    }
    assert_eq!(answered(request(&on, Method::GET, &format!("/metrics?token={token}"))).await.status(), 401);
}

#[tokio::test]
async fn a_handshake_with_a_bad_credential_is_answered_by_401_and_no_socket() {
    let access = Access::new();
    let server = access.server_with(|config| config.token_in_query = true);
    for (path, protocols) in [("/graphql", TRANSPORT_WS), ("/graphql/ws", Some("graphql-ws")), ("/rpc", None)]
    {
        for (query, header) in [("", Some("Bearer secret-x")), ("?token=secret-x", None)] {
            let refused = Socket::connect_as(&server, &format!("{path}{query}"), protocols, header).await;
            let (status, challenge, body) = refused.err().unwrap();
            assert_eq!(status, 401, "{path}");
            assert!(challenge.contains("error=\"invalid_token\""), "{path}: {challenge}");
            assert!(body.contains("UNAUTHENTICATED") && !body.contains("secret"), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn an_initialisation_with_a_bad_credential_is_refused_in_the_words_of_its_dialect() {
    let access = Access::new();
    let server = access.server();
    for payload in [json!({ "token": "secret-x" }), json!({ "Authorization": "Bearer secret-x" }), json!({})]
    {
        let init = json!({ "type": "connection_init", "payload": payload });
        let mut socket = Socket::connect(&server, "/graphql", TRANSPORT_WS).await;
        socket.send(init.clone()).await;
        let Frame::Close(4403, reason) = socket.next().await else { panic!("{payload}") };
        assert!(reason.starts_with("UNAUTHENTICATED: ") && !reason.contains("secret"), "{reason}");
        let mut socket = Socket::connect(&server, "/graphql", Some("graphql-ws")).await;
        socket.send(init).await;
        let error = socket.json().await;
        assert_eq!(error["type"], "connection_error");
        assert_eq!(error["payload"]["extensions"]["code"], "UNAUTHENTICATED");
        assert!(matches!(socket.next().await, Frame::Close(4403, _)));
    }
}

#[tokio::test]
async fn every_place_for_a_token_lets_its_owner_in() {
    let access = Access::new();
    let token = access.token("ada", May::Organization("quant"), None);
    let server = access.server();
    let bearer = format!("Bearer {token}");
    for dialect in ["graphql-transport-ws", "graphql-ws"] {
        for (header, payload) in [
            (Some(bearer.as_str()), Value::Null),
            (None, json!({ "Authorization": bearer })),
            (None, json!({ "authorization": token })),
            (None, json!({ "token": token })),
        ] {
            let mut socket = Socket::connect_as(&server, "/graphql", Some(dialect), header).await.unwrap();
            socket.send(json!({ "type": "connection_init", "payload": payload })).await;
            assert_eq!(socket.json().await["type"], "connection_ack", "{dialect} {payload}");
            socket.close().await;
        }
    }
    let mut socket = Socket::connect_as(&server, "/rpc", None, Some(&bearer)).await.unwrap();
    socket.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "gateway.subscription" })).await;
    assert!(socket.json().await["result"].is_object());
    socket.close().await;
}

#[tokio::test]
async fn a_json_rpc_socket_gets_nothing_until_it_says_who_it_is() {
    let access = Access::new();
    let token = access.token("ada", May::Organization("quant"), None);
    let server = access.server();
    let publish = async |id: &str, organization: &str| {
        let event = json!({ "type": "agent.started", "agentId": id, "organizationId": organization });
        let event = fanfare::event::Draft::from_json(&event.to_string()).unwrap();
        let event = fanfare::event::NewEvent::new(event, server.hub.limits()).unwrap();
        server.hub.publish(&fanfare::auth::Principal::anonymous(), vec![event]).await.unwrap();
    };
    let call = |id: u32, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let mut socket = Socket::connect(&server, "/rpc", None).await;
    for method in ["gateway.subscription", "events.history", "rpc.discover"] {
        socket.send(call(1, method, json!({}))).await;
        let refused = socket.json().await;
        assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32001), &json!(1)), "{method}");
    }
    publish("before", "quant").await;
    for (token, code) in [("secret-x", -32001), ("", -32602)] {
        socket.send(call(2, "gateway.authenticate", json!({ "token": token }))).await;
        assert_eq!(socket.json().await["error"]["code"], code);
    }
    socket.send(call(3, "gateway.authenticate", json!({ "token": token }))).await;
    let known = socket.json().await;
    assert_eq!(known["result"]["subject"], "ada");
    assert!(known["result"]["expires"].is_string(), "{known}");
    // The answer to a later call shows that the gateway's subscription has begun.
    socket.send(call(4, "gateway.subscription", json!({}))).await;
    assert!(socket.json().await["result"]["filter"].is_object());
    publish("other", "else").await;
    publish("mine", "quant").await;
    assert_eq!(socket.json().await["params"]["agent_id"], "mine");
    socket.close().await;
}

#[tokio::test]
async fn a_json_rpc_socket_that_never_says_who_it_is_is_closed() {
    let server =
        Access::new().server_with(|config| config.connection_init_timeout = Duration::from_millis(50));
    let mut socket = Socket::connect(&server, "/rpc", None).await;
    assert!(matches!(socket.next().await, Frame::Close(4408, _)));
}

#[tokio::test]
async fn callers_without_a_credential_are_let_in_where_the_policy_says_so() {
    let access = Access::new();
    access.let_in_anonymous(May::Organization("public"));
    let token = access.token("ada", May::All, None);
    let server = access.server();
    let me = |bearer: Option<String>| {
        let request =
            ask(&server, "application/json", &json!({ "query": "{ me { subject signedIn admin reads } }" }));
        bearer.into_iter().fold(request, |request, bearer| request.header("authorization", bearer))
    };
    let answer = |text: String| serde_json::from_str::<Value>(&text).unwrap()["data"]["me"].clone();
    let anonymous = answer(answered(me(None)).await.text().await.unwrap());
    assert_eq!((&anonymous["signedIn"], &anonymous["admin"]), (&json!(false), &json!(false)));
    let ada = answer(answered(me(Some(format!("Bearer {token}")))).await.text().await.unwrap());
    assert_eq!(
        (&ada["subject"], &ada["signedIn"], &ada["admin"]),
        (&json!("ada"), &json!(true), &json!(true))
    );

    // An anonymous connection gets what everybody may see, and may sign in later.
    let mut socket = Socket::connect(&server, "/graphql", TRANSPORT_WS).await;
    socket.send(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.json().await["type"], "connection_ack");
    socket.subscribe("a", SUBSCRIPTION).await;
    let mine = "subscription { notifications { id } }";
    socket.send(json!({ "type": "subscribe", "id": "b", "payload": { "query": mine } })).await;
    assert_eq!(socket.json().await["payload"][0]["extensions"]["code"], "UNAUTHENTICATED");
    publish(&server, &token, json!({ "id": "1", "type": "a", "organizationId": "quant" })).await;
    publish(&server, &token, json!({ "id": "2", "type": "a", "organizationId": "public" })).await;
    assert_eq!(socket.data("a").await["events"]["id"], "2");
    socket.send(json!({ "type": "ping", "payload": { "token": token } })).await;
    assert_eq!(socket.json().await, json!({ "type": "pong" }));
    publish(&server, &token, json!({ "id": "3", "type": "a", "organizationId": "quant" })).await;
    assert_eq!(socket.data("a").await["events"]["id"], "3");
    socket.close().await;
}

async fn publish(server: &TestServer, token: &str, event: Value) {
    let request = request(server, Method::POST, "/events").header("authorization", format!("Bearer {token}"));
    let answer = answered(request.header("content-type", "application/json").body(event.to_string())).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn the_schema_is_shown_only_to_those_who_said_who_they_are() {
    let access = Access::new();
    access.let_in_anonymous(May::Organization("public"));
    let token = access.token("ada", May::Organization("quant"), None);
    let server = access.server();
    let query = json!({ "query": "{ __schema { queryType { name } } __type(name: \"Query\") { name } }" });
    let anonymous = answered(ask(&server, "application/json", &query)).await.text().await.unwrap();
    assert!(!anonymous.contains("Query\""), "{anonymous}");
    let bearer = format!("Bearer {token}");
    let known = answered(ask(&server, "application/json", &query).header("authorization", &bearer)).await;
    assert!(known.text().await.unwrap().contains(r#""queryType":{"name":"Query"}"#));
    let schema = || request(&server, Method::GET, "/schema.graphql");
    assert_eq!(answered(schema()).await.status(), 401);
    assert_eq!(answered(schema().header("authorization", &bearer)).await.status(), 200);
}

#[tokio::test]
async fn notifications_are_those_of_the_subject() {
    let access = Access::new();
    let (root, ada) =
        (access.token("root", May::All, None), access.token("ada", May::Organization("q"), None));
    let server = access.server();
    let mut socket = Socket::graphql_as(&server, &ada).await;
    socket.subscribe("a", "subscription { notifications { id } }").await;
    for (id, user, organization) in [("1", "bob", "q"), ("2", "ada", "x"), ("3", "ada", "q")] {
        let event = json!({ "id": id, "type": "a", "userId": user, "organizationId": organization });
        publish(&server, &root, event).await;
    }
    assert_eq!(socket.data("a").await["notifications"]["id"], "3");
    socket.close().await;
}

#[tokio::test]
async fn a_reserved_stream_belongs_to_the_subject_that_reserved_it() {
    let access = Access::new();
    let (ada, bob) = (access.token("ada", May::All, None), access.token("bob", May::All, None));
    let again = access.token("ada", May::All, None);
    let server = access.server();
    let at = |method: Method, query: &str, token: &str| {
        let request = request(&server, method, &format!("/graphql/stream?{query}"));
        request.header("authorization", format!("Bearer {token}"))
    };
    let reserved = answered(at(Method::PUT, "", &ada)).await.text().await.unwrap();
    let named = format!("token={reserved}");
    let stream = |token| at(Method::GET, &named, token).header("accept", "text/event-stream");
    assert_eq!(answered(stream(&bob)).await.status(), 404);
    let start = |token, id: &str| {
        let body = json!({ "query": SUBSCRIPTION, "extensions": { "operationId": id } });
        at(Method::POST, &named, token).header("content-type", "application/json").body(body.to_string())
    };
    let _stream = Stream::open(stream(&ada)).await;
    assert_eq!(answered(start(&bob, "1")).await.status(), 404);
    assert_eq!(answered(start(&again, "1")).await.status(), 202);
    assert_eq!(answered(at(Method::DELETE, &format!("{named}&operationId=1"), &bob)).await.status(), 404);
}
