//! Plays `tests/conformance/**/*.transcript` against a [`Session`], with a scripted engine in place of a server.
//!
//! Invariants: the engine works only when the client waits (a `<` line), so messages sent back to back meet operations that
//! are still being prepared. The format of a transcript stands in `tests/conformance/README.md`.

use super::{Action, CloseReason, Key, Operation, Options, Reply, Session, negotiate, write_errors};
use crate::error::{Code, Refusal};
use serde_json::Value;
use std::{
    collections::{HashSet, VecDeque},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// What the server did, as a client sees it.
#[derive(Debug)]
enum Output {
    Text(String),
    Close(u16, String),
}

/// Something that the engine has yet to do.
#[derive(Debug)]
enum Work {
    Authenticate,
    Execute(Key, Operation),
}

/// A session with the smallest engine that can show its rules.
struct Player {
    session: Session,
    work: VecDeque<Work>,
    outputs: VecDeque<Output>,
}

impl Player {
    fn new(dialect: &str) -> Self {
        let dialect = negotiate([dialect].into_iter()).expect("a dialect of the table");
        Player {
            session: Session::new(dialect, Options::default()),
            work: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Authenticate { .. } => self.work.push_back(Work::Authenticate),
                Action::Refresh { .. } => {
                    let actions = self.session.refreshed();
                    self.take(actions);
                }
                Action::Reply(reply) => self.say(&reply),
                Action::Start { key, operation, .. } => self.work.push_back(Work::Execute(key, operation)),
                Action::Stop { key } => {
                    self.work.retain(|work| !matches!(work, Work::Execute(other, _) if *other == key));
                }
                Action::Close(closing) => self.outputs.push_back(Output::Close(closing.code, closing.reason)),
            }
        }
    }

    fn say(&mut self, reply: &Reply<'_>) {
        let mut text = String::new();
        if self.session.dialect().encode(reply, &mut text) {
            self.outputs.push_back(Output::Text(text));
        }
    }

    /// Does all work that waits.
    fn settle(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Authenticate => {
                    let actions = self.session.accepted();
                    self.take(actions);
                }
                Work::Execute(key, operation) => self.execute(key, &operation),
            }
        }
    }

    /// Queries end with one result, `nope` is no field of the schema, subscriptions stay open and yield nothing.
    fn execute(&mut self, key: Key, operation: &Operation) {
        if operation.query.contains("nope") {
            let Some(id) = self.session.finished(key) else { return };
            let mut errors = String::new();
            write_errors(&[Refusal::new(Code::BadRequest, "unknown field \"nope\"")], &mut errors);
            self.say(&Reply::Error { id: (&*id).into(), errors: errors.into() });
        } else if operation.query.starts_with("query") {
            let Some(id) = self.session.finished(key) else { return };
            self.say(&Reply::Next {
                id: (&*id).into(),
                payload: r#"{"data":{"__typename":"Query"}}"#.into(),
            });
            self.say(&Reply::Complete { id: (&*id).into() });
        }
    }

    fn play(&mut self, line: &str) -> Result<(), String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            (">", text) => {
                let actions = self.session.on_text(text);
                self.take(actions);
            }
            (">bin", _) => {
                let actions = self.session.on_binary();
                self.take(actions);
            }
            ("!", "init-timeout") => {
                let actions = self.session.on_init_timeout();
                self.take(actions);
            }
            ("!", "drain") => {
                let actions = self.session.close(&CloseReason::Draining);
                self.take(actions);
            }
            ("<", expected) => self.expect(expected)?,
            ("<?", expected) => self.expect_perhaps(expected),
            _ => return Err("no line of a transcript".to_owned()),
        }
        Ok(())
    }

    fn expect(&mut self, expected: &str) -> Result<(), String> {
        self.settle();
        let output = self.outputs.pop_front();
        match output {
            None if expected == "nothing" => Ok(()),
            Some(Output::Text(text)) if is_same(expected, &text) => Ok(()),
            Some(Output::Close(code, reason)) if is_close(expected, code, &reason) => Ok(()),
            Some(_) | None => Err(format!("came: {output:?}")),
        }
    }

    fn expect_perhaps(&mut self, expected: &str) {
        if matches!(self.outputs.front(), Some(Output::Text(text)) if is_same(expected, text)) {
            self.outputs.pop_front();
        }
    }
}

