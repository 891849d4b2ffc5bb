//! The wire over a real socket with small buffers.

use super::*;
use futures_util::{SinkExt, StreamExt};
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::WebSocketStream;

const MESSAGE_BYTES_MAX: usize = 4096;

/// Both ends of a connection that holds little on its way.
async fn pair() -> (Wire, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let connecting = socket.connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(connecting, listener.accept());
    let accepted = accepted.unwrap().0;
    crate::server::accept::set_options(&accepted, std::time::Duration::from_secs(60));
    let wire = Wire::new(accepted, Vec::new(), MESSAGE_BYTES_MAX);
    (wire, WebSocketStream::from_raw_socket(peer.unwrap(), Role::Client, None).await)
}

fn send(wire: &mut Wire, texts: &[&str]) {
    let mut frames = Frames::default();
    texts.iter().for_each(|text| frames.text(&[text]));
    wire.write(&mut frames).unwrap();
}

/// Writes numbered texts until so many bytes wait for the socket; says how many.
fn fill(wire: &mut Wire, bytes: usize) -> usize {
    let padding = "x".repeat(700);
    let mut count = 0;
    while wire.backlog_bytes() < bytes {
        send(wire, &[&format!("{count} {padding}")]);
        count += 1;
    }
    count
}

/// Everything that arrives until the peer has read so many texts.
async fn read(peer: &mut WebSocketStream<TcpStream>, texts: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut left = texts;
    while left > 0 {
        match peer.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                seen.push(text.split(' ').next().unwrap().to_owned());
                left -= 1;
            }
            Message::Pong(_) => seen.push("pong".to_owned()),
            other @ (Message::Binary(_) | Message::Ping(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    }
    seen
}

#[tokio::test]
async fn what_the_socket_does_not_take_leaves_later_whole_and_in_order() {
    let (mut wire, mut peer) = pair().await;
    assert!(wire.stalled_since().is_none());
    let count = fill(&mut wire, 300_000);
    assert!(wire.stalled_since().is_some());
    let (drained, seen) = tokio::join!(poll_fn(|context| wire.poll_drain(context)), read(&mut peer, count));
    drained.unwrap();
    assert_eq!(seen, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!((wire.backlog_bytes(), wire.backlog.bytes.capacity()), (0, 0), "nothing is kept");
}

#[tokio::test]
async fn an_urgent_text_overtakes_what_waits_and_lands_between_two_frames() {
    let (mut wire, mut peer) = pair().await;
    let count = fill(&mut wire, 300_000);
    for number in 0..3 {
        let mut frames = Frames::default();
        frames.urgent_text(&format!("urgent{number}"));
        wire.write(&mut frames).unwrap();
    }
    let (drained, seen) =
        tokio::join!(poll_fn(|context| wire.poll_drain(context)), read(&mut peer, count + 3));
    drained.unwrap();
    let ordered: Vec<_> = seen.iter().filter(|text| !text.starts_with('u')).cloned().collect();
    assert_eq!(ordered, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    let last_urgent = seen.iter().rposition(|text| text.starts_with('u')).unwrap();
    assert!(last_urgent < count / 2, "at {last_urgent} of {count}");
}

#[tokio::test]
async fn a_pong_overtakes_what_waits() {
    let (mut wire, mut peer) = pair().await;
    let count = fill(&mut wire, 300_000);
    peer.send(Message::Ping(Vec::new().into())).await.unwrap();
    let received = poll_fn(|context| wire.poll_recv(context)).await;
    assert!(matches!(received, Some(Ok(Message::Ping(_)))), "{received:?}");
    // The answer is written when the next message is looked for.
    poll_fn(|context| Poll::Ready(wire.poll_recv(context).is_pending())).await;
    let (drained, seen) = tokio::join!(poll_fn(|context| wire.poll_drain(context)), read(&mut peer, count));
    drained.unwrap();
    let pong = seen.iter().position(|text| text == "pong").unwrap();
    assert!(pong < count / 2, "at {pong} of {count}");
}

#[tokio::test]
async fn the_close_frame_comes_after_all_that_waits() {
    let (mut wire, mut peer) = pair().await;
    let count = fill(&mut wire, 100_000);
    wire.write_close(4008, "slow".to_owned()).unwrap();
    let read = async {
        let seen = read(&mut peer, count).await;
        (seen.len(), peer.next().await.unwrap().unwrap())
    };
    let (drained, (seen, last)) = tokio::join!(poll_fn(|context| wire.poll_drain(context)), read);
    drained.unwrap();
    let Message::Close(Some(frame)) = last else { panic!("{last:?}") };
    assert_eq!((seen, u16::from(frame.code), frame.reason.as_str()), (count, 4008, "slow"));
}

#[tokio::test]
async fn a_peer_that_still_sends_what_is_too_large_reads_our_last_words() {
    let (mut wire, mut peer) = pair().await;
    let sending = tokio::spawn(async move {
        // Refused at its first bytes, while most of it is still to be sent.
        let sent = peer.send(Message::text("y".repeat(3_000_000))).await;
        (sent.is_ok(), peer.next().await)
    });
    let received = poll_fn(|context| wire.poll_recv(context)).await;
    assert!(matches!(received, Some(Err(Unreadable::TooLarge))), "{received:?}");
    wire.write_close(1009, String::new()).unwrap();
    poll_fn(|context| wire.poll_drain(context)).await.unwrap();
    let ended = tokio::spawn(async move { poll_fn(|context| wire.poll_recv(context)).await.is_none() });
    let (was_sent, answer) = sending.await.unwrap();
    assert!(was_sent);
    let Some(Ok(Message::Close(Some(frame)))) = answer else { panic!("{answer:?}") };
    assert_eq!(u16::from(frame.code), 1009);
    assert!(ended.await.unwrap());
}

/// On one thread: whoever reads a peer that never stops sending lets others run.
#[tokio::test]
async fn a_flood_of_messages_does_not_keep_the_thread() {
    const MESSAGES: usize = 400;
    let (mut wire, mut peer) = pair().await;
    for _ in 0..MESSAGES {
        peer.feed(Message::text("")).await.unwrap();
    }
    peer.flush().await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let reading = tokio::spawn(async move {
        while counted.load(Ordering::Relaxed) < MESSAGES {
            poll_fn(|context| wire.poll_recv(context)).await.unwrap().unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    while count.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(count.load(Ordering::Relaxed) < MESSAGES, "everything was read before anybody else had a turn");
    reading.await.unwrap();
}

#[test]
fn the_length_of_a_frame_is_read_back_from_its_header() {
    for length in [0, 1, 125, 126, 65_535, 65_536] {
        let mut frames = Frames::default();
        frames.text(&[&"x".repeat(length)]);
        frames.ping();
        assert_eq!(frame_length(&frames.ordered), Some(frames.ordered.len() - 2), "{length}");
    }
}

/// The server's side of a socket whose peer writes bytes of its own making.
async fn raw_pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(connecting, listener.accept());
    (Wire::new(accepted.unwrap().0, Vec::new(), MESSAGE_BYTES_MAX), peer.unwrap())
}

#[tokio::test]
async fn each_wrong_frame_is_told_apart() {
    const MASK: [u8; 4] = [0; 4];
    let masked = |head: &[u8], payload: &[u8]| [head, &MASK, payload].concat();
    type Expected = fn(&Unreadable) -> bool;
    let cases: [(&str, Vec<u8>, Expected); 9] = [
        ("unmasked", b"\x81\x01a".to_vec(), |error| matches!(error, Unreadable::Malformed(_))),
        ("reserved bits", masked(b"\xc1\x81", b"a"), |error| matches!(error, Unreadable::Malformed(_))),
        ("reserved opcode", masked(b"\x83\x81", b"a"), |error| matches!(error, Unreadable::Malformed(_))),
        ("fragmented ping", masked(b"\x09\x80", b""), |error| matches!(error, Unreadable::Malformed(_))),
        ("a continuation of nothing", masked(b"\x80\x80", b""), |error| {
            matches!(error, Unreadable::Malformed(_))
        }),
        ("a long ping", masked(b"\x89\xfe\x00\x7e", &[0; 126]), |error| {
            matches!(error, Unreadable::Malformed(_))
        }),
        ("no UTF-8", masked(b"\x81\x82", b"\xff\xfe"), |error| matches!(error, Unreadable::NotUtf8)),
        ("2^63 bytes", masked(b"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", b""), |error| {
            matches!(error, Unreadable::TooLarge | Unreadable::Malformed(_))
        }),
        ("one byte too many", masked(b"\x81\xfe\x10\x01", &[b'a'; 4097]), |error| {
            matches!(error, Unreadable::TooLarge)
        }),
    ];
    for (name, bytes, is_expected) in cases {
        let (mut wire, peer) = raw_pair().await;
        assert_eq!(peer.try_write(&bytes).unwrap(), bytes.len());
        let received = poll_fn(|context| wire.poll_recv(context)).await;
        assert!(matches!(&received, Some(Err(error)) if is_expected(error)), "{name}: {received:?}");
    }
}

/// On one thread: fragments never become a message, so only reads can be counted.
#[tokio::test]
async fn endless_fragments_and_endless_pings_are_not_read_to_their_end_and_let_others_run_meanwhile() {
    const FRAGMENT: &[u8] = &[0x00, 0x80, 0, 0, 0, 0];
    const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];
    for (first, rest) in [(&[0x01_u8, 0x80, 0, 0, 0, 0][..], FRAGMENT), (PING, PING)] {
        let (mut wire, peer) = raw_pair().await;
        let bytes = [first, &rest.repeat(20_000)].concat();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while sent < bytes.len() {
                peer.writable().await.unwrap();
                match peer.try_write(&bytes[sent..]) {
                    Ok(count) => sent += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            peer
        });
        let error = loop {
            match poll_fn(|context| wire.poll_recv(context)).await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Err(error)) => break error,
                other => panic!("{other:?}"),
            }
        };
        assert!(matches!(error, Unreadable::Fragments | Unreadable::ControlFlood), "{error:?}");
        poll_fn(|context| {
            assert!(wire.poll_recv(context).is_pending(), "it is let go before it can read why");
            if wire.discards_left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        wire.stream.readable().await.unwrap();
        assert_ne!(wire.stream.try_read(&mut [0; 16]).unwrap(), 0, "all of it was read");
        drop(wire);
        sending.await.unwrap();
    }
}
