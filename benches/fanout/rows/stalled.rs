//! One reader among many stops reading: what it costs the others, and what the server holds for it.
//!
//! Flow: large events that only one connection asked for fill its socket and its budget; then the latency of the others is
//! measured at a steady rate. The same events go to a reader that reads, on another server, for comparison.
//! Invariants: the stalled reader is still connected when the measuring ends.

use super::{Stage, delivered};
use crate::{
    audience::Audience,
    failure::Failure,
    goals::{KB_HELD, P99_MS},
    load::{Load, connect_all, feed},
    report::{Counted, Reading},
};

const LIVE: Audience = Audience::Topic("bench.live");
const HEAVY: Audience = Audience::Topic("bench.heavy");
/// Together more than the buffers of a socket on the loopback and the default budget of a connection.
const HEAVY_BYTES: usize = 16 * 1024;
const HEAVY_EVENTS: usize = 1024;
const HEAVY_BATCH: usize = 16;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let (calm, calm_growth) = window(stage, false).await?;
    let (stalled, stalled_growth) = window(stage, true).await?;
    let held = (stalled_growth - calm_growth).max(0.0);
    Ok(vec![calm.with(stage, "without", 0.0), stalled.with(stage, "with a stalled reader", held)])
}

/// The others' latencies.
struct Latencies {
    p50_ms: f64,
    p99_ms: f64,
    counted: Counted,
}

impl Latencies {
    fn with(self, stage: &Stage<'_>, setting: &str, held_kb: f64) -> Reading {
        let figures = vec![
            (P99_MS, self.p99_ms),
            ("p50 ms", self.p50_ms),
            ("events/s", stage.plan.live_rate),
            (KB_HELD, held_kb),
        ];
        stage.reading(setting, self.counted, figures)
    }
}

/// A server of its own, with the reader of the large events reading or not. Gives the growth of memory in KB too.
async fn window(stage: &Stage<'_>, is_stalled: bool) -> Result<(Latencies, f64), Failure> {
    let (plan, dialect) = (stage.plan, stage.peer.dialect());
    let server = stage.server().await?;
    let mut live = stage.load(&server, LIVE, plan.subscribers).await?;
    let readers = usize::from(!is_stalled);
    let mut heavy = Load::connect(dialect, server.address, feed(HEAVY, readers, HEAVY_BYTES)).await?;
    let mut stalled = connect_all(dialect, server.address, 1 - readers).await?;
    if readers > 0 {
        heavy.subscribed().await?;
    }
    for subscriber in &mut stalled {
        let mut wish = HEAVY.wish(0);
        wish.filters.extend(LIVE.wish(0).filters);
        subscriber.subscribe(&wish).await?;
    }
    live.pace_for(plan.live_rate, plan.latency_window / 5).await?;
    server.settle().await?;

    let (kb_before, files) = (server.resident_kb()?, server.open_files()?);
    heavy.store(HEAVY_EVENTS, HEAVY_BATCH).await?;
    server.settle().await?;
    let growth = server.resident_kb()? - kb_before;
    let (events, tally) = live.pace_for(plan.live_rate, plan.latency_window).await?;
    if server.open_files()? < files {
        let reason = "the stalled reader was let go before the measuring ended".to_owned();
        return Err(Failure::Disconnected { subscriber: plan.subscribers, reason });
    }
    let latencies = Latencies {
        p50_ms: tally.latency.percentile_ms(50),
        p99_ms: tally.latency.percentile_ms(99),
        counted: delivered(plan.subscribers, events, &tally),
    };
    Ok((latencies, growth))
}
