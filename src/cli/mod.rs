//! The command line: reads arguments, runs one command, turns its end into an exit code.
//!
//! Flow: `main` gives arguments and environment; each command has its own file.
//! Invariants: exit code 0 is done, 1 failed, 2 usage or configuration; a reader of stdout that goes away is no failure;
//! stdout carries results only, everything else goes to stderr.
//! Not here: what the settings are (`fanfare::config`).

mod audit;
mod backoff;
mod bearer;
mod bench;
mod check_config;
mod explain;
mod log;
mod publish;
mod schema;
mod scope;
mod serve;
mod settings;
mod signals;
mod tail;
mod target;
mod terminal;
mod token;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::{ffi::OsString, fmt, io, process::ExitCode};

/// The environment as `main` sees it; tests give their own.
pub(crate) struct Environment<'a> {
    /// Looks up one variable.
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The names of all variables.
    pub(crate) names: Vec<String>,
}

/// A real-time event server: publish typed events, subscribe to them through GraphQL, lose none.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Arguments),
    /// Publish one event, or those of a file.
    Publish(Box<publish::Arguments>),
    /// Show events as they are published, or from a position in the past on.
    Tail(Box<tail::Arguments>),
    /// Put load on a server, check every delivery, and say what it carries.
    Bench(Box<bench::Arguments>),
    /// Print the GraphQL schema.
    Schema(schema::Arguments),
    /// Check the settings without starting anything.
    CheckConfig(check_config::Arguments),
    /// Tell what somebody may do with an event, what is masked for them, and what they see of it.
    Explain(explain::Arguments),
    /// Check or count what is stored in a data directory.
    Log(log::Arguments),
    /// Make and check credentials.
    Token(Box<token::Arguments>),
    /// Check that the audit file is what was written.
    Audit(audit::Arguments),
}

/// Why a command ended without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Wrong arguments or settings: exit code 2.
    Usage(String),
    /// Everything else: exit code 1.
    Failed(String),
    /// Told already: exit code 1 without another word.
    Told,
}

impl Failure {
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Failure::Failed(message.to_string())
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Failure::Usage(message.to_string())
    }

    fn code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) | Failure::Told => ExitCode::FAILURE,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::failed(error)
    }
}

/// Runs the command that the arguments name.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment<'_>) -> ExitCode {
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and ends with 0, errors go to stderr and end with 2; nobody may be reading either.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments, environment),
        Command::Publish(arguments) => publish::run(*arguments, environment),
        Command::Tail(arguments) => tail::run(*arguments, environment),
        Command::Bench(arguments) => bench::run(&arguments, environment),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments, environment),
        Command::Explain(arguments) => explain::run(&arguments, environment),
        Command::Log(arguments) => log::run(&arguments, environment),
        Command::Token(arguments) => token::run(&arguments, environment),
        Command::Audit(arguments) => audit::run(&arguments, environment),
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    match &failure {
        Failure::Usage(message) | Failure::Failed(message) => terminal::say(&format!("fanfare: {message}")),
        Failure::Told => {}
    }
    failure.code()
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    // The settings' help comes from their table, so it is added here and not in an attribute.
    let command = Arguments::command()
        .mut_subcommand("serve", |serve| serve.after_long_help(fanfare::config::settings_help()))
        .mut_subcommand("check-config", |check| check.after_long_help(fanfare::config::settings_help()));
    Arguments::from_arg_matches(&command.try_get_matches_from(arguments)?)
}

/// A runtime for the client commands; two threads, so that a blocked stdout cannot hold up a Ctrl-C.
fn client_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[cfg(test)]
#[path = "cli_tests.rs"]
mod tests;
