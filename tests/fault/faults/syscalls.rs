//! `kill -9` before every single storage call of a small run: the N-th of each kind, for every N until the run gets through.
//!
//! Four runs are cut in pieces: making a new log, opening one that a crash left behind, publishing up to an orderly end, and
//! publishing across the point where the journal is brought into the database and begun anew.

use crate::{
    failure::{Failure, expect},
    history::Record,
    load::read_log,
    probe::Probe,
    publisher::{Draft, Outcome},
    run::{Run, Settings},
    server::{Recipe, Server, Started},
    strace::{Injection, log_files},
};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// Everything by which SQLite and the data directory change a file, or a name.
const CALLS: [&str; 10] = [
    "fsync",
    "fdatasync",
    "pwrite64",
    "pwritev",
    "write",
    "ftruncate",
    "openat",
    "unlink",
    "rename",
    "fallocate",
];
/// No run makes so many calls of a kind; one that seems to does not end.
const CALLS_MAX: u32 = 2_000;
/// A checkpoint comes at 4,096 pages of 4,096 bytes and a header of 24 each; a few publishes before it.
const JOURNAL_BYTES: u64 = (4_096 - 12) * (4_096 + 24);
const END: Duration = Duration::from_secs(20);

/// Where in the life of a server it is killed.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Create,
    Recover,
    Serve,
    Checkpoint,
}

/// Kills at every call, of the many writes of a checkpoint at every `stride`-th; gives a line about them.
pub(crate) async fn run(settings: &Settings, stride: u32) -> Result<String, Failure> {
    let full = Arc::new(near_checkpoint(settings, "syscalls").await?);
    let mut loops = JoinSet::new();
    for phase in [Phase::Create, Phase::Recover, Phase::Serve, Phase::Checkpoint] {
        for call in CALLS {
            let full = Arc::clone(&full);
            let stride = if matches!(phase, Phase::Checkpoint) && call == "pwrite64" { stride } else { 1 };
            loops.spawn(async move { every(&full, phase, call, stride.max(1)).await });
        }
    }
    let mut kills = [0, 0, 0, 0];
    while let Some(ended) = loops.join_next().await {
        let (phase, count) = ended.map_err(|error| Failure::broken(error.to_string()))??;
        if let Some(total) = kills.get_mut(phase as usize) {
            *total += count;
        }
    }
    let [create, recover, serve, checkpoint] = kills;
    // One that is never killed would prove nothing.
    expect(kills.iter().all(|count| *count > 0), || format!("nothing was killed in a phase: {kills:?}"))?;
    Ok(format!(
        "killed before each of {create} storage calls of a new log, {recover} of a recovery and {serve} of publishing, and of \
         {checkpoint} around a checkpoint; 0 acknowledged events lost"
    ))
}

/// Kills at the first, second, … call until one run gets through.
async fn every(full: &Run, phase: Phase, call: &'static str, stride: u32) -> Result<(Phase, u32), Failure> {
    for (killed, when) in (1..CALLS_MAX).step_by(stride as usize).enumerate() {
        let run = Run::new(&full.settings, &format!("syscalls/{phase:?}-{call}-{when}"))?;
        let mut probe = Probe::new("probe", &run.recorder)?;
        let mut open = Vec::new();
        match phase {
            Phase::Create | Phase::Serve => {}
            Phase::Recover => crash_once(&run, &mut probe).await?,
            Phase::Checkpoint => run.follow(full)?,
        }
        run.recorder.record(Record::Fault { what: format!("killed before {call} number {when}") });
        let was_killed = match phase {
            Phase::Create | Phase::Recover => opening(&run, call, when).await?,
            Phase::Serve | Phase::Checkpoint => serving(&run, &mut probe, &mut open, call, when).await?,
        };
        if matches!(phase, Phase::Checkpoint) && !was_killed {
            let has_come = database_bytes(&run) > database_bytes(full);
            expect(has_come, || "no checkpoint came about; adapt JOURNAL_BYTES".to_owned())?;
        }
        after(&run, phase, &mut probe, &open).await?;
        std::fs::remove_dir_all(&run.directory).map_err(Failure::during("removing a run"))?;
        if !was_killed {
            return Ok((phase, u32::try_from(killed).unwrap_or(u32::MAX)));
        }
    }
    Err(Failure::broken(format!("{phase:?} makes more than {CALLS_MAX} calls of {call}")))
}

