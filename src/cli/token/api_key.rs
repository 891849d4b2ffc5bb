//! `fanfare token api-key`: a new API key, and what goes into the policy for it.

use super::super::{Failure, terminal};
use clap::Args;
use fanfare::auth::token::NewApiKey;
use std::{collections::BTreeMap, fmt::Write};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The key's public name: letters, digits, dots, hyphens, underscores.
    #[arg(long)]
    id: String,
    /// Who presents it; default is the id.
    #[arg(long)]
    subject: Option<String>,
    /// A role that it has; may be given several times.
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// A variable of the policy's rules, such as --variable org=quant; of several times the same, all values count.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    variable: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let made = NewApiKey::make(&arguments.id).map_err(|error| Failure::usage(format!("--id: {error}")))?;
    terminal::say("The key, shown this once; give it to whoever presents it (Authorization: Bearer …):");
    terminal::print(&format!("{}\n", made.key))?;
    terminal::say("For the policy file, in which nobody can read the key:");
    terminal::print(&section(arguments, &made.hash))
}

/// The section of the policy.
fn section(arguments: &Arguments, hash: &str) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let subject = arguments.subject.as_deref().unwrap_or(&arguments.id);
    let mut out = String::from("\n[[api_keys]]\n");
    let issued = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ");
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "id = {}\nsubject = {}\nhash = {}\nroles = {}\nissued = {issued}\n",
        text(&arguments.id),
        text(subject),
        text(hash),
        toml::Value::from(arguments.role.clone()),
    );
    let mut variables = BTreeMap::<&str, Vec<&str>>::new();
    for (name, value) in &arguments.variable {
        variables.entry(name).or_default().push(value);
    }
    for (name, values) in variables {
        let _ = writeln!(out, "variables.{} = {}", text(name), toml::Value::from(values));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_section_is_toml_with_what_was_asked_for_and_nothing_of_the_key() {
        let arguments = Arguments {
            id: "ci".to_owned(),
            subject: Some("build \"server\"".to_owned()),
            role: vec!["publisher".to_owned(), "reader".to_owned()],
            variable: vec![variable("org=a").unwrap(), variable("org=b").unwrap()],
        };
        let made = NewApiKey::make("ci").unwrap();
        let section = section(&arguments, &made.hash);
        let read: toml::Table = toml::from_str(&section).unwrap();
        let key = read["api_keys"][0].as_table().unwrap();
        assert_eq!(key["subject"].as_str(), Some("build \"server\""));
        assert_eq!(key["roles"].as_array().map(Vec::len), Some(2));
        assert_eq!(key["variables"]["org"].as_array().map(Vec::len), Some(2));
        assert!(key["hash"].as_str().unwrap().starts_with("sha256:") && key["issued"].is_datetime());
        let (_, secret) = made.key.rsplit_once('_').unwrap();
        assert!(!section.contains(secret));
    }
}
