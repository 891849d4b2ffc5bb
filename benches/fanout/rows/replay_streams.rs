//! A Redis stream read from its beginning by one client: pages of `XRANGE`, each asked for when the last one has come.
//!
//! Invariants: every entry is checked, once and in order, as those of a subscription are.

use super::{TICKS, durable::answered};
use crate::{
    dialect::{Dialect, ready_made, redis_command},
    failure::Failure,
    ledger::Ledger,
    server::Server,
    subscriber::sequence,
    wire::{Wire, text_of},
};
use tokio::time::Instant;

/// Entries of one page, and of one burst while the stream is filled.
const PAGE: usize = 1000;
/// An entry is an array of its id and an array of a name and a value: so many lines of RESP.
const ENTRY_LINES: usize = 8;

/// Fills the stream with texts like those that subscribers get.
pub(super) async fn store(
    dialect: &dyn Dialect,
    server: &Server,
    events: usize,
    padding: &str,
) -> Result<(), Failure> {
    let mut wire = Wire::connect(server.address).await?;
    let mut stored = 0;
    while stored < events {
        let end = (stored + PAGE).min(events);
        let commands = (stored..end).flat_map(|event| {
            redis_command(&["XADD", "bench", "*", "event", &ready_made(TICKS, event as u64, padding)])
        });
        wire.send(&commands.collect::<Vec<_>>()).await?;
        answered(dialect, &mut wire, end - stored).await?;
        stored = end;
    }
    Ok(())
}

/// Reads all of it and enters each entry in the ledger.
pub(super) async fn read(server: &Server, events: usize, ledger: &Ledger) -> Result<(), Failure> {
    let mut wire = Wire::connect(server.address).await?;
    let (mut from, mut expected, mut key_at) = ("-".to_owned(), 0, 0);
    while expected < events as u64 {
        wire.send(&redis_command(&["XRANGE", "bench", &from, "+", "COUNT", &PAGE.to_string()])).await?;
        let page = page(&mut wire).await?;
        let mut lines = page.split(|byte| *byte == b'\n');
        while let (Some(id), Some(text)) = (lines.nth(2), lines.nth(ENTRY_LINES - 4)) {
            let found = sequence(text, &mut key_at).ok_or_else(|| unexpected(text))?;
            if found != expected {
                let after = expected.saturating_sub(1);
                return Err(Failure::OutOfOrder { subscriber: 0, after, found });
            }
            ledger.deliver(found, text.len() - 1, Instant::now())?;
            from = format!("({}", text_of(id).trim_end());
            expected += 1;
        }
    }
    Ok(())
}

/// Waits for one whole page and takes it off.
async fn page(wire: &mut Wire) -> Result<Vec<u8>, Failure> {
    let head = wire.read_until(b"\r\n").await?;
    let entries = head.trim_end().strip_prefix('*').and_then(|count| count.parse::<usize>().ok());
    let entries = entries.filter(|entries| *entries > 0).ok_or_else(|| unexpected(head.as_bytes()))?;
    let (mut missing, mut seen) = (entries * ENTRY_LINES, 0);
    loop {
        let fresh = wire.rest.get(seen..).unwrap_or_default();
        for byte in fresh {
            seen += 1;
            missing -= usize::from(*byte == b'\n');
            if missing == 0 {
                let after = wire.rest.split_off(seen);
                return Ok(std::mem::replace(&mut wire.rest, after));
            }
        }
        wire.read_more().await?;
    }
}

fn unexpected(text: &[u8]) -> Failure {
    Failure::Unexpected { subscriber: 0, text: text_of(text) }
}
