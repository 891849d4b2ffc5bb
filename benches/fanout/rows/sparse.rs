//! Many distinct filters of which one matches: the cost of an event must not follow the number of filters.
//!
//! Flow: few connections hold all filters, hundreds of subscriptions each; every event is for one of them.

use super::{Stage, delivered};
use crate::{audience::Audience, failure::Failure, goals::US_PER_EVENT, report::Reading};

const IN_FLIGHT: usize = 64;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let mut readings = Vec::new();
    for (setting, per_connection) in ["few filters", "many filters"].into_iter().zip(plan.filters_each) {
        let filters = plan.filter_connections * per_connection;
        let server = stage.server().await?;
        let audience = Audience::Rooms { per_connection, room: filters / 2 };
        let before = server.cpu()?;
        let mut load = stage.connect(&server, audience, plan.filter_connections).await?;
        load.ledger.all_ready(filters).await?;
        let subscribing = server.cpu_since(before)?;
        load.subscribed().await?;
        let cost = load.measure(&server, plan.events_for(stage.peer, IN_FLIGHT), IN_FLIGHT).await?;
        let figures = vec![
            (US_PER_EVENT, cost.cpu_us_per_event()),
            ("filters", filters as f64),
            ("us CPU to subscribe", subscribing.as_secs_f64() * 1e6 / filters as f64),
            ("to all p50 ms", cost.tally.to_all.percentile_ms(50)),
            ("to all p99 ms", cost.tally.to_all.percentile_ms(99)),
        ];
        readings.push(stage.reading(
            setting,
            delivered(plan.filter_connections, cost.events, &cost.tally),
            figures,
        ));
    }
    Ok(readings)
}