fn is_close(expected: &str, code: u16, reason: &str) -> bool {
    let Some(expected) = expected.strip_prefix("close ") else { return false };
    match expected.split_once(' ') {
        Some((number, text)) => number == code.to_string() && text == reason,
        None => expected == code.to_string(),
    }
}

fn is_same(expected: &str, text: &str) -> bool {
    match serde_json::from_str(expected) {
        Ok(expected) => meets(&expected, &serde_json::from_str(text).unwrap()),
        Err(_) => false,
    }
}

/// Equal, where `"*"` equals anything.
fn meets(expected: &Value, given: &Value) -> bool {
    match (expected, given) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(given)) => {
            expected.len() == given.len()
                && expected
                    .iter()
                    .all(|(name, value)| given.get(name).is_some_and(|given| meets(value, given)))
        }
        (Value::Array(expected), Value::Array(given)) => {
            expected.len() == given.len() && expected.iter().zip(given).all(|(one, other)| meets(one, other))
        }
        (expected, given) => expected == given,
    }
}

fn transcripts(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "transcript"));
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn play_all(folder: &str, dialect: &str) {
    let files = transcripts(folder);
    let mut failures = String::new();
    for (path, text) in &files {
        let mut player = Player::new(dialect);
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let outcome = lines.clone().try_for_each(|(number, line)| {
            player.play(line).map_err(|fault| format!("line {}: {line}\n  {fault}", number + 1))
        });
        player.settle();
        let outcome = outcome.and_then(|()| match player.outputs.is_empty() {
            true => Ok(()),
            false => Err(format!("came beyond the last line: {:?}", player.outputs)),
        });
        if let Err(fault) = outcome {
            let _ = writeln!(failures, "{}: {fault}", path.display());
        }
        assert!(lines.count() > 1, "{} shows nothing", path.display());
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(files.len() >= 15, "{} transcripts in {folder}", files.len());
}

#[test]
fn graphql_transport_ws_keeps_its_rules() {
    play_all("transport_ws", "graphql-transport-ws");
}

#[test]
fn graphql_ws_of_apollo_keeps_its_rules() {
    play_all("apollo_ws", "graphql-ws");
}

#[test]
fn each_transcript_begins_with_an_id_of_its_own_a_level_and_its_source() {
    let mut ids = HashSet::new();
    for (path, text) in ["transport_ws", "apollo_ws"].into_iter().flat_map(transcripts) {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap().splitn(4, ' ').collect();
        let &["#", id, "MUST" | "SHOULD" | "MAY", sentence] = &head[..] else { panic!("{}", path.display()) };
        assert!(ids.insert(id.to_owned()), "{id} stands twice");
        assert!(sentence.len() > 10 && lines.next().unwrap().starts_with("# spec: "), "{}", path.display());
    }
}

#[test]
fn a_transcript_that_expects_something_else_fails() {
    for (lines, fault) in [
        (&["> {\"type\":\"ping\"}", "< nothing"][..], "came: Some(Text"),
        (&["> {\"type\":\"ping\"}", "< {\"type\":\"pong\",\"payload\":\"*\"}"], "came: Some(Text"),
        (&["> {\"type\":\"pong\"}", "< {\"type\":\"pong\"}"], "came: None"),
        (&[">bin 00", "< close 4401"], "came: Some(Close"),
        (&[">bin 00", "< close 4400 something else"], "came: Some(Close"),
        (&["~ what"], "no line"),
    ] {
        let mut player = Player::new("graphql-transport-ws");
        let outcome = lines.iter().try_for_each(|line| player.play(line));
        assert!(outcome.as_ref().is_err_and(|told| told.starts_with(fault)), "{lines:?}: {outcome:?}");
    }
}
