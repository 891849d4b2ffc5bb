//! Finds each setting's value: flag, then `FANFARE_*`, then bare standard name, then file, then default.
//!
//! Invariants: only the value that counts is judged, so a flag mends a broken file; names that nobody knows are problems,
//! because a misspelled limit that is silently ignored is found in an outage.

use super::{
    file::{self, Line},
    problem::{Problem, Problems, Source},
    table::{Config, Setting, TABLE},
    value::{read_host, read_port},
};

/// Every setting of this program is an environment variable with this prefix.
const PREFIX: &str = "FANFARE_";
/// Names the settings file.
const FILE_VARIABLE: &str = "FANFARE_CONFIG";
/// Variables with the prefix that are no settings of the server: the file, and the client commands' server and token.
const OTHER_VARIABLES: &[&str] = &[FILE_VARIABLE, "FANFARE_URL", "FANFARE_TOKEN"];
const UTF8_RULE: &str = "the value must be UTF-8 text";

/// A setting as the command line gave it.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, such as `--listen` or `--set`.
    pub spelled: &'static str,
    /// The setting.
    pub name: String,
    /// The value.
    pub text: String,
}

/// A checked configuration, and where each value that is not a default came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    pub(super) sources: Vec<(&'static Setting, Source)>,
}

/// Reads every setting. `file` is what `--config` names; `env` looks up one variable, `env_names` are the names of all.
/// Fails with everything that is wrong.
pub fn load(
    file: Option<&str>,
    flags: &[Flag],
    env: &dyn Fn(&str) -> Option<String>,
    env_names: &[String],
) -> Result<Loaded, Problems> {
    // An empty variable counts as unset: compose files and CI systems cannot remove one.
    let env = &|name: &str| env(name).filter(|text| !text.is_empty());
    let mut reading = Reading::new(flags, env);
    reading.open_file(file);
    for setting in TABLE {
        reading.setting(setting);
    }
    reading.refuse_unknown(env_names);
    reading.check_together();
    match reading.problems.is_empty() {
        true => Ok(Loaded { config: reading.config, sources: reading.sources }),
        false => Err(Problems(reading.problems)),
    }
}

struct Reading<'a> {
    flags: &'a [Flag],
    env: &'a dyn Fn(&str) -> Option<String>,
    lines: Vec<Line>,
    config: Config,
    sources: Vec<(&'static Setting, Source)>,
    problems: Vec<Problem>,
}

