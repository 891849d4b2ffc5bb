//! `fanfare explain`: what somebody with some roles may do with an event, and what they see of it, without a server.

use super::{
    Environment, Failure,
    bearer::{Bearer, BearerArguments},
    client_runtime,
    settings::SettingArguments,
    terminal,
};
use clap::Args;
use fanfare::{
    auth::{Authority, Claims, Credential, Explanation, MaskKey, Options, Principal},
    config::{Config, Store},
    error::Refusal,
    event::{Draft, NewEvent},
    log::{Secret, secret_of},
    metrics::Metrics,
};
use std::{fs, path::Path};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The event: JSON in our own field names, or a file that holds it.
    #[arg(long, value_name = "FILE|JSON")]
    event: String,
    #[command(flatten)]
    bearer: BearerArguments,
    /// In place of a token: roles, separated by commas.
    #[arg(long, value_name = "ROLES", value_delimiter = ',', conflicts_with = "BearerArguments")]
    roles: Vec<String>,
    /// With roles: the claims that a token would have, such as '{"org_id":"quant"}'.
    #[arg(long, value_name = "JSON", value_parser = claims, requires = "roles")]
    claims: Option<Claims>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArguments,
}

fn claims(text: &str) -> Result<Claims, String> {
    serde_json::from_str(text).map_err(|error| format!("it must be a JSON object: {error}"))
}

pub(super) fn run(arguments: &Arguments, environment: &Environment<'_>) -> Result<(), Failure> {
    let config = arguments.settings.load(environment)?.config;
    let event = event(&arguments.event, &config)?;
    let (mask_key, is_servers) = key(&config)?;
    let options = Options { mask_key, ..config.auth_options(Metrics::new()).read_only() };
    if !options.is_configured() {
        return Err(Failure::usage(
            "these settings have no authentication: everybody may do everything; set policy, jwt_secret, jwks_url or jwks_file",
        ));
    }
    let principal = match arguments.roles.as_slice() {
        [] => bearer_of(arguments.bearer.bearer(environment)?.as_ref(), options)?,
        roles => supposed(roles, arguments.claims.as_ref().unwrap_or(&Claims::new()), &options)?,
    };
    let explanation = Explanation::new(&principal, &event);
    if !is_servers {
        terminal::say("no server has run on this data directory, so its hashes will be others than these");
    }
    match arguments.json {
        true => terminal::print(&format!("{}\n", explanation.json())),
        false => {
            let text = explanation.text();
            text.lines().try_for_each(|line| terminal::print(&format!("{}\n", terminal::harmless(line))))
        }
    }
}

/// Whoever shows this credential, or none.
fn bearer_of(bearer: Option<&Bearer>, options: Options) -> Result<Principal, Failure> {
    let asked = client_runtime()?.block_on(async {
        let authority = Authority::new(options).map_err(Failure::usage)?;
        Ok::<_, Failure>(authority.authenticate(bearer.map(Bearer::expose)).await)
    })?;
    asked.map_err(Failure::failed)
}

/// Somebody whose token would have these roles and claims.
fn supposed(roles: &[String], claims: &Claims, options: &Options) -> Result<Principal, Failure> {
    let policy = options.policy().map_err(Failure::usage)?;
    let known: Vec<_> = policy.roles().collect();
    if let Some(unknown) = roles.iter().find(|role| !policy.knows(role)) {
        return Err(Failure::usage(format!(
            "--roles: the policy does not know {unknown:?}; it knows {}",
            known.join(", ")
        )));
    }
    let resolved =
        policy.suppose(roles, claims).map_err(|refusal: Refusal| Failure::usage(refusal.message))?;
    Ok(Principal::new(&resolved.subject, Credential::None, resolved.grant, resolved.view, None))
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
