//! `fanfare tail`: shows events as they come, over a GraphQL subscription, and carries on after a break.
//!
//! Flow: arguments -> [`Request`] -> `session` (pure: what each message means) between `connection` (the socket) and
//! `output` (stdout and stderr).
//! Invariants: across all of its connections every matching event is shown once and in order, or the command ends with an
//! error and the last cursor.

mod connection;
mod output;
mod print;
pub(super) mod protocol;
mod session;

use super::{
    Environment, Failure,
    bearer::Bearer,
    scope::ScopeOfFilter,
    signals::Signals,
    target::{Target, TargetArguments},
};
use clap::Args;
use connection::End;
use output::Output;
use serde_json::{Map, json};
use session::{Request, Session};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The time that a stopped tail has to say goodbye to the server; a blocked stdout may keep it from that.
const STOP_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Types to show, such as task.created, agent.* or *.failed; else all.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    #[command(flatten)]
    scope: ScopeOfFilter,
    /// Source to show; may be repeated.
    #[arg(long)]
    source: Vec<String>,
    /// Request to show; may be repeated.
    #[arg(long, value_name = "ID")]
    correlation_id: Vec<String>,
    /// Least priority to show: LOW, NORMAL, HIGH or CRITICAL.
    #[arg(long, value_name = "PRIORITY")]
    min_priority: Option<String>,
    #[command(flatten)]
    start: StartArguments,
    /// Show whole events, one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Default, Args)]
#[group(multiple = false)]
struct StartArguments {
    /// Start after the event of this cursor.
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Start with the last N matching events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// Start with the earliest event that the server still has.
    #[arg(long)]
    earliest: bool,
}

impl Arguments {
    fn request(self, bearer: Option<Bearer>) -> Request {
        let mut filter = Map::new();
        let lists =
            [("types", self.patterns), ("sources", self.source), ("correlationId", self.correlation_id)];
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            filter.insert(name.to_owned(), list.into());
        }
        if let Some(least) = self.min_priority {
            filter.insert("minPriority".to_owned(), least.into());
        }
        self.scope.fill(&mut filter);
        let start = match (self.start.after, self.start.last, self.start.earliest) {
            (Some(cursor), _, _) => Some(json!({ "after": cursor })),
            (None, Some(count), _) => Some(json!({ "last": count })),
            (None, None, true) => Some(json!({ "earliest": true })),
            (None, None, false) => None,
        };
        Request { filter, start, bearer }
    }
}

pub(super) fn run(arguments: Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let target = arguments.target.target(environment)?;
    // https://no-color.org
    let allows_colour = (environment.variable)("NO_COLOR").is_none_or(|text| text.is_empty());
    let output = Output::new(arguments.json, allows_colour);
    let session = Session::new(arguments.request(target.bearer().cloned()));
    let runtime = super::client_runtime()?;
    let result = runtime.block_on(until_signal(target, session, output));
    runtime.shutdown_background();
    result
}

async fn until_signal(target: Target, session: Session, output: Output) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    let mut tail = tokio::spawn(tail(target, session, output, stop.clone()));
    let ended = tokio::select! {
        ended = &mut tail => ended,
        () = signals.next() => {
            stop.cancel();
            match tokio::time::timeout(STOP_GRACE, tail).await {
                Ok(ended) => ended,
                Err(_) => return Ok(()),
            }
        }
    };
    ended.map_err(|error| Failure::failed(format!("the tail broke off: {error}")))?
}

async fn tail(
    target: Target,
    mut session: Session,
    mut output: Output,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let end = connection::follow(&target, &mut session, &mut output, &stop).await;
    let resume = session.position().map(|cursor| format!("continue with --after {cursor}"));
    match end {
        End::ReaderGone => Ok(()),
        End::Stopped => {
            resume.iter().for_each(|resume| output.say(resume));
            Ok(())
        }
        End::Failed(reason) => {
            // What was received before the failure is shown before it is told.
            output.flush()?;
            let resume = resume.map(|resume| format!("\n{resume}")).unwrap_or_default();
            Err(Failure::failed(format!("{reason}{resume}")))
        }
    }
}
