//! A second server on a data directory in use: it refuses, and the first goes on unharmed.

use crate::{
    failure::{Failure, expect},
    history::Record,
    load::{Load, Plan},
    run::{Run, Settings},
    server::{Server, Started},
};
use std::time::Duration;
use tokio::time::sleep;

const ATTEMPTS: u32 = 5;

/// Starts the second one several times under load.
pub(crate) async fn run(settings: &Settings) -> Result<String, Failure> {
    let run = Run::new(settings, "second-process")?;
    let recipe = run.recipe();
    let load = Load::start(&run.recorder, &Plan::default(), &run.chance)?;
    let server = Server::start(&recipe).await?;
    load.serve_at(Some(server.address));
    let mut second = run.recipe();
    second.log = run.directory.join("second.log");
    for _ in 0..ATTEMPTS {
        sleep(Duration::from_millis(100)).await;
        run.recorder.record(Record::Fault { what: "a second server on the same directory".to_owned() });
        match Server::try_start(&second).await? {
            Started::Ended(status) => {
                expect(status.code() == Some(1), || format!("the second server ended with {status}"))?;
            }
            Started::Listening(_) => return Err(Failure::broken("a second server opened the same log")),
        }
    }
    let said = std::fs::read_to_string(&second.log).map_err(Failure::during("reading a server's log"))?;
    expect(said.contains("in use by another server"), || format!("the second server says {said:?}"))?;
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!("{ATTEMPTS} of {ATTEMPTS} refused; {} events acknowledged meanwhile, 0 lost", counts.acked))
}
