//! Many groups of few subscribers: each event is for one group, and a server that wakes everybody pays for everybody.

use super::Stage;
use crate::{audience::Audience, failure::Failure, machine::check_open_files, report::Reading};

const IN_FLIGHT: usize = 64;
/// Deliveries are few here, and a run must be long enough for a clock of 10 ms.
const LONGER: usize = 4;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let subscribers = plan.groups * plan.group_members;
    check_open_files(subscribers)?;
    let server = stage.server().await?;
    let mut load = stage.load(&server, Audience::Groups(plan.groups), subscribers).await?;
    let events = plan.events_for(stage.peer, IN_FLIGHT) * if stage.peer.slowness() > 1 { 1 } else { LONGER };
    let cost = load.measure(&server, events, IN_FLIGHT).await?;
    Ok(vec![stage.delivery_reading("groups", subscribers, &cost)])
}
