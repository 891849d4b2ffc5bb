//! All subscribers ask for the same, with many, some and one event on their way.

use super::{Stage, TICKS};
use crate::{failure::Failure, report::Reading};

/// So slow a server takes minutes for what others do in a second, and is not asked to keep more than this in flight.
const SLOW: usize = 10;
const SLOW_IN_FLIGHT_MAX: usize = 64;

/// One server, one crowd, all settings in turn.
pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let server = stage.server().await?;
    let subscribers = stage.plan.subscribers;
    let mut load = stage.load(&server, TICKS, subscribers).await?;
    let mut readings = Vec::new();
    for in_flight in stage.plan.in_flight.iter().copied() {
        if stage.peer.slowness() >= SLOW && in_flight > SLOW_IN_FLIGHT_MAX {
            continue;
        }
        let cost = load.measure(&server, stage.plan.events_for(stage.peer, in_flight), in_flight).await?;
        readings.push(stage.delivery_reading(format!("{in_flight} in flight"), subscribers, &cost));
    }
    Ok(readings)
}