impl<'a> Reading<'a> {
    fn new(flags: &'a [Flag], env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Reading {
            flags,
            env,
            lines: Vec::new(),
            config: Config::default(),
            sources: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn open_file(&mut self, flag: Option<&str>) {
        let variable = || (self.env)(FILE_VARIABLE).map(|path| (path, Source::Env(FILE_VARIABLE.to_owned())));
        let Some((path, source)) =
            flag.map(|path| (path.to_owned(), Source::Flag("--config"))).or_else(variable)
        else {
            return;
        };
        match file::read_text(&path) {
            Ok(text) => self.lines = file::lines(&path, &text, &mut self.problems),
            Err(error) => {
                self.problems.push(Problem::new("settings file", source, None, format!("{path} {error}")));
            }
        }
    }

    fn setting(&mut self, setting: &'static Setting) {
        if let Some(flag) = self.flags.iter().rev().find(|flag| flag.name == setting.name) {
            let (text, source) = (flag.text.clone(), Source::Flag(flag.spelled));
            return self.read(setting, &text, source);
        }
        if let Some((text, source)) = self.own_variable(setting) {
            return self.read(setting, &text, source);
        }
        let bare = setting.env.iter().skip(1).find_map(|name| Some((*name, (self.env)(name)?)));
        match bare {
            // HOST and PORT each give a part only; the file or the default gives the other.
            Some(_) if setting.name == "listen" => {
                self.read_line(setting);
                self.read_host_and_port(setting);
            }
            Some((name, text)) => self.read(setting, &text, Source::Env(name.to_owned())),
            None => self.read_line(setting),
        }
    }

    /// The value of `FANFARE_X`, or for a secret of the file that `FANFARE_X_FILE` names.
    fn own_variable(&mut self, setting: &Setting) -> Option<(String, Source)> {
        let variable = setting.own_variable();
        let plain = (self.env)(variable);
        let file_variable = format!("{variable}_FILE");
        let Some(path) = setting.is_secret().then(|| (self.env)(&file_variable)).flatten() else {
            return plain.map(|text| (text, Source::Env(variable.to_owned())));
        };
        let mut refuse =
            |source, rule: String| self.problems.push(Problem::new(setting.name, source, None, rule));
        if plain.is_some() {
            refuse(Source::Env(file_variable), format!("give either this or {variable}, not both"));
            return None;
        }
        match file::read_text(&path) {
            Ok(text) => {
                let text = text.trim_end_matches(['\n', '\r']).to_owned();
                Some((text, Source::SecretFile { variable: file_variable, path }))
            }
            Err(error) => {
                refuse(Source::Env(file_variable), format!("{path} {error}"));
                None
            }
        }
    }

    fn read_line(&mut self, setting: &'static Setting) {
        let Some(line) = self.lines.iter().find(|line| line.name == setting.name) else { return };
        let source = line.source.clone();
        match line.text.clone() {
            Ok(text) => self.read(setting, &text, source),
            Err(found) => {
                let allowed = format!("{found} is not allowed; allowed is {}", setting.unit.allowed());
                self.problems.push(Problem::new(setting.name, source, None, allowed));
            }
        }
    }

    fn read(&mut self, setting: &'static Setting, text: &str, source: Source) {
        let is_text = !text.contains('\u{fffd}');
        let is_missing_secret = setting.is_secret() && text.is_empty();
        if is_text && !is_missing_secret && (setting.read)(&mut self.config, text).is_some() {
            self.sources.push((setting, source));
            return;
        }
        let problem = match (is_text, setting.is_secret()) {
            (false, _) => Problem::new(setting.name, source, None, UTF8_RULE),
            (true, true) => {
                let rule = format!("the value is not allowed; allowed is {}", setting.unit.allowed());
                Problem::new(setting.name, source, None, rule)
            }
            (true, false) => Problem::new(setting.name, source, Some(text), setting.unit.allowed()),
        };
        self.problems.push(problem);
    }

    fn read_host_and_port(&mut self, setting: &'static Setting) {
        let mut refuse = |name: &str, text: &str, allowed: &str| {
            self.problems.push(Problem::new(setting.name, Source::Env(name.to_owned()), Some(text), allowed));
        };
        let mut source = None;
        if let Some(text) = (self.env)("HOST") {
            match read_host(&text) {
                Some(host) => {
                    self.config.listen.set_ip(host);
                    source = Some("HOST");
                }
                None => {
                    refuse("HOST", &text, "an IP address, such as 127.0.0.1; FANFARE_LISTEN goes before it")
                }
            }
        }
        if let Some(text) = (self.env)("PORT") {
            match read_port(&text) {
                Some(port) => {
                    self.config.listen.set_port(port);
                    source = source.or(Some("PORT"));
                }
                None => refuse("PORT", &text, "a port from 0 to 65535"),
            }
        }
        if let Some(name) = source {
            self.sources.retain(|(known, _)| known.name != setting.name);
            self.sources.push((setting, Source::Env(name.to_owned())));
        }
    }

    fn refuse_unknown(&mut self, env_names: &[String]) {
        let flags = self.flags.iter().map(|flag| (flag.name.clone(), Source::Flag(flag.spelled)));
        let lines = self.lines.iter().map(|line| (line.name.clone(), line.source.clone()));
        let unknown: Vec<_> = flags.chain(lines).filter(|(name, _)| Setting::find(name).is_none()).collect();
        for (name, source) in unknown {
            let rule = match file::meant(&name) {
                Some(setting) => format!("there is no such setting; did you mean {}?", setting.name),
                None => "there is no such setting; `fanfare check-config --print` shows all".to_owned(),
            };
            self.problems.push(Problem::new(&name, source, None, rule));
        }
        let mut names: Vec<_> = env_names.iter().filter(|name| self.is_unknown_variable(name)).collect();
        names.sort_unstable();
        for name in names {
            let rule = match file::meant(name.trim_start_matches(PREFIX)) {
                Some(setting) => {
                    format!("there is no such setting; did you mean {}?", setting.own_variable())
                }
                None => "there is no such setting; `fanfare serve --help` names all".to_owned(),
            };
            self.problems.push(Problem::new(name, Source::Env(name.clone()), None, rule));
        }
    }

    fn is_unknown_variable(&self, name: &str) -> bool {
        let is_secret_file = |setting: &Setting| {
            setting.is_secret() && name.strip_suffix("_FILE") == Some(setting.own_variable())
        };
        name.starts_with(PREFIX)
            && !OTHER_VARIABLES.contains(&name)
            && !TABLE.iter().any(|setting| setting.own_variable() == name || is_secret_file(setting))
            && !is_service_link(name, &(self.env)(name).unwrap_or_default())
    }

    /// Rules that concern more than one setting, for those that are fine alone.
    fn check_together(&mut self) {
        self.check_authentication();
        if !self.config.listen.ip().to_canonical().is_loopback() && !self.config.has_authentication() {
            let given = self.config.listen.to_string();
            self.refuse(
                "listen",
                &given,
                "a loopback address (127.0.0.1 or [::1]) as long as the server has no authentication, since whoever \
                 reaches it may read and publish everything; set policy, jwt_secret, jwks_url or jwks_file, or let a proxy \
                 that authenticates forward to it",
            );
        }
        let Config { data_bytes_max, request_bytes_max, document_bytes_max, mailbox_bytes_max, .. } =
            self.config;
        let pairs = [
            ("request_bytes_max", request_bytes_max, "data_bytes_max", data_bytes_max),
            ("request_bytes_max", request_bytes_max, "document_bytes_max", document_bytes_max),
            ("mailbox_bytes_max", mailbox_bytes_max, "data_bytes_max", data_bytes_max),
        ];
        for (larger, most, smaller, least) in pairs {
            let is_fine = |name: &str| self.problems.iter().all(|problem| problem.setting != name);
            if most < least && is_fine(larger) && is_fine(smaller) {
                self.refuse(larger, &format!("{most} bytes"), &format!("{smaller}, {least} bytes, or more"));
            }
        }
    }

    fn check_authentication(&mut self) {
        for (name, rule) in self.config.authentication_problems(self.env) {
            // A setting that could not be read is told already.
            if self.problems.iter().all(|problem| problem.setting != name || problem.given.is_none()) {
                let source = self.source_of(name);
                self.problems.push(Problem::new(name, source, None, rule));
            }
        }
    }

    fn source_of(&self, name: &str) -> Source {
        let source = self.sources.iter().find(|(setting, _)| setting.name == name);
        source.map_or(Source::Default, |(_, source)| source.clone())
    }

    fn refuse(&mut self, name: &str, given: &str, allowed: &str) {
        let source = self.source_of(name);
        self.problems.push(Problem::new(name, source, Some(given), allowed));
    }
}

/// Is it one of the variables that Kubernetes sets in every container for a service named `fanfare` or `fanfare-…`?
/// Refusing those would break every such installation.
fn is_service_link(name: &str, text: &str) -> bool {
    let is_link = |text: &str| text.starts_with("tcp://") || text.starts_with("udp://");
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        parts.next().is_some_and(|port| read_port(port).is_some())
            && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_link(text))
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
        || name.split_once("_PORT_").is_some_and(|(_, rest)| is_port(rest))
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
