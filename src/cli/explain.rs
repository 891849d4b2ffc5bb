//! `fanfare explain`: what somebody with some roles may do with an event, and what they see of it, without a server.

use super::{Environment, Failure, settings::SettingArguments, terminal};
use clap::Args;
use fanfare::{
    auth::{Credential, Explanation, Grant, MaskDraft, MaskKey, Masks, Principal},
    config::{Config, Store},
    event::{Draft, NewEvent},
    log::{Secret, secret_of},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fs, path::Path};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The event: JSON in our own field names, or a file that holds it.
    #[arg(long, value_name = "FILE|JSON")]
    event: String,
    /// Roles, separated by commas; without it, somebody without a role.
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    roles: Vec<String>,
    /// The policy (TOML).
    #[arg(long, value_name = "FILE")]
    policy: String,
    /// Settings file (TOML) that names the data directory, whose secret makes the hashes.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What this command reads of a policy.
#[derive(Debug, Deserialize)]
struct Policy {
    #[serde(default)]
    roles: BTreeMap<String, toml::Value>,
    #[serde(default)]
    masks: Vec<MaskDraft>,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let config = SettingArguments::of_file(arguments.config.clone()).load(environment)?.config;
    let event = event(&arguments.event, &config)?;
    let wrong = |problem: &dyn std::fmt::Display| Failure::usage(format!("{}: {problem}", arguments.policy));
    let text = fs::read_to_string(&arguments.policy).map_err(|error| wrong(&error))?;
    let policy: Policy = toml::from_str(&text).map_err(|error| wrong(&error))?;
    let (key, is_servers) = key(&config)?;
    let masks = Masks::new(policy.masks, key).map_err(|problems| wrong(&problems))?;
    let is_known = |role: &str| policy.roles.contains_key(role);
    masks.check_roles(is_known).map_err(|problems| wrong(&problems))?;
    let view = masks.view(&arguments.roles, is_known);
    let principal = Principal::new(&who(&arguments.roles), Credential::None, Grant::everything(), view, None);
    let explanation = Explanation::new(&principal, &event);
    if !is_servers {
        terminal::say("no server has run on this data directory, so its hashes will be others than these");
    }
    match arguments.json {
        true => terminal::print(&format!("{}\n", explanation.json())),
        false => terminal::print(&explanation.text()),
    }
}

fn who(roles: &[String]) -> String {
    match roles.is_empty() {
        true => "somebody without a role".to_owned(),
        false => roles.join(" + "),
    }
}

fn event(given: &str, config: &Config) -> Result<NewEvent, Failure> {
    let text = match given.trim_start().starts_with('{') {
        true => given.to_owned(),
        false => fs::read_to_string(given).map_err(|error| Failure::usage(format!("{given}: {error}")))?,
    };
    let event = Draft::from_json(&text).and_then(|draft| NewEvent::new(draft, &config.event_limits()));
    event.map_err(|refusal| Failure::usage(refusal.message))
}

/// The key of the server's own hashes, if a server has run here.
fn key(config: &Config) -> Result<(MaskKey, bool), Failure> {
    let kept = match config.store {
        Store::Sqlite => secret_of(Path::new(&config.data_dir)).map_err(Failure::failed)?,
        Store::Memory => None,
    };
    let is_servers = kept.is_some();
    let secret = kept.map_or_else(Secret::random, Ok).map_err(Failure::failed)?;
    Ok((MaskKey::new(secret.key(MaskKey::PURPOSE)), is_servers))
}
