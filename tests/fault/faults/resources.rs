//! `kill -9` between and inside changes of resources: afterwards each is what its events say, its versions have no holes, and
//! every change that was acknowledged is among its events, where the acknowledgement said.

mod changes;
mod folded;

use crate::{
    chance::Chance,
    failure::{Failure, expect, within},
    run::{Run, Settings},
    server::{Server, http_client, post},
};
use changes::Change;
use folded::{Folded, state};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// So many sequences run at a time.
const WORKERS: u64 = 8;
/// The fewest and the most changes of a sequence.
const CHANGES: (u64, u64) = (10, 40);
/// The shortest and the longest load before a kill.
const LOAD_MS: (u64, u64) = (20, 250);
/// So many sequences share a data directory; more would only make its log unwieldy.
const SEQUENCES_A_ROUND: u64 = 200;
/// A server that is killed again comes back within this.
const RETURN: Duration = Duration::from_secs(60);
/// What a change may be refused with: it was made at random.
const EXPECTED: [&str; 4] = ["CONFLICT", "NOT_FOUND", "UNAVAILABLE", "RATE_LIMITED"];

/// A server's number and address: the next one may get the same address.
type Served = (u64, SocketAddr);

/// A change that was acknowledged.
#[derive(Debug)]
struct Acked {
    cursor: String,
    id: String,
    version: u64,
}

/// What became of the changes of a round.
#[derive(Debug, Default)]
struct Outcomes {
    acked: Vec<Acked>,
    refused: usize,
    unknown: usize,
}

/// Runs so many random sequences; gives a line about them.
pub(crate) async fn run(settings: &Settings, sequences: u64) -> Result<String, Failure> {
    let (mut left, mut round) = (sequences, 0);
    let (mut kills, mut acked, mut refused, mut unknown, mut resources) = (0, 0, 0, 0, 0);
    while left > 0 {
        round += 1;
        let run = Run::new(settings, &format!("resources-{round}"))?;
        let (outcomes, killed) = load(&run, left.min(SEQUENCES_A_ROUND)).await?;
        resources += judge(&run, &outcomes.acked).await?;
        kills += killed;
        acked += outcomes.acked.len();
        refused += outcomes.refused;
        unknown += outcomes.unknown;
        left = left.saturating_sub(SEQUENCES_A_ROUND);
    }
    expect(kills > 0 && acked > 0, || "nothing was killed, or nothing changed".to_owned())?;
    Ok(format!(
        "{sequences} sequences and {kills} kills; {acked} changes acknowledged, 0 lost, {refused} refused, {unknown} outcomes left \
         open; {resources} resources are what their events say, without a hole in their versions"
    ))
}

/// Changes resources and kills the server until all sequences are through.
async fn load(run: &Run, sequences: u64) -> Result<(Outcomes, u64), Failure> {
    let (place, address) = watch::channel(None);
    let (next, mut workers) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for _ in 0..WORKERS {
        let (chance, address, next) = (run.chance.clone(), address.clone(), Arc::clone(&next));
        workers.spawn(work(chance, address, next, sequences));
    }
    let (recipe, mut chance, mut kills) = (run.recipe(), run.chance.branch(u64::MAX), 0);
    let (mut outcomes, mut server) = (Outcomes::default(), Server::start(&recipe).await?);
    place.send_replace(Some((kills, server.address)));
    loop {
        let pause = sleep(Duration::from_millis(chance.between(LOAD_MS.0, LOAD_MS.1)));
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Err(error)) => return Err(Failure::broken(format!("a worker ended: {error}"))),
                Some(Ok(ended)) => {
                    let Outcomes { acked, refused, unknown } = ended?;
                    outcomes.acked.extend(acked);
                    outcomes.refused += refused;
                    outcomes.unknown += unknown;
                }
            },
            () = pause => {
                server.kill().await?;
                kills += 1;
                place.send_replace(None);
                server = Server::start(&recipe).await?;
                place.send_replace(Some((kills, server.address)));
            }
        }
    }
    server.kill().await?;
    run.log_check(&recipe.data_dir).await?;
    Ok((outcomes, kills))
}

/// Takes one sequence after the other; each has an organization of its own.
async fn work(
    chance: Chance,
    mut address: watch::Receiver<Option<Served>>,
    next: Arc<AtomicU64>,
    sequences: u64,
) -> Result<Outcomes, Failure> {
    let (http, mut outcomes) = (http_client()?, Outcomes::default());
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= sequences {
            return Ok(outcomes);
        }
        let mut chance = chance.branch(number);
        let organization = format!("s{number}");
        // Again until it is there: what becomes of it while the server is killed is not known.
        let mut founded = false;
        let mut left = chance.between(CHANGES.0, CHANGES.1);
        while left > 0 {
            let change = if founded { Change::random(&mut chance) } else { Change::found() };
            let served =
                within(RETURN, "the server is there again", address.wait_for(Option::is_some)).await?;
            let served = served.map_err(|_| Failure::broken("the load was given up"))?.to_owned();
            let Some(served) = served else { continue };
            let body = json!({ "query": change.document(&organization) });
            let Ok((_, answer)) = post(&http, &format!("http://{}/graphql", served.1), &body).await else {
                outcomes.unknown += 1;
                // Until the server is known to be gone; else the same address would be asked without a pause.
                let gone = address.wait_for(|now| *now != Some(served));
                within(RETURN, "the killed server is gone", gone)
                    .await?
                    .map_err(|_| Failure::broken("given up"))?;
                continue;
            };
            founded |= take(&answer, &mut outcomes)?;
            left -= 1;
        }
    }
}

/// Books an answer; says whether the resource is there now.
fn take(answer: &Value, outcomes: &mut Outcomes) -> Result<bool, Failure> {
    let made = &answer["data"]["made"];
    if let (Some(cursor), Some(id)) = (made["cursor"].as_str(), made["state"]["id"].as_str()) {
        let version = made["state"]["version"].as_u64().unwrap_or_default();
        outcomes.acked.push(Acked { cursor: cursor.to_owned(), id: id.to_owned(), version });
        return Ok(true);
    }
    let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
    expect(EXPECTED.contains(&code), || format!("a change was answered with {answer}"))?;
    outcomes.refused += 1;
    Ok(code == "CONFLICT")
}

/// Holds what is kept against what was logged and acknowledged; gives how many resources there are.
async fn judge(run: &Run, acked: &[Acked]) -> Result<usize, Failure> {
    let server = Server::start(&run.recipe()).await?;
    let folded = Folded::read(&server).await?;
    for Acked { cursor, id, version } in acked {
        let logged = folded.change_at(cursor);
        expect(logged == Some((id, *version)), || {
            format!("version {version} of {id} was acknowledged at {cursor}, where there is {logged:?}")
        })?;
    }
    let kept = state(&server).await?;
    server.kill().await?;
    for (key, row) in &kept {
        let says = folded.rows.get(key);
        expect(says == Some(row), || format!("{key:?} is {row}, and its events say {says:?}"))?;
    }
    let lost = folded.rows.keys().find(|key| !kept.contains_key(*key));
    expect(lost.is_none(), || format!("{lost:?} is in the events and is not kept"))?;
    Ok(kept.len())
}
