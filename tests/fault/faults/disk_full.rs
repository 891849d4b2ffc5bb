//! The disk fills up under load, stays full, and gets room again.

use crate::{
    failure::{Failure, expect, within},
    history::Record,
    load::{Load, Plan},
    probe::Probe,
    publisher::{Habit, Outcome},
    run::{Run, Settings},
    server::Server,
    tools::{self, words},
};
use serde_json::json;
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A refusal comes within this time, reads are answered within it too.
const REFUSAL_MAX: Duration = Duration::from_secs(1);
/// Once there is room again, publishes are taken within this time.
const RECOVERY_MAX: Duration = Duration::from_secs(5);
const FILL: Duration = Duration::from_secs(30);
const FULL_FOR: Duration = Duration::from_millis(1_000);
/// Freed before the second time, so that the disk fills up at another place of the journal.
const ROOM_BYTES: usize = 1024 * 1024;

/// Fills the disk twice; the second time the server is killed while it is full.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    tools::need(&["mount"])?;
    let run = Run::new(settings, "disk-full")?;
    let disk = run.directory.join("disk");
    mount(&disk).await?;
    let recipe = run.recipe_at(&disk.join("data"));
    let habit = Habit { padding_bytes_max: 4_000, ..Habit::default() };
    let mut load = Load::start(&run.recorder, &Plan { habit, ..Plan::default() }, &run.chance)?;
    let server = Server::start(&recipe).await?;
    load.serve_at(Some(server.address));
    let mut probe = Probe::new("probe", &run.recorder)?;
    probe.acked(&server).await?;

    let filler = fill(&disk, ROOM_BYTES)?;
    let refusal = full(&run, &server, &mut probe).await?;
    make_room(&filler)?;
    let (recovery, _) = probe.until(&server, &Outcome::Acked, RECOVERY_MAX).await?;

    let filler = fill(&disk, 2 * ROOM_BYTES)?;
    let refusal = refusal.max(full(&run, &server, &mut probe).await?);
    run.recorder.record(Record::Fault { what: "kill -9 on a full disk".to_owned() });
    server.kill().await?;
    load.serve_at(None);
    make_room(&filler)?;
    run.log_check(&recipe.data_dir).await?;
    let server = Server::start(&recipe).await?;
    load.serve_at(Some(server.address));
    load.settle().await?;
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!(
        "STORAGE_FULL after {} ms at most, recovered {} ms after there was room, killed while full and opened again; {} \
         events acknowledged, 0 lost, none refused and logged",
        refusal.as_millis(),
        recovery.as_millis(),
        counts.acked
    ))
}

async fn mount(disk: &Path) -> Result<(), Failure> {
    tools::directory(disk)?;
    let mut arguments = words(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"]);
    arguments.push(disk.as_os_str());
    let mounted = tools::run("mount", &arguments).await;
    mounted.map_err(|failure| Failure::Lacking(format!("the right to mount a tmpfs ({failure})")))
}

/// Takes all room but a little, so that the load takes the rest.
fn fill(disk: &Path, but: usize) -> Result<PathBuf, Failure> {
    let path = disk.join("filler");
    let mut filler = File::create(&path).map_err(Failure::during("creating the filler"))?;
    let mut written: u64 = 0;
    loop {
        match filler.write(&[b'x'; 64 * 1024]) {
            Ok(bytes) => written += bytes as u64,
            Err(error) if error.kind() == ErrorKind::StorageFull => break,
            Err(error) => return Err(Failure::during("filling the disk")(error)),
        }
    }
    filler.set_len(written.saturating_sub(but as u64)).map_err(Failure::during("leaving a little room"))?;
    Ok(path)
}

fn make_room(filler: &Path) -> Result<(), Failure> {
    std::fs::remove_file(filler).map_err(Failure::during("removing the filler"))
}

/// The disk fills up; publishes are refused in time, and reading goes on. Gives how long the slowest refusal took.
async fn full(run: &Run, server: &Server, probe: &mut Probe) -> Result<Duration, Failure> {
    let refused = Outcome::Refused("STORAGE_FULL".to_owned());
    let (_, mut slowest) = probe.until(server, &refused, FILL).await?;
    run.recorder.record(Record::Fault { what: "the disk is full".to_owned() });
    let until = Instant::now() + FULL_FOR;
    while Instant::now() < until {
        let (outcome, took) = probe.publish(server).await;
        // The last bytes of room may still take a small event.
        let is_told = outcome == refused || outcome == Outcome::Acked;
        expect(is_told, || format!("a publish on a full disk was answered {outcome:?}"))?;
        slowest = slowest.max(took);
        let last = json!({ "last": 10 });
        let read = server.call("events.history", &last);
        let page = within(REFUSAL_MAX, "a read on a full disk is answered", read).await??;
        expect(page["events"].as_array().is_some_and(|events| events.len() == 10), || {
            format!("a read on a full disk gave {page}")
        })?;
        sleep(Duration::from_millis(20)).await;
    }
    expect(slowest <= REFUSAL_MAX, || format!("a refusal took {slowest:?}"))?;
    Ok(slowest)
}
