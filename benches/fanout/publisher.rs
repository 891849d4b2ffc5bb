//! The publisher of the load: `POST /events` with a list in `application/json`, over one connection, without waiting for answers.
//!
//! Flow: the scenario says how many events; a second task reads the answers and enters them in the ledger.
//! Invariants: requests of one connection are served in their order, so event numbers rise in the server's log; any
//! answer but 2xx fails the load.

use crate::{failure::Failure, ledger::Ledger};
use std::{convert::Infallible, fmt::Write, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

/// The sending side.
#[derive(Debug)]
pub(crate) struct Publisher {
    address: SocketAddr,
    requests: OwnedWriteHalf,
    ledger: Rc<Ledger>,
    /// What fills each event up to the size asked for.
    padding: String,
    body: String,
}

impl Publisher {
    /// Connects; the task that reads the answers joins `tasks`.
    pub(crate) async fn open(
        address: SocketAddr,
        padding_bytes: usize,
        ledger: Rc<Ledger>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(Failure::during("connecting to publish"))?;
        stream.set_nodelay(true).map_err(Failure::during("setting TCP_NODELAY"))?;
        let (answers, requests) = stream.into_split();
        let reader = Rc::clone(&ledger);
        tasks.spawn_local(async move {
            let Err(failure) = acknowledge_all(BufReader::new(answers), &reader).await;
            reader.fail(failure);
        });
        Ok(Publisher { address, requests, ledger, padding: "x".repeat(padding_bytes), body: String::new() })
    }

    /// Publishes the next `count` events in one request.
    pub(crate) async fn publish(&mut self, count: usize) -> Result<(), Failure> {
        self.body.clear();
        let padding = &self.padding;
        for number in self.ledger.publish(count) {
            let separator = if self.body.is_empty() { '[' } else { ',' };
            write!(
                self.body,
                r#"{separator}{{"type":"bench.tick","source":"/bench","data":{{"n":{number},"pad":"{padding}"}}}}"#
            )
            .expect("writing to a string cannot fail");
        }
        self.body.push(']');
        let request = format!(
            "POST /events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            self.address,
            self.body.len(),
            self.body
        );
        self.requests.write_all(request.as_bytes()).await.map_err(Failure::during("publishing"))
    }
}

async fn acknowledge_all(
    mut answers: BufReader<OwnedReadHalf>,
    ledger: &Ledger,
) -> Result<Infallible, Failure> {
    let mut body = Vec::new();
    loop {
        let (status, body_bytes) = read_head(&mut answers).await?;
        body.resize(body_bytes, 0);
        answers.read_exact(&mut body).await.map_err(Failure::during("reading the answer to a publish"))?;
        if !status.starts_with("HTTP/1.1 2") {
            let text = String::from_utf8_lossy(body.get(..400).unwrap_or(&body));
            return Err(Failure::NotPublished(format!("{} {text}", status.trim())));
        }
        ledger.acknowledge();
    }
}

/// The status line of the next answer and the length of its body.
async fn read_head(answers: &mut BufReader<OwnedReadHalf>) -> Result<(String, usize), Failure> {
    let status = read_line(answers).await?;
    let mut body_bytes = None;
    loop {
        let line = read_line(answers).await?;
        let Some((name, value)) = line.split_once(':') else {
            let missing = || Failure::NotPublished(format!("{} without a length", status.trim()));
            return body_bytes.ok_or_else(missing).map(|body_bytes| (status.clone(), body_bytes));
        };
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.trim().parse().ok();
        }
    }
}

async fn read_line(answers: &mut BufReader<OwnedReadHalf>) -> Result<String, Failure> {
    let mut line = String::new();
    match answers.read_line(&mut line).await.map_err(Failure::during("reading the answer to a publish"))? {
        0 => Err(Failure::NotPublished("the connection ended".to_owned())),
        _ => Ok(line),
    }
}
