//! SIGTERM under load: what was begun is answered, consumers are told to come back, the server ends with 0.

use crate::{
    failure::{Failure, expect},
    history::{self, Record},
    load::{Load, Plan, read_log},
    recorder::Recorder,
    run::{Run, Settings},
    server::Server,
    tools,
};
use std::{collections::HashSet, time::Duration};
use tokio::time::{Instant, sleep};

const END_MAX: Duration = Duration::from_secs(30);

/// Ends the server again and again.
pub(crate) async fn run(settings: &Settings, cycles: u64) -> Result<String, Failure> {
    let run = Run::new(settings, "terminate")?;
    let mut chance = run.chance.clone();
    let recipe = run.recipe();
    let load = Load::start(&run.recorder, &Plan::default(), &chance.branch(0))?;
    let (mut slowest, mut open) = (Duration::ZERO, 0);
    for cycle in 1..=cycles {
        let mut server = Server::start(&recipe).await?;
        load.serve_at(Some(server.address));
        sleep(Duration::from_millis(chance.between(100, 500))).await;
        run.recorder.record(Record::Fault { what: format!("SIGTERM, cycle {cycle}") });
        let asked = Instant::now();
        server.signal("TERM").await?;
        // From here on nobody asks again, so that what stays open is what the end left open.
        load.serve_at(None);
        let status = server.ended(END_MAX).await?;
        slowest = slowest.max(asked.elapsed());
        expect(status.success(), || format!("the server ended with {status}"))?;
        open += unanswered(&run, cycle).await?;
        run.log_check(&recipe.data_dir).await?;
    }
    let server = Server::start(&recipe).await?;
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    told(&run)?;
    Ok(format!(
        "{cycles} times exit 0 within {} ms; {} events acknowledged, 0 lost, 0 logged without an answer ({open} requests came \
         too late to be read); every consumer was told to come back (1012)",
        slowest.as_millis(),
        counts.acked
    ))
}

/// A request that was carried out is answered: no event without any answer is in the log. Gives how many events came too late.
async fn unanswered(run: &Run, cycle: u64) -> Result<usize, Failure> {
    let beside = run.directory.join("between");
    let between = Recorder::create(tools::directory(&beside)?, &format!("log-{cycle}"))?;
    let server = Server::start(&run.recipe()).await?;
    read_log(&server, &between).await?;
    server.kill().await?;
    between.flush()?;
    run.recorder.flush()?;
    let records = history::read(&run.directory).map_err(Failure::during("reading the history"))?;
    let mut answered = HashSet::new();
    let mut open = HashSet::new();
    for record in &records {
        if let Record::Invoked { id, .. } = record {
            open.insert(id);
        } else if let Record::Acked { id, .. } = record {
            answered.insert(id);
        }
    }
    open.retain(|id| !answered.contains(id));
    let logged = history::read(&beside).map_err(Failure::during("reading the log"))?;
    std::fs::remove_dir_all(&beside).map_err(Failure::during("removing the log"))?;
    for record in &logged {
        if let Record::Logged { id, .. } = record {
            expect(!open.contains(id), || format!("{id} was logged and its producer got no answer"))?;
        }
    }
    Ok(open.len())
}

/// Consumers that were connected when the server ended have got its close code.
fn told(run: &Run) -> Result<(), Failure> {
    let records = history::read(&run.directory).map_err(Failure::during("reading the history"))?;
    for record in records {
        if let Record::Ended { client, why, .. } = record {
            let is_told = why.starts_with("close 1012") || why.contains("refused");
            expect(is_told, || format!("{client} was not told to come back: {why}"))?;
        }
    }
    Ok(())
}
