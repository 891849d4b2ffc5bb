//! `fanfare publish`: one event from flags, or those of a file of JSON lines.
//!
//! Flow: flags or lines -> checked JSON with an id -> `POST /events` -> what was acknowledged on stdout.
//! Invariants: every event has an id before it is sent, so sending it again after a lost answer never publishes it twice (an
//! event that is not kept may be delivered twice then); events of a file are published in its order; every refused line is named.

pub(super) mod client;
pub(super) mod lines;
mod pending;

use super::{Environment, Failure, backoff, scope::ScopeOfEvent, target::TargetArguments, terminal};
use clap::Args;
use client::{Answer, Client};
use fanfare::event::{Draft, json};
use lines::{Lines, Refused};
use pending::Pending;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
};

/// The most failed attempts in a row for one batch: about a minute with the pauses between them.
const ATTEMPTS_MAX: u32 = 8;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What happened, such as task.created.
    #[arg(value_name = "TYPE", required_unless_present = "file", conflicts_with = "file")]
    event_type: Option<String>,
    #[command(flatten)]
    event: EventArguments,
    #[command(flatten)]
    scope: ScopeOfEvent,
    /// Publish the events of a file, one JSON object a line in our own field names; - is stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["EventArguments", "ScopeOfEvent"])]
    file: Option<String>,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Args)]
struct EventArguments {
    /// What it says.
    #[arg(long, value_name = "JSON", value_parser = json_text)]
    data: Option<String>,
    /// Its id, unique within the source; else a new one.
    #[arg(long)]
    id: Option<String>,
    /// Who says so, a URI reference.
    #[arg(long)]
    source: Option<String>,
    /// What it is about inside the source.
    #[arg(long)]
    subject: Option<String>,
    /// Request that it belongs to.
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// LOW, NORMAL, HIGH or CRITICAL.
    #[arg(long)]
    priority: Option<String>,
    /// Deliver it to those who follow now, and keep it out of the log.
    #[arg(long)]
    no_persist: bool,
}

fn json_text(text: &str) -> Result<String, String> {
    json::check(text).map(|()| text.to_owned())
}

impl EventArguments {
    /// The event as a line of JSON, checked but for the server's own limits.
    fn line(self, event_type: String, scope: ScopeOfEvent) -> Result<lines::Line, Failure> {
        let mut draft = Draft {
            event_type,
            id: self.id,
            source: self.source,
            subject: self.subject,
            correlation_id: self.correlation_id,
            priority: self.priority,
            persist: Some(!self.no_persist),
            ..Draft::default()
        };
        scope.fill(&mut draft);
        lines::line_of(draft, self.data.as_deref()).map_err(Failure::usage)
    }
}

pub(super) fn run(arguments: Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let client = Client::new(&arguments.target.target(environment)?)?;
    let runtime = super::client_runtime()?;
    match (arguments.event_type, arguments.file) {
        (Some(event_type), _) => {
            let is_kept = !arguments.event.no_persist;
            let line = arguments.event.line(event_type, arguments.scope)?;
            runtime.block_on(publish_one(&client, line, is_kept))
        }
        (None, Some(file)) if file == "-" => {
            runtime.block_on(publish_lines(&client, BufReader::new(io::stdin())))
        }
        (None, Some(file)) => {
            let opened = File::open(&file)
                .map_err(|error| Failure::failed(format!("{file} cannot be opened: {error}")))?;
            runtime.block_on(publish_lines(&client, BufReader::new(opened)))
        }
        (None, None) => Err(Failure::usage("a TYPE or --file is needed")),
    }
}

async fn publish_one(client: &Client, line: lines::Line, is_kept: bool) -> Result<(), Failure> {
    match client.publish(std::slice::from_ref(&line)).await {
        Answer::Published(published) => {
            published.iter().try_for_each(|one| terminal::print(&format!("{one}\n")))
        }
        Answer::Refused { message, .. } | Answer::Stop(message) => Err(Failure::failed(message)),
        Answer::Later { message, .. } if !is_kept => {
            Err(Failure::failed(format!("{message}\nit was not acknowledged, and may have been delivered")))
        }
        Answer::Later { message, .. } => Err(Failure::failed(format!(
            "{message}\nit was not acknowledged; publishing it again with --id {} is safe",
            line.id
        ))),
    }
}

/// What has become of the lines of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    published: usize,
    duplicates: usize,
    refused: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} published ({} of them were already there), {} refused",
            self.published, self.duplicates, self.refused
        )
    }
}

async fn publish_lines(client: &Client, reader: impl BufRead) -> Result<(), Failure> {
    let mut summary = Summary::default();
    let mut lines = Lines::new(reader);
    let shows_progress = io::stderr().is_terminal();
    loop {
        let mut refused = Vec::new();
        let batch = lines.batch(&mut refused)?;
        refused.iter().for_each(|one| refuse(one, &mut summary));
        if batch.is_empty() {
            break;
        }
        publish_batch(client, Pending::new(batch), &mut summary).await?;
        if shows_progress {
            terminal::progress(&summary.to_string());
        }
    }
    if shows_progress {
        terminal::progress("");
    }
    terminal::print(&format!("{summary}\n"))?;
    match summary.refused {
        0 => Ok(()),
        _ => Err(Failure::Told),
    }
}

async fn publish_batch(client: &Client, mut pending: Pending, summary: &mut Summary) -> Result<(), Failure> {
    let mut failures = 0;
    while let Some(part) = pending.part() {
        match client.publish(part).await {
            Answer::Published(published) => {
                summary.published += part.len();
                summary.duplicates += published.iter().filter(|one| one.duplicate).count();
                pending.accepted();
                failures = 0;
            }
            Answer::Refused { message, index } => {
                if let Some(line) = pending.refused(index) {
                    refuse(&Refused { number: line.number, message }, summary);
                }
                failures = 0;
            }
            Answer::Stop(message) => return Err(stopped(&message, part, summary)),
            Answer::Later { message, .. } => {
                failures += 1;
                if failures >= ATTEMPTS_MAX {
                    return Err(stopped(&message, part, summary));
                }
                let delay = backoff::delay(failures, backoff::Chance::draw());
                terminal::say(&format!("{message}; trying again in {:.1} s", delay.as_secs_f64()));
                tokio::time::sleep(delay).await;
            }
        }
    }
    Ok(())
}

fn refuse(refused: &Refused, summary: &mut Summary) {
    summary.refused += 1;
    terminal::say(&format!("line {}: {}", refused.number, refused.message));
}

fn stopped(message: &str, part: &[lines::Line], summary: &Summary) -> Failure {
    let number = part.first().map_or(0, |line| line.number);
    Failure::failed(format!(
        "{message}\nstopped at line {number}: {summary}; go on from that line (`tail -n +{number} FILE`)"
    ))
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
