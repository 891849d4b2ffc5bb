//! Every subscriber has a filter of its own, all with the same selection, and every event meets them all.

use super::{Stage, TICKS};
use crate::{audience::Audience, failure::Failure, report::Reading};

const IN_FLIGHT: usize = 64;

/// The same crowd with one filter and with as many as it has members, each on a server of its own.
pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let mut readings = Vec::new();
    for (setting, audience) in [("identical", TICKS), ("distinct", Audience::Distinct)] {
        let server = stage.server().await?;
        let subscribers = stage.plan.subscribers;
        let mut load = stage.load(&server, audience, subscribers).await?;
        let cost = load.measure(&server, stage.plan.events_for(stage.peer, IN_FLIGHT), IN_FLIGHT).await?;
        readings.push(stage.delivery_reading(setting, subscribers, &cost));
    }
    Ok(readings)
}
