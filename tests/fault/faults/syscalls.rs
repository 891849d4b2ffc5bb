//! `kill -9` before every single storage call of a small run: the N-th of each kind, for every N until the run gets through.
//!
//! Three runs are cut in pieces: making a new log, opening one that a crash left behind, and publishing up to an orderly end.

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
use std::{path::Path, time::Duration};
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
const END: Duration = Duration::from_secs(20);

/// Where in the life of a server it is killed.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Create,
    Recover,
    Serve,
}

/// Kills at every call; gives a line about them.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    let mut loops = JoinSet::new();
    for phase in [Phase::Create, Phase::Recover, Phase::Serve] {
        for call in CALLS {
            let settings = settings.clone();
            loops.spawn(async move { every(&settings, phase, call).await });
        }
    }
    let mut kills = [0, 0, 0];
    while let Some(ended) = loops.join_next().await {
        let (phase, count) = ended.map_err(|error| Failure::broken(error.to_string()))??;
        if let Some(total) = kills.get_mut(phase as usize) {
            *total += count;
        }
    }
    let [create, recover, serve] = kills;
    // One that is never killed would prove nothing.
    expect(create > 0 && recover > 0 && serve > 0, || format!("nothing was killed in a phase: {kills:?}"))?;
    Ok(format!(
        "killed before each of {create} storage calls of a new log, {recover} of a recovery and {serve} of publishing and \
         closing; 0 acknowledged events lost"
    ))
}

/// Kills at the first, second, … call until one run gets through.
async fn every(settings: &Settings, phase: Phase, call: &'static str) -> Result<(Phase, u32), Failure> {
    for when in 1..CALLS_MAX {
        let run = Run::new(settings, &format!("syscalls/{phase:?}-{call}-{when}"))?;
        let mut probe = Probe::new("probe", &run.recorder)?;
        let mut open = Vec::new();
        if matches!(phase, Phase::Recover) {
            crash_once(&run, &mut probe).await?;
        }
        run.recorder.record(Record::Fault { what: format!("killed before {call} number {when}") });
        let was_killed = match phase {
            Phase::Create | Phase::Recover => opening(&run, call, when).await?,
            Phase::Serve => serving(&run, &mut probe, &mut open, call, when).await?,
        };
        after(&run, phase, &mut probe, &open).await?;
        std::fs::remove_dir_all(&run.directory).map_err(Failure::during("removing a run"))?;
        if !was_killed {
            return Ok((phase, when - 1));
        }
    }
    Err(Failure::broken(format!("{phase:?} makes more than {CALLS_MAX} calls of {call}")))
}

fn injection(data_dir: &Path, call: &str, when: u32) -> Injection {
    Injection { calls: call.to_owned(), what: format!("signal=KILL:when={when}"), paths: log_files(data_dir) }
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
