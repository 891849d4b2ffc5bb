//! Changes of resources that are on disk, each with its event, when they are answered: clients that each wait for their answer
//! before they ask again.
//!
//! Invariants: every change that counts was made; an answer with an error ends the round.

use super::Stage;
use crate::{
    dialect::split_response,
    failure::Failure,
    goals::CHANGES_PER_S,
    histogram::Histogram,
    report::{Counted, Reading},
    server::Server,
    wire::Wire,
};
use futures_util::future::try_join_all;
use serde_json::json;
use std::{cell::RefCell, rc::Rc, time::Duration};
use tokio::time::{Instant, timeout};

const CLIENTS: usize = 10;
/// The warm-up is this many times shorter than the run.
const WARM_UP: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

/// What clients do, as documents over the number of a client and another number each time: like those of users, one text with
/// variables.
const SETTINGS: [(&str, &str); 2] = [
    (
        "agents' status",
        r#"mutation($agent: ID!, $new: String!) {
            setAgentStatus(id: $agent, organizationId: "bench", status: $new, message: "working") { agent { version } cursor }
        }"#,
    ),
    (
        "new tasks",
        r#"mutation($agent: ID!, $new: String!) {
            createTask(task: { organizationId: "bench", agentId: $agent, name: $new }) { task { id } cursor }
        }"#,
    ),
];

pub(super) async fn round(stage: &Stage<'_>) -> Result<Vec<Reading>, Failure> {
    let plan = stage.plan;
    let mut readings = Vec::new();
    for (setting, document) in SETTINGS {
        let server = stage.server().await?;
        found(&server).await?;
        run(&server, document, plan.durable_window / WARM_UP).await?;
        let (before, start) = (server.cpu()?, Instant::now());
        let (changes, latency) = run(&server, document, plan.durable_window).await?;
        let (cpu, wall) = (server.cpu_since(before)?.as_secs_f64(), start.elapsed().as_secs_f64());
        let figures = vec![
            (CHANGES_PER_S, changes as f64 / wall),
            ("us CPU/change", cpu * 1e6 / changes as f64),
            ("answer p50 ms", latency.percentile_ms(50)),
            ("answer p99 ms", latency.percentile_ms(99)),
            ("server busy %", cpu / wall * 100.0),
        ];
        let counted = Counted {
            events: usize::try_from(changes).unwrap_or(usize::MAX),
            subscribers: 0,
            bytes: request(document, 0, 0).len() as f64,
            checked: changes,
            what: "accepted",
        };
        readings.push(stage.reading(setting, counted, figures));
    }
    Ok(readings)
}

/// The organization, and an agent for each client.
async fn found(server: &Server) -> Result<(), Failure> {
    let mut wire = Wire::connect(server.address).await?;
    let organization =
        r#"mutation { createOrganization(organization: { id: "bench", name: "Bench" }) { cursor } }"#;
    change(&mut wire, &request(organization, 0, 0)).await?;
    let agent = r#"mutation($agent: ID!, $new: String!) {
        createAgent(agent: { id: $agent, organizationId: "bench", name: $new }) { cursor }
    }"#;
    for client in 0..CLIENTS {
        change(&mut wire, &request(agent, client, 0)).await?;
    }
    Ok(())
}

fn request(document: &str, client: usize, new: u64) -> Vec<u8> {
    let variables = json!({ "agent": format!("a{client}"), "new": new.to_string() });
    let body = json!({ "query": document, "variables": variables }).to_string();
    format!(
        "POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Lets all clients change for so long; gives how many changes were made, and how fast.
async fn run(server: &Server, document: &str, length: Duration) -> Result<(u64, Histogram), Failure> {
    let latency = Rc::new(RefCell::new(Histogram::default()));
    let until = Instant::now() + length;
    let clients = (0..CLIENTS).map(|client| {
        let latency = Rc::clone(&latency);
        async move {
            let mut wire = Wire::connect(server.address).await?;
            let mut changes = 0;
            let begun = u64::try_from(length.as_millis()).unwrap_or(u64::MAX) << 32;
            while Instant::now() < until {
                let request = request(document, client, begun + changes);
                let sent = Instant::now();
                timeout(PATIENCE, change(&mut wire, &request))
                    .await
                    .map_err(|_| Failure::NotAcknowledged(PATIENCE))??;
                latency.borrow_mut().record(sent.elapsed());
                changes += 1;
            }
            Ok::<_, Failure>(changes)
        }
    });
    let changes = try_join_all(clients).await?.into_iter().sum();
    Ok((changes, latency.take()))
}

/// Makes a change and waits for its answer.
async fn change(wire: &mut Wire, request: &[u8]) -> Result<(), Failure> {
    wire.send(request).await?;
    loop {
        if let Some((body, after)) = split_response(&wire.rest)? {
            let (body, after) = (body.map_err(Failure::NotPublished)?, after.len());
            wire.rest.drain(..wire.rest.len() - after);
            return if body.contains(r#""errors""#) { Err(Failure::NotPublished(body)) } else { Ok(()) };
        }
        wire.read_more().await?;
    }
}
