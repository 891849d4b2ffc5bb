//! One TCP connection of the load, with what has arrived on it and was not yet understood.

use crate::failure::Failure;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    /// The beginning of something whose end has not arrived.
    pub(crate) rest: Vec<u8>,
    pub(crate) address: SocketAddr,
}

impl Wire {
    /// Connects; sends without delay.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(Failure::during("connecting"))?;
        stream.set_nodelay(true).map_err(Failure::during("setting TCP_NODELAY"))?;
        Ok(Wire { stream, rest: Vec::new(), address })
    }

    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(Failure::during("sending"))
    }

    /// Waits for more of what was not understood.
    pub(crate) async fn read_more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.rest).await.map_err(Failure::during("reading an answer"))? {
            0 => Err(Failure::Refused(format!("the connection ended after {:?}", self.text()))),
            _ => Ok(()),
        }
    }

    /// Reads up to and including `mark` and takes it off.
    pub(crate) async fn read_until(&mut self, mark: &[u8]) -> Result<String, Failure> {
        loop {
            if let Some(place) = self.rest.windows(mark.len()).position(|window| window == mark) {
                let taken: Vec<u8> = self.rest.drain(..place + mark.len()).collect();
                return Ok(text_of(&taken));
            }
            self.read_more().await?;
        }
    }

    fn text(&self) -> String {
        text_of(&self.rest)
    }
}

/// Bytes as a failure shows them.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..400).unwrap_or(bytes)).into_owned()
}
