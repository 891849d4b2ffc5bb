//! Power cuts on a model of a disk: no rights are needed, and it reorders and tears what a real disk rarely does.
//!
//! Two small runs are traced, one on a new log and one across a checkpoint; then the power goes before any of its storage calls, many times, and each time the server opens
//! what a legal disk could hold then.

use crate::{
    failure::{Failure, expect},
    faults::syscalls::near_checkpoint,
    history::{self, Line, Record},
    load::read_log,
    probe::Probe,
    publisher::Outcome,
    run::{Run, Settings},
    server::Server,
    storage::{Disk, Traced, read_trace},
    strace, tools,
};
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

const REQUESTS: u64 = 40;
const END: Duration = Duration::from_secs(20);

/// Cuts the power so many times; a lying disk forgets all that was written after the server listened.
pub(crate) async fn run(settings: &Settings, cuts: u64, is_lying: bool) -> Result<String, Failure> {
    let name = if is_lying { "simulated-cut-lying-disk" } else { "simulated-cut" };
    let (mut acked, mut calls) = (0, 0);
    for (kind, share) in [("new", cuts - cuts / 5), ("checkpoint", cuts / 5)] {
        let run = Run::new(settings, &format!("{name}/{kind}"))?;
        if kind == "checkpoint" {
            run.follow(&near_checkpoint(settings, name).await?)?;
        }
        let disk = Disk::holding(tools::directory(&run.directory.join("data"))?);
        let before = disk.map_err(Failure::during("reading a data directory"))?;
        let (more_acked, more_calls) = cut(&run, &before, share, is_lying).await?;
        (acked, calls) = (acked + more_acked, calls + more_calls);
    }
    Ok(format!(
        "{cuts} cuts among {calls} storage calls on a model of a disk that keeps, drops, reorders and tears what is not synced; \
         every log opened, {acked} acknowledgements held against them, 0 lost"
    ))
}

/// Cuts one run; gives how many acknowledgements were held against what was left, and how many calls there were.
async fn cut(run: &Run, before: &Disk, cuts: u64, is_lying: bool) -> Result<(usize, usize), Failure> {
    let (trace, listening) = traced(run).await?;
    run.recorder.flush()?;
    let lines = history::lines(&run.directory).map_err(Failure::during("reading the history"))?;
    let (mut chance, mut acked) = (run.chance.branch(1), 0);
    for cut in 1..=cuts {
        let least = if is_lying { listening + 1 } else { 0 };
        let calls = usize::try_from(chance.between(least as u64, trace.len() as u64)).unwrap_or_default();
        let name = format!("cut-{cut}-before-call-{calls}");
        let image = Run::below(run, &name)?;
        let mut disk = before.clone();
        for (index, Traced { call, .. }) in trace.iter().take(calls).enumerate() {
            disk.is_lying = is_lying && index >= listening;
            disk.play(call);
        }
        let data = image.directory.join("data");
        tools::directory(&data)?;
        for (name, bytes) in disk.crash(&mut chance) {
            private_file(&data.join(name), &bytes).map_err(Failure::during("writing an image"))?;
        }
        // What had happened when the call at which the power goes began.
        let until = trace.get(calls).map_or(u64::MAX, |traced| traced.at);
        let mut is_begun = false;
        for Line { record, .. } in lines.iter().filter(|line| line.at < until) {
            is_begun |= matches!(record, Record::Acked { .. });
            image.recorder.record(record.clone());
        }
        // Before its first event a log may not be whole yet; opening it makes it so.
        if is_begun && !is_lying {
            image.log_check(&data).await?;
        }
        let server = Server::start(&image.recipe()).await?;
        read_log(&server, &image.recorder).await?;
        server.kill().await?;
        acked += image.verdict()?.counts.acked;
        std::fs::remove_dir_all(&image.directory).map_err(Failure::during("removing an image"))?;
    }
    Ok((acked, trace.len()))
}

/// Writes a file of an image as the server makes them: for its owner only.
fn private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

/// A run whose storage calls are known; with the number of calls before it listened.
async fn traced(run: &Run) -> Result<(Vec<Traced>, usize), Failure> {
    // strace tells paths as the kernel knows them.
    let data = tools::directory(&run.directory)?
        .canonicalize()
        .map_err(Failure::during("finding the run"))?
        .join("data");
    let traces = run.directory.join("traces");
    tools::directory(&traces)?;
    let mut recipe = run.recipe_at(&data);
    recipe.wrapper = strace::record(&traces.join("thread"))?;
    let mut server = Server::start(&recipe).await?;
    let listening = read_trace(&traces, &data)?.len();
    let (mut chance, mut probe) = (run.chance.clone(), Probe::new("probe", &run.recorder)?);
    for _ in 0..REQUESTS {
        let drafts: Vec<_> = (0..chance.between(1, 4))
            .map(|_| {
                let mut draft = probe.draft();
                let padding = usize::try_from(chance.below(3_000)).unwrap_or_default();
                draft.data["padding"] = "x".repeat(padding).into();
                draft
            })
            .collect();
        let (outcome, _) = probe.send(&server, &drafts).await;
        expect(outcome == Outcome::Acked, || format!("a publish was answered {outcome:?}"))?;
    }
    server.signal("TERM").await?;
    server.ended(END).await?;
    let trace = read_trace(&traces, &data)?;
    expect(trace.len() > listening, || "publishing made no storage calls".to_owned())?;
    Ok((trace, listening))
}
