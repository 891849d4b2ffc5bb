//! [`Detour`]: a way to a server that can be shut, and that can lose answers.

use super::DEADLINE;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// What happens to whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// They reach the server.
    Open,
    /// They are turned away at once.
    Shut,
    /// They reach the server, which does what they ask; when it answers they are cut off.
    AnswersLost,
}

/// A listener of its own in front of a server.
#[derive(Debug)]
pub(crate) struct Detour {
    address: SocketAddr,
    passage: watch::Sender<Passage>,
    /// How many were turned away or cut off.
    failed: watch::Sender<usize>,
    accepting: JoinHandle<()>,
}

impl Detour {
    /// A way to this server.
    pub(crate) async fn to(server: SocketAddr, passage: Passage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (passage, failed) = (watch::Sender::new(passage), watch::Sender::new(0));
        let (asked, counted) = (passage.clone(), failed.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, server, asked.subscribe(), counted.clone()));
            }
        });
        Detour { address, passage, failed, accepting }
    }

    /// Its address for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what happens, also to those who are on their way.
    pub(crate) fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// Waits until at least so many were turned away or cut off since the start.
    pub(crate) async fn failed(&self, count: usize) {
        let mut failed = self.failed.subscribe();
        let reached = failed.wait_for(|failed| *failed >= count);
        timeout(DEADLINE, reached).await.expect("nobody comes").unwrap();
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(
    mut client: TcpStream,
    server: SocketAddr,
    mut passage: watch::Receiver<Passage>,
    failed: watch::Sender<usize>,
) {
    let now = *passage.borrow_and_update();
    let way = async {
        match now {
            Passage::Open => {
                let mut server = TcpStream::connect(server).await.unwrap();
                // However it ends, it has ended.
                let _ended = copy_bidirectional(&mut client, &mut server).await;
            }
            Passage::Shut => failed.send_modify(|failed| *failed += 1),
            Passage::AnswersLost => {
                if has_answered(&mut client, server).await {
                    failed.send_modify(|failed| *failed += 1);
                }
            }
        }
    };
    tokio::select! {
        () = way => {}
        _ = passage.changed() => {}
    }
}

/// Passes the client's bytes on until the server says something. A server answers a publish after its commit.
async fn has_answered(client: &mut TcpStream, server: SocketAddr) -> bool {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut asked, mut answered) = ([0; 4096], [0; 1]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(0) | Err(_) => return false,
                Ok(count) => server.write_all(&asked[..count]).await.unwrap(),
            },
            read = server.read(&mut answered) => return read.is_ok_and(|count| count > 0),
        }
    }
}
