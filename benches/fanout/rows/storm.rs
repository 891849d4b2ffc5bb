//! Thousands of clients resume at once, each with events to catch up on, while others are live at a steady rate.
//!
//! Flow: the clients connect and wait; the live ones are measured; the clients resume and the live ones are measured until
//! the last client has everything.
//! Invariants: each client gets each event it had missed, once and in order; the clients live in a process of their own, on
//! the core of the load when nobody else wants it, so that they slow the server down and not the measuring.

use super::{Stage, delivered};
use crate::{
    audience::Audience,
    crowd::{Crowd, MISSED, Task},
    dialect::publish_mark,
    failure::Failure,
    goals::{KB_PER_CLIENT, P99_RATIO},
    machine::check_open_files,
    report::Reading,
};

const LIVE: Audience = Audience::Topic("bench.live");
const BATCH: usize = 500;

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    check_open_files(plan.storm_clients + plan.live_subscribers)?;
    let server = stage.server().await?;
    let after = publish_mark(server.address).await?;
    stage.connect(&server, MISSED, 0).await?.store(plan.storm_events, BATCH).await?;
    let mut live = stage.load(&server, LIVE, plan.live_subscribers).await?;
    let task =
        Task { address: server.address, after, clients: plan.storm_clients, events: plan.storm_events };
    let mut crowd = Crowd::gather(&task).await?;
    server.settle().await?;
    let kb_before = server.resident_kb()?;
    server.forget_peak()?;
    live.pace_for(plan.live_rate, plan.latency_window / 5).await?;
    let (_, before) = live.pace_for(plan.live_rate, plan.latency_window).await?;

    let cpu_before = server.cpu()?;
    crowd.resume().await?;
    let (events, during) = live.pace(plan.live_rate, || crowd.is_done()).await?;
    let served = crowd.served().await?;
    let cpu = server.cpu_since(cpu_before)?;
    let resumed = (plan.storm_clients * plan.storm_events) as f64;
    let (p99_before, p99_during) = (before.latency.percentile_ms(99), during.latency.percentile_ms(99));
    let figures = vec![
        (P99_RATIO, p99_during / p99_before),
        ("p99 ms before", p99_before),
        ("p99 ms during", p99_during),
        ("p90 ms during", during.latency.percentile_ms(90)),
        ("p50 ms during", during.latency.percentile_ms(50)),
        (KB_PER_CLIENT, (server.peak_kb()? - kb_before).max(0.0) / plan.storm_clients as f64),
        ("clients", plan.storm_clients as f64),
        ("resumed", served.delivered as f64),
        ("s to serve all", served.wall_s),
        ("us CPU/resumed", cpu.as_secs_f64() * 1e6 / resumed),
    ];
    Ok(vec![stage.reading("storm", delivered(plan.live_subscribers, events, &during), figures)])
}
