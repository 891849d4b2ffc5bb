//! What connections cost that are subscribed and get nothing: the CPU to get there, the memory, and the memory after a burst.
//!
//! Invariants: the server has done nothing before; memory is read when it has been calm for a while.

use super::{Stage, TICKS, delivered};
use crate::{
    failure::Failure,
    goals::{KB_AFTER_BURST, KB_IDLE, US_TO_CONNECT},
    machine::{check_open_files, socket_buffers_kb},
    report::Reading,
};

/// How many events all connections get at once before their memory is read again; slow servers get fewer.
const BURST_EVENTS: usize = 64;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let connections = stage.plan.connections;
    check_open_files(connections)?;
    let server = stage.server().await?;
    server.settle().await?;
    let (cpu_before, kb_before, buffers_before) =
        (server.cpu()?, server.resident_kb()?, socket_buffers_kb()?);
    let mut load = stage.connect(&server, TICKS, connections).await?;
    server.settle().await?;
    let (connect_cpu, idle_kb) = (server.cpu_since(cpu_before)?, server.resident_kb()? - kb_before);
    // Only now, so that no delivery is in the numbers above: each of them is subscribed.
    load.subscribed().await?;
    let burst = (BURST_EVENTS / stage.peer.slowness()).max(1);
    let tally = load.run(burst, burst).await?;
    server.settle().await?;
    load.ledger.check()?;
    let each = connections as f64;
    let figures = vec![
        (KB_IDLE, idle_kb / each),
        (KB_AFTER_BURST, (server.resident_kb()? - kb_before) / each),
        ("KB socket buffers", (socket_buffers_kb()? - buffers_before).max(0.0) / each),
        (US_TO_CONNECT, connect_cpu.as_secs_f64() * 1e6 / each),
    ];
    Ok(vec![stage.reading("idle", delivered(connections, burst, &tally), figures)])
}
