//! The publisher of the load: one connection, without waiting for answers.
//!
//! Flow: the scenario says how many events; a second task reads the answers and enters them in the ledger.
//! Invariants: requests of one connection are served in their order, so event numbers rise in the server's log; a refusal
//! fails the load.

use crate::{audience::Audience, dialect::Dialect, failure::Failure, ledger::Ledger, wire::Wire};
use std::{convert::Infallible, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    task::JoinSet,
    time::Instant,
};

/// What is published to whom.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) audience: Audience,
    /// How many connections of the audience there are.
    pub(crate) connections: usize,
    /// What fills each event up to the size asked for.
    pub(crate) padding: String,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Publisher {
    dialect: &'static dyn Dialect,
    requests: OwnedWriteHalf,
    ledger: Rc<Ledger>,
    feed: Feed,
}

impl Publisher {
    /// Connects; the task that reads the answers joins `tasks`.
    pub(crate) async fn open(
        dialect: &'static dyn Dialect,
        address: SocketAddr,
        feed: Feed,
        ledger: Rc<Ledger>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, Failure> {
        let mut wire = Wire::connect(address).await?;
        if dialect.greets_publishers() {
            dialect.greet(&mut wire, "publisher").await?;
        }
        let (answers, requests) = wire.stream.into_split();
        let reader = Rc::clone(&ledger);
        tasks.spawn_local(async move {
            let Err(failure) = acknowledge_all(dialect, answers, &reader).await;
            reader.fail(failure);
        });
        Ok(Publisher { dialect, requests, ledger, feed })
    }

    /// Publishes the next `count` events at once, as of `published`.
    pub(crate) async fn publish(&mut self, count: usize, published: Instant) -> Result<(), Failure> {
        let Feed { audience, connections, padding } = &self.feed;
        let recipients = audience.recipients(*connections);
        let events = self.ledger.publish(count, recipients, published);
        let (request, answers) = self.dialect.publish(*audience, events, padding);
        self.ledger.expect_answers(answers);
        self.requests.write_all(&request).await.map_err(Failure::during("publishing"))
    }
}

async fn acknowledge_all(
    dialect: &'static dyn Dialect,
    mut answers: OwnedReadHalf,
    ledger: &Ledger,
) -> Result<Infallible, Failure> {
    let mut rest = Vec::new();
    loop {
        let mut left: &[u8] = &rest;
        while let Some((is_answer, after)) = dialect.split_answer(left)? {
            left = after;
            if is_answer {
                ledger.acknowledge()?;
            }
        }
        let left = left.len();
        rest.drain(..rest.len() - left);
        let read = answers.read_buf(&mut rest).await;
        if read.map_err(Failure::during("reading the answer to a publish"))? == 0 {
            return Err(Failure::NotPublished("the connection ended".to_owned()));
        }
    }
}
