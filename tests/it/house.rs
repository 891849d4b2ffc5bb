//! The rules of the house that no compiler and no lint can see. ARCHITECTURE.md tells their reasons.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each room with the rooms that it may import. A room of floor 1 names no other room of floor 1.
const ROOMS: [(&str, &[&str]); 14] = [
    ("error", &[]),
    ("event", &["error"]),
    ("metrics", &[]),
    ("auth", &["error", "event", "metrics"]),
    ("log", &["error", "event", "metrics"]),
    ("bus", &["error", "event", "metrics"]),
    ("protocol", &["error", "event", "metrics"]),
    ("hub", &["auth", "log", "bus", "error", "event", "metrics"]),
    ("fanout", &["hub", "auth", "bus", "error", "event", "metrics"]),
    ("platform", &["fanout", "hub", "auth", "log", "error", "event", "metrics"]),
    ("graphql", &["platform", "fanout", "hub", "auth", "log", "error", "event", "metrics"]),
    ("ingest", &["error", "event", "metrics"]),
    (
        "server",
        &[
            "ingest", "platform", "graphql", "fanout", "hub", "auth", "log", "protocol", "error", "event",
            "metrics",
        ],
    ),
    ("config", &["server", "graphql", "log", "bus", "auth", "error", "event", "metrics"]),
];

/// What appears only where it is at home: the text, and the paths below `src` that may hold it.
const AT_HOME: [(&str, &[&str]); 13] = [
    ("async_graphql::", &["graphql/", "server/operation.rs"]),
    ("axum::", &["server/"]),
    ("hyper", &["server/accept.rs", "server/upgrade.rs"]),
    ("tungstenite::", &["server/wire.rs", "server/socket/talk.rs", "cli/tail/", "cli/bench/"]),
    ("rusqlite::", &["log/"]),
    ("Event::logged(", &["log/", "event/"]),
    ("Event::transient(", &["log/", "event/"]),
    ("StoredEvent", &["log/", "event/"]),
    ("ShownFields", &["auth/", "event/"]),
    ("Payload::new(", &["fanout/"]),
    ("RecvError::Lagged", &["hub/tail.rs"]),
    (
        "tokio::",
        &[
            "auth/",
            "log/",
            "bus/",
            "hub/",
            "fanout/",
            "server/",
            "serve.rs",
            "threads.rs",
            "cli/",
            "main.rs",
            "platform/",
            "graphql/",
        ],
    ),
    ("std::fs", &["auth/", "log/", "platform/health/process.rs", "config", "cli/", "main.rs"]),
];

const FILE_LINES_MAX: usize = 400;

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: [&str; 5] = ["Manager", "Helper", "Util", "Common", "Service"];

fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(below)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 5, "no sources below {below}");
    found
}

/// The code of the product: without comments and without the tests at the end of a file.
fn product(path: &Path, text: &str) -> Option<String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let is_test = name.ends_with("_tests.rs")
        || name.starts_with("contract")
        || matches!(name, "tests.rs" | "testing.rs" | "conformance.rs");
    let until_tests = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = until_tests.lines().filter(|line| !line.trim_start().starts_with("//"));
    (!is_test).then(|| lines.collect::<Vec<_>>().join("\n"))
}

fn room(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a file names: after `crate::`, one or several in braces.
fn imports(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => rooms.push(word(after)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, character) in list.char_indices() {
                    match character {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            rooms.push(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_point_down_the_floors() {
    let names: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(code) = product(&path, &text) else { continue };
        let own = room(&path);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == own) else {
            assert!(
                ["lib", "main", "serve", "threads", "cli"].contains(&own.as_str()),
                "{own} stands on no floor"
            );
            continue;
        };
        for import in imports(&code) {
            if names.contains(&import.as_str()) && import != own && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_has_a_home_is_only_there() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(code) = product(&path, &text) else { continue };
        let below = path.strip_prefix("src").unwrap().to_str().unwrap().to_owned();
        for (word, homes) in AT_HOME {
            if code.contains(word) && !homes.iter().any(|home| below.starts_with(home)) {
                wrong.push(format!("{below} uses {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    let mut wrong = Vec::new();
    let houses = ["src", "tests", "benches", "clients/rust"];
    for (path, text) in houses.into_iter().flat_map(sources) {
        let lines = product(&path, &text)
            .map_or(0, |code| code.lines().filter(|line| !line.trim().is_empty()).count());
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{} has {lines} lines of code", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not say what it is for", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let Some(code) = product(&path, &text) else { continue };
        for line in code.lines() {
            let defines =
                ["struct ", "enum ", "trait ", "mod "].iter().find_map(|word| line.trim().split_once(word));
            let Some((_, name)) = defines else { continue };
            let name = word(name);
            if EMPTY_WORDS.iter().any(|empty| name.contains(empty) || name == empty.to_lowercase()) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let table = fanfare::config::readme_table();
    assert!(readme().contains(table.trim()), "the settings in README.md should be:\n{table}");
}

#[test]
fn the_readme_lists_every_metric_as_it_is() {
    let table = fanfare::metrics::readme_table();
    assert!(readme().contains(table.trim()), "the metrics in README.md should be:\n{table}");
}

#[test]
fn the_readme_lists_every_error_as_it_is() {
    let mut table = "| code | may the same succeed later | what to do |\n|---|---|---|\n".to_owned();
    for code in fanfare::error::Code::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        table.push_str(&format!("| `{}` | {retry} | {} |\n", code.name(), code.next()));
    }
    assert!(readme().contains(&table), "the errors in README.md should be:\n{table}");
}
