//! The same deliveries to few and to many connections: their cost must not grow with the number.

use super::{Stage, TICKS};
use crate::{failure::Failure, machine::check_open_files, report::Reading};

const IN_FLIGHT: usize = 64;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let deliveries = plan.events * plan.scale.first().copied().unwrap_or(1);
    let mut readings = Vec::new();
    for (setting, connections) in ["fewest", "more", "most"].into_iter().zip(plan.scale) {
        check_open_files(connections)?;
        let server = stage.server().await?;
        let mut load = stage.load(&server, TICKS, connections).await?;
        let cost = load.measure(&server, (deliveries / connections).max(IN_FLIGHT), IN_FLIGHT).await?;
        readings.push(stage.delivery_reading(setting, connections, &cost));
    }
    Ok(readings)
}
