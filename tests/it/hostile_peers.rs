//! Peers that want to do harm: all of them are ended, and nobody else loses anything meanwhile.

use crate::support::{DEADLINE, Socket, Stream, TestServer, request};
use reqwest::Method;
use serde_json::json;
use std::{cell::Cell, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

/// So long a hostile peer may take for what an honest one does at once.
const PATIENCE: Duration = Duration::from_secs(2);
const SLOW_PEERS: usize = 2_000;
const MASK: [u8; 4] = [0; 4];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn server() -> TestServer {
    TestServer::with(|config| {
        config.header_timeout = PATIENCE;
        config.body_timeout = PATIENCE;
        config.connection_init_timeout = PATIENCE;
    })
}

/// A client's frame: its first byte, and its payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(payload.len()).unwrap();
    [&[first, length][..], &MASK, payload].concat()
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A socket of bytes after its opening handshake.
async fn upgraded(server: &TestServer, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    stream
}

/// Writes the first bytes, then the others again and again until the server hangs up; gives everything that came back.
async fn flood(stream: TcpStream, first: Vec<u8>, again: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let mut next = writer.write_all(&first).await;
        while next.is_ok() && !again.is_empty() {
            next = writer.write_all(&again).await;
        }
        // The other half reads on.
        writer
    });
    let mut said = Vec::new();
    // A reset ends it as well as an end.
    let _ = timeout(DEADLINE, reader.read_to_end(&mut said)).await.expect("the server must hang up");
    writing.abort();
    said
}

/// The close code among a server's frames, which are short and unmasked.
fn close_code(mut said: &[u8]) -> Option<u16> {
    while let [first, length, rest @ ..] = said {
        let length = usize::from(*length);
        match (first & 0x0f, rest) {
            (0x8, [high, low, ..]) => return Some(u16::from_be_bytes([*high, *low])),
            _ => said = rest.get(length..)?,
        }
    }
    None
}

