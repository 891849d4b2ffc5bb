//! Peers that want to do harm, in every way at once, while honest subscribers are live at a steady rate.
//!
//! Flow: the honest ones are measured; the mob gathers; the honest ones are measured again while it attacks.
//! Invariants: no honest subscriber loses an event or its place; the mob lives in a process of its own, on the core of the load,
//! where it has whatever the honest ones leave: it slows the server down and not the measuring.

use super::{Stage, delivered};
use crate::{
    audience::Audience,
    failure::Failure,
    goals::P99_RATIO,
    machine::check_open_files,
    mob::{Attack, Mob, Plot},
    report::Reading,
};
use tokio::time::Instant;

const LIVE: Audience = Audience::Topic("bench.live");

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    check_open_files(plan.slow_peers + plan.honest_subscribers)?;
    let server = stage.server().await?;
    let mut live = stage.load(&server, LIVE, plan.honest_subscribers).await?;
    live.pace_for(plan.live_rate, plan.latency_window / 5).await?;
    let (_, before) = live.pace_for(plan.live_rate, plan.latency_window).await?;
    server.settle().await?;
    let kb_before = server.resident_kb()?;
    server.forget_peak()?;

    let plot = Plot {
        address: server.address,
        attacks: plan.attacks.clone(),
        slow: plan.slow_peers,
        each: plan.hostile_each,
    };
    let mob = Mob::gather(&plot).await?;
    let (cpu_before, start) = (server.cpu()?, Instant::now());
    let (events, during) = live.pace_for(plan.live_rate, plan.hostile_window).await?;
    let busy = server.cpu_since(cpu_before)?.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let begun = mob.disperse().await?;
    let (p99_before, p99_during) = (before.latency.percentile_ms(99), during.latency.percentile_ms(99));
    let often = |kinds: &[Attack]| kinds.iter().filter_map(|kind| begun.get(kind)).sum::<usize>() as f64;
    let figures = vec![
        (P99_RATIO, p99_during / p99_before),
        ("p99 ms before", p99_before),
        ("p99 ms during", p99_during),
        ("p50 ms before", before.latency.percentile_ms(50)),
        ("p50 ms during", during.latency.percentile_ms(50)),
        ("MB more at peak", (server.peak_kb()? - kb_before).max(0.0) / 1024.0),
        ("slow peers", often(&[Attack::Slow])),
        ("floods", often(&[Attack::Pings, Attack::Fragments, Attack::Huge])),
        ("silent peers", often(&[Attack::Silent])),
        ("rounds of guesses", often(&[Attack::Tokens])),
        ("server busy %", busy),
    ];
    Ok(vec![stage.reading("hostile", delivered(plan.honest_subscribers, events, &during), figures)])
}
