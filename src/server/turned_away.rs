//! The answer to connections that are not let in: a refusal instead of a queue in which they would hang.
//!
//! Invariants: whoever is turned away costs little, is gone within a second, and there are never more than a few of them at a
//! time; those who come while all these are busy are closed without a word.

use super::problem::Problem;
use crate::error::Refusal;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::task::TaskTracker;

/// So many are answered at a time.
const ANSWERS_MAX: usize = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// So much of a request is read before it is answered.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// How a client of HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Empty settings, then the end of the connection before any stream, for the reason `ENHANCE_YOUR_CALM` (RFC 9113, 6.8).
const GO_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";

/// Answers those who are not let in. Cloning shares the bound.
#[derive(Clone, Debug)]
pub(super) struct TurnedAway(Arc<Semaphore>);

impl TurnedAway {
    pub(super) fn new() -> Self {
        TurnedAway(Arc::new(Semaphore::new(ANSWERS_MAX)))
    }

    /// Tells a peer why, beside everything else that runs.
    pub(super) fn tell(&self, stream: TcpStream, refusal: Refusal, tracker: &TaskTracker) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return };
        tracker.spawn(async move {
            // Whether it took the answer or not, there is nobody left to tell.
            let _ = timeout(ANSWER_TIMEOUT, answer(stream, refusal)).await;
            drop(permit);
        });
    }
}

/// Reads a request, since clients take an answer only to what they have asked, and answers it.
async fn answer(mut stream: TcpStream, refusal: Refusal) -> io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    match request.starts_with(PREFACE) {
        true => stream.write_all(GO_AWAY).await?,
        false => stream.write_all(Problem::from(refusal).last_words().as_bytes()).await?,
    }
    stream.shutdown().await?;
    // A socket that is closed with bytes unread takes its last words back.
    let mut sink = [0; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Is the head of the request there?
fn is_whole(request: &[u8]) -> bool {
    request.len() >= REQUEST_BYTES_MAX || request.windows(4).any(|end| end == b"\r\n\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use tokio::net::TcpListener;

    async fn answers(request: &[u8]) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let tracker = TaskTracker::new();
        TurnedAway::new().tell(stream, Refusal::new(Code::Unavailable, "full"), &tracker);
        peer.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        drop(peer);
        tracker.close();
        tracker.wait().await;
        answer
    }

    #[tokio::test]
    async fn a_request_is_answered_in_its_own_version_of_http() {
        let answer = String::from_utf8(answers(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("\r\nretry-after: ") && head.contains("\r\nconnection: close"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "UNAVAILABLE");
        assert_eq!(answers(PREFACE).await, GO_AWAY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_gone_within_a_second() {
        assert_eq!(answers(b"GET / HT").await, b"");
    }

    #[tokio::test]
    async fn those_who_come_while_all_answers_are_busy_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (turned_away, tracker) = (TurnedAway::new(), TaskTracker::new());
        let mut peers = Vec::new();
        for _ in 0..=ANSWERS_MAX {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (stream, _) = listener.accept().await.unwrap();
            turned_away.tell(stream, Refusal::new(Code::Unavailable, "full"), &tracker);
        }
        assert_eq!(tracker.len(), ANSWERS_MAX);
        assert_eq!(peers.pop().unwrap().read(&mut [0; 8]).await.unwrap(), 0);
    }
}