fn injection(data_dir: &Path, call: &str, when: u32) -> Injection {
    Injection { calls: call.to_owned(), what: format!("signal=KILL:when={when}"), paths: log_files(data_dir) }
}

/// A crashed run whose journal is nearly long enough for a checkpoint: the next few publishes bring it about.
pub(crate) async fn near_checkpoint(settings: &Settings, fault: &str) -> Result<Run, Failure> {
    let run = Run::new(settings, &format!("{fault}/near-checkpoint"))?;
    let recipe = run.recipe();
    let server = Server::start(&recipe).await?;
    let mut probe = Probe::new("before", &run.recorder)?;
    let database = database_bytes(&run);
    let journal =
        || std::fs::metadata(recipe.data_dir.join("fanfare.db-wal")).map_or(0, |journal| journal.len());
    while journal() < JOURNAL_BYTES {
        // Small events change the same pages again and again, so that the checkpoint itself has few to write.
        probe.acked(&server).await?;
        expect(database_bytes(&run) == database, || {
            "a checkpoint came too early; adapt JOURNAL_BYTES".to_owned()
        })?;
    }
    server.kill().await?;
    run.recorder.flush()?;
    Ok(run)
}

fn database_bytes(run: &Run) -> u64 {
    std::fs::metadata(run.recipe().data_dir.join("fanfare.db")).map_or(0, |database| database.len())
}

/// Leaves a log with a journal that was not brought in.
async fn crash_once(run: &Run, probe: &mut Probe) -> Result<(), Failure> {
    let server = Server::start(&run.recipe()).await?;
    for _ in 0..3 {
        probe.acked(&server).await?;
    }
    server.kill().await
}

async fn opening(run: &Run, call: &str, when: u32) -> Result<bool, Failure> {
    let recipe = run.recipe();
    let wrapper = injection(&recipe.data_dir, call, when).wrapper()?;
    match Server::try_start(&Recipe { wrapper, ..recipe }).await? {
        Started::Ended(status) => {
            expect(status.code().is_none(), || format!("it was not killed but ended with {status}"))?;
            Ok(true)
        }
        Started::Listening(server) => {
            server.kill().await?;
            Ok(false)
        }
    }
}

/// Publishes one by one and a batch, then ends in order; what has no outcome is left in `open`.
async fn serving(
    run: &Run,
    probe: &mut Probe,
    open: &mut Vec<Vec<Draft>>,
    call: &str,
    when: u32,
) -> Result<bool, Failure> {
    let recipe = run.recipe();
    let mut server = Server::start(&recipe).await?;
    let strace = injection(&recipe.data_dir, call, when).attach(server.pid).await?;
    for size in [1, 1, 3, 1] {
        let drafts: Vec<_> = (0..size).map(|_| probe.draft()).collect();
        if probe.send(&server, &drafts).await.0 != Outcome::Acked {
            open.push(drafts);
            break;
        }
    }
    // Too late for one that was killed.
    let _ = server.signal("TERM").await;
    let status = server.ended(END).await?;
    drop(strace);
    expect(status.success() || status.code().is_none(), || format!("it ended with {status}"))?;
    Ok(!status.success())
}

/// The log opens without help, takes open publishes again, and has kept every promise.
async fn after(run: &Run, phase: Phase, probe: &mut Probe, open: &[Vec<Draft>]) -> Result<(), Failure> {
    let recipe = run.recipe();
    // A log that was never made whole is none yet.
    if !matches!(phase, Phase::Create) {
        run.log_check(&recipe.data_dir).await?;
    }
    let server = Server::start(&recipe).await?;
    for drafts in open {
        let (outcome, _) = probe.send(&server, drafts).await;
        expect(outcome == Outcome::Acked, || format!("a repeat was answered {outcome:?}"))?;
    }
    probe.acked(&server).await?;
    read_log(&server, &run.recorder).await?;
    server.kill().await?;
    run.verdict().map(drop)
}
