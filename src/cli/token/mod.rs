//! `fanfare token`: makes API keys and development tokens, and explains what the server would say to a credential.
//!
//! Invariants: an API key is printed once, to stdout; nothing else prints a secret.
//! Not here: what is accepted (`fanfare::auth`).

mod api_key;
mod check;
mod sign;

use super::{Environment, Failure};
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an API key: prints it once, with the lines for the policy file.
    ApiKey(api_key::Arguments),
    /// Sign a token with a shared secret (HS256), for development and tests.
    Sign(sign::Arguments),
    /// Say whether a server with these settings accepts a token or an API key, and why not.
    Check(check::Arguments),
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    match &arguments.command {
        Command::ApiKey(arguments) => api_key::run(arguments),
        Command::Sign(arguments) => sign::run(arguments),
        Command::Check(arguments) => check::run(arguments, environment),
    }
}
