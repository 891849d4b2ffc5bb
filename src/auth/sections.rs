//! The sections of the policy file that say who somebody is: `[[keys]]` and `[[api_keys]]`, beside the key of the settings.
//!
//! Invariants: everything that is wrong is told at once, each with its file, line and field, or with its setting.
//! Not here: the sections that say who may do what.

use super::{
    Options,
    token::{ApiKeyDraft, ApiKeys, Fault, KeyDraft, Lookup, Source},
};
use serde::Deserialize;
use std::{
    collections::HashSet,
    fmt,
    path::{Path, PathBuf},
};
use toml::Spanned;

/// The most bytes of a policy file.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One thing that is wrong with the settings or the policy of authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// The setting, or the file with its line and field.
    pub place: String,
    /// What is wrong, and what to do.
    pub rule: String,
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.rule)
    }
}

/// Who may prove to be somebody, as it was read.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) sources: Vec<Source>,
    pub(super) api_keys: ApiKeys,
}

/// The sections of this room; the others are read by `policy`.
#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    keys: Vec<Spanned<KeyDraft>>,
    #[serde(default)]
    api_keys: Vec<Spanned<ApiKeyDraft>>,
}

/// Reads the settings' keys and the policy file. Fails with everything that is wrong.
pub(super) fn read(options: &Options, environment: Lookup<'_>) -> Result<Sections, Vec<PolicyProblem>> {
    let mut sections = Sections::default();
    let mut problems = Vec::new();
    for draft in &options.keys {
        match draft.read(Path::new(""), environment) {
            Ok(source) => sections.sources.push(source),
            Err(faults) => problems.extend(faults.into_iter().map(of_setting)),
        }
    }
    if let Some(path) = &options.policy {
        match parse(path) {
            Ok((text, file)) => {
                Reading { path, text: &text, problems: &mut problems }.take(file, environment, &mut sections)
            }
            Err(problem) => problems.push(problem),
        }
    }
    let is_usable = !sections.sources.is_empty() || !sections.api_keys.is_empty();
    if problems.is_empty() && !is_usable {
        let place =
            options.policy.as_ref().map_or_else(|| "policy".to_owned(), |path| path.display().to_string());
        let rule = "nobody could prove who they are: add [[keys]] or [[api_keys]], or set jwt_secret, jwks_url or jwks_file";
        problems.push(PolicyProblem { place, rule: rule.to_owned() });
    }
    let mut told = HashSet::new();
    problems.retain(|problem| told.insert(problem.to_string()));
    if problems.is_empty() { Ok(sections) } else { Err(problems) }
}

/// The setting that a field of a key comes from.
fn of_setting(fault: Fault) -> PolicyProblem {
    let setting = match fault.field {
        "issuer" => "jwt_issuer",
        "audience" => "jwt_audience",
        "algorithms" => "jwt_algorithms",
        "secret" => "jwt_secret",
        field => field,
    };
    PolicyProblem { place: setting.to_owned(), rule: fault.rule }
}

fn parse(path: &PathBuf) -> Result<(String, File), PolicyProblem> {
    use std::io::Read;
    let problem = |place: String, rule: String| PolicyProblem { place, rule };
    let shown = path.display();
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| problem(format!("policy ({shown})"), format!("cannot be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(problem(format!("policy ({shown})"), format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    match toml::from_str(&text) {
        Ok(file) => Ok((text, file)),
        Err(error) => {
            let line = line_of(&text, error.span().map_or(0, |span| span.start));
            Err(problem(format!("{shown} line {line}"), error.message().to_owned()))
        }
    }
}

/// The line of a byte offset, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

struct Reading<'a> {
    path: &'a Path,
    text: &'a str,
    problems: &'a mut Vec<PolicyProblem>,
}

impl Reading<'_> {
    fn take(&mut self, file: File, environment: Lookup<'_>, sections: &mut Sections) {
        let base = self.path.parent().unwrap_or(Path::new(""));
        let mut named = HashSet::new();
        for (index, draft) in file.keys.into_iter().enumerate() {
            let (start, draft) = (draft.span().start, draft.into_inner());
            let section = format!("keys[{index}]");
            let is_set = draft.jwks_url.is_some() || draft.jwks_file.is_some();
            if !is_set && !named.insert((draft.id.clone(), draft.issuer.clone())) {
                let rule =
                    "another key has the same id and issuer; give each its own id, which tokens name in kid";
                self.tell(start, &section, vec![Fault { field: "id", rule: rule.to_owned() }]);
            }
            match draft.read(base, environment) {
                Ok(source) => sections.sources.push(source),
                Err(faults) => self.tell(start, &section, faults),
            }
        }
        for (index, draft) in file.api_keys.into_iter().enumerate() {
            let (start, draft) = (draft.span().start, draft.into_inner());
            if let Err(faults) = sections.api_keys.add(draft) {
                self.tell(start, &format!("api_keys[{index}]"), faults);
            }
        }
    }

    fn tell(&mut self, start: usize, section: &str, faults: Vec<Fault>) {
        let (path, line) = (self.path.display(), line_of(self.text, start));
        self.problems.extend(faults.into_iter().map(|fault| PolicyProblem {
            place: format!("{path} line {line}, {section}.{}", fault.field),
            rule: fault.rule,
        }));
    }
}