/// Sends a byte now and then until the server hangs up.
async fn dribble(mut stream: TcpStream) {
    let mut byte = [0];
    loop {
        match timeout(PATIENCE / 10, stream.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_) => {
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Subscribers that must get everything.
async fn honest(server: &TestServer) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = Socket::graphql(server).await;
        socket.subscribe("a", "subscription { events { id } }").await;
        sockets.push(socket);
    }
    sockets
}

/// Publishes until the attack is over, and once more then; each event reaches everybody in its order.
async fn serve_meanwhile(server: &TestServer, attack: impl Future<Output = ()>) {
    let mut sockets = honest(server).await;
    let is_over = Cell::new(false);
    let attacking = async {
        attack.await;
        is_over.set(true);
    };
    let publishing = async {
        for number in 0.. {
            let is_last = is_over.get();
            server.publish("a", json!({ "id": number.to_string() })).await;
            for socket in &mut sockets {
                assert_eq!(socket.data("a").await["events"]["id"], number.to_string());
            }
            if is_last {
                break;
            }
        }
    };
    tokio::join!(attacking, publishing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_handshakes_are_ended_while_others_are_served() {
    let server = server();
    let attack = async {
        let mut peers = JoinSet::new();
        for number in 0..SLOW_PEERS {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let begun: &[u8] = match number % 4 {
                0 => b"",
                1 => b"GET / HTTP/1.1\r\nx",
                2 => b"PRI * HTTP/2.0\r\n",
                _ => b"POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n",
            };
            stream.write_all(begun).await.unwrap();
            peers.spawn(dribble(stream));
        }
        timeout(DEADLINE, peers.join_all()).await.expect("every one of them must be ended");
    };
    serve_meanwhile(&server, attack).await;
}

#[tokio::test]
async fn floods_of_frames_are_ended_with_their_code_while_others_are_served() {
    let server = server();
    let ping = frame(0x89, b"").repeat(1_000);
    let pong = frame(0x8a, &[0; 125]).repeat(100);
    let empty = frame(0x00, b"").repeat(1_000);
    let two = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let cases = [
        ("pings", 1013, vec![], ping.clone()),
        ("pongs of 125 bytes", 1013, vec![], pong),
        ("empty fragments", 1009, frame(0x01, b""), empty),
        (
            "a frame of 2^62 bytes",
            1009,
            two(vec![0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], MASK.to_vec()),
            vec![],
        ),
        ("unmasked", 1002, b"\x81\x01a".to_vec(), vec![]),
        ("reserved bits", 1002, frame(0xf1, b"a"), vec![]),
        ("a fragmented ping", 1002, frame(0x09, b""), vec![]),
        ("no UTF-8", 1007, frame(0x81, b"\xff"), vec![]),
        ("UTF-8 that is cut by the end", 1007, frame(0x81, b"\xc3"), vec![]),
    ];
    let attack = async {
        let mut floods = JoinSet::new();
        for (name, expected, first, again) in cases {
            for path in ["/graphql", "/rpc"] {
                let (stream, first, again) = (upgraded(&server, path).await, first.clone(), again.clone());
                floods.spawn(async move {
                    let said = flood(stream, first, again).await;
                    assert_eq!(close_code(&said), Some(expected), "{name} at {path}: {said:?}");
                });
            }
        }
        floods.join_all().await;
    };
    serve_meanwhile(&server, attack).await;
}

/// The pings between the fragments keep the connection from being silent.
#[tokio::test]
async fn a_message_that_is_never_whole_is_ended_in_time() {
    let server = TestServer::with(|config| {
        config.body_timeout = PATIENCE / 4;
        config.ping_interval = PATIENCE / 8;
    });
    let mut stream = upgraded(&server, "/rpc").await;
    stream.write_all(&frame(0x01, b"{")).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let pinging = tokio::spawn(async move {
        let mut interval = tokio::time::interval(PATIENCE / 20);
        while writer.write_all(&[frame(0x89, b""), frame(0x00, b" ")].concat()).await.is_ok() {
            interval.tick().await;
        }
    });
    let mut said = Vec::new();
    let _ = timeout(DEADLINE, reader.read_to_end(&mut said)).await.expect("the server must hang up");
    pinging.abort();
    assert_eq!(close_code(&said), Some(4400), "{said:?}");
}

#[tokio::test]
async fn sockets_without_an_introduction_are_told_4408_while_others_are_served() {
    let server = server();
    let attack = async {
        let mut silent = JoinSet::new();
        for _ in 0..200 {
            silent.spawn(flood(upgraded(&server, "/graphql").await, Vec::new(), Vec::new()));
        }
        let said = timeout(DEADLINE, silent.join_all()).await.expect("every one of them must be ended");
        assert!(said.iter().all(|said| close_code(said) == Some(4408)));
    };
    serve_meanwhile(&server, attack).await;
}

#[tokio::test]
async fn floods_of_http_2_end_their_connection_while_others_are_served() {
    let server = server();
    // GET http /version, in names and values that HPACK has already, and a host.
    let request = b"\x82\x86\x44\x08/version\x41\x09127.0.0.1";
    let reset = |numbers: std::ops::Range<u32>| -> Vec<u8> {
        let stream = |number: u32| 2 * number + 1;
        let open =
            |number| [h2_frame(1, 5, stream(number), request), h2_frame(3, 0, stream(number), &[0, 0, 0, 8])];
        numbers.flat_map(open).flatten().collect()
    };
    let continued = [h2_frame(1, 1, 1, request), h2_frame(9, 0, 1, &[0; 0]).repeat(100)].concat();
    // A name without an end of headers that is new every time.
    let headers = h2_frame(9, 0, 1, &[b"\0\x01x\x7f\x81\x07".to_vec(), vec![b'y'; 1_000]].concat());
    let cases = [
        ("rapid resets", reset(0..10_000), vec![]),
        ("continuations of nothing", continued, h2_frame(9, 0, 1, b"").repeat(100)),
        ("headers without end", h2_frame(1, 1, 1, request), headers.repeat(20)),
        ("data on a stream that is not open", vec![], h2_frame(0, 0, 1, b"x")),
    ];
    let attack = async {
        let mut floods = JoinSet::new();
        for (name, first, again) in cases {
            let stream = TcpStream::connect(server.address).await.unwrap();
            floods.spawn(async move {
                let said = flood(stream, [PREFACE.to_vec(), first].concat(), again).await;
                // The last frame says goodbye (RFC 9113, section 6.8), unless a reset has overtaken it.
                let goodbye = said.windows(9).any(|frame| frame[3] == 7 && frame[..3] >= [0, 0, 8][..]);
                assert!(goodbye || said.len() < 100_000, "{name}: {} bytes of answers", said.len());
            });
        }
        floods.join_all().await;
    };
    serve_meanwhile(&server, attack).await;
}

#[tokio::test]
async fn a_full_server_refuses_at_once_and_takes_others_when_there_is_room() {
    let server = TestServer::with(|config| config.connections_max = 2);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::graphql(&server).await;
        socket.subscribe("a", "subscription { events { id } }").await;
        held.push(socket);
    }
    let ask = || request(&server, Method::GET, "/health/ready").send();
    for _ in 0..200 {
        let refused = timeout(PATIENCE, ask()).await.expect("nobody may hang").unwrap();
        assert_eq!(refused.status(), 503);
        let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((5..=8).contains(&seconds), "{seconds}");
        let problem: serde_json::Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "UNAVAILABLE");
    }
    assert_eq!(server.hub.metrics().connections_refused.get(), 200);
    held.pop().unwrap().close().await;
    let back = async { while ask().await.unwrap().status() != 200 {} };
    timeout(DEADLINE, back).await.expect("there is room now");
    held.pop().unwrap().close().await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_own_share_and_cannot_pretend_to_be_another() {
    let server = TestServer::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.connections_per_address_max = Some(2);
    });
    let follow = |forwarded: &str| {
        let asked = request(&server, Method::GET, "/events").header("accept", "text/event-stream");
        asked.header("x-forwarded-for", forwarded)
    };
    let first = Stream::open(follow("198.51.100.7")).await;
    let second = Stream::open(follow("203.0.113.9, 198.51.100.7")).await;
    for forwarded in ["198.51.100.7", "203.0.113.1, 198.51.100.7", "127.0.0.1, 198.51.100.7"] {
        let refused = follow(forwarded).send().await.unwrap();
        assert_eq!(refused.status(), 429, "{forwarded}");
        assert!(refused.headers().contains_key("retry-after"));
    }
    let other = Stream::open(follow("198.51.100.8")).await;
    drop((first, second));
    let again = async { while follow("198.51.100.7").send().await.unwrap().status() != 200 {} };
    timeout(DEADLINE, again).await.expect("its share is free again");
    other.close(&server).await;
}

/// Without a proxy to trust the header is nobody's word, and this machine's own addresses are exempt.
#[tokio::test]
async fn nobody_gets_a_share_by_a_header_alone() {
    let server = TestServer::with(|config| config.connections_per_address_max = Some(1));
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(Socket::graphql(&server).await);
    }
    for _ in 0..3 {
        let asked = request(&server, Method::GET, "/version").header("x-forwarded-for", "198.51.100.7");
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
    for mut socket in sockets {
        socket.subscribe("a", "subscription { events { id } }").await;
        socket.close().await;
    }
    assert_eq!(server.hub.metrics().limited.get(), 0);
}
