//! Where settings come from, and what is wrong with them.

use super::*;
use crate::config::{Store, print, readme_table, settings_help};
use std::io::Write;

fn flag(name: &str, text: &str) -> Flag {
    Flag { spelled: "--set", name: name.to_owned(), text: text.to_owned() }
}

fn load_with(file: Option<&str>, flags: &[Flag], env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let look_up = |name: &str| env.iter().find(|(own, _)| *own == name).map(|(_, text)| (*text).to_owned());
    let names: Vec<_> = env.iter().map(|(name, _)| (*name).to_owned()).collect();
    load(file, flags, &look_up, &names)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

fn problems(loaded: Result<Loaded, Problems>) -> Vec<String> {
    loaded.map(|loaded| loaded.config).unwrap_err().0.iter().map(ToString::to_string).collect()
}

#[test]
fn a_flag_goes_before_the_environment_before_a_bare_name_before_the_file_before_the_default() {
    let toml = file("log = \"error\"\nlisten = \"127.0.0.1:1\"\nstore = 'memory'\n");
    let log =
        |flags: &[Flag], env: &[(&str, &str)]| load_with(Some(path(&toml)), flags, env).unwrap().config.log;
    let bare = ("RUST_LOG", "debug");
    let own = ("FANFARE_LOG", "warn");
    assert_eq!(load_with(None, &[], &[]).unwrap().config.log, "info");
    assert_eq!(log(&[], &[]), "error");
    assert_eq!(log(&[], &[bare]), "debug");
    assert_eq!(log(&[], &[bare, own]), "warn");
    assert_eq!(log(&[flag("log", "trace")], &[bare, own]), "trace");
    assert_eq!(log(&[], &[("FANFARE_LOG", "")]), "error", "an empty variable counts as unset");
    let named_by_env = load_with(None, &[], &[("FANFARE_CONFIG", path(&toml))]).unwrap();
    assert_eq!(named_by_env.config.store, Store::Memory);
}

#[test]
fn host_and_port_each_replace_their_part() {
    let toml = file("listen = \"127.0.0.2:7000\"\n");
    let listen = |file, env: &[(&str, &str)]| load_with(file, &[], env).unwrap().config.listen.to_string();
    assert_eq!(listen(None, &[("PORT", "9000")]), "127.0.0.1:9000");
    assert_eq!(listen(Some(path(&toml)), &[("PORT", "9000")]), "127.0.0.2:9000");
    assert_eq!(listen(Some(path(&toml)), &[("HOST", "::1")]), "[::1]:7000");
    assert_eq!(listen(None, &[("PORT", "9000"), ("HOST", "localhost")]), "127.0.0.1:9000");
    assert_eq!(listen(None, &[("PORT", "9000"), ("FANFARE_LISTEN", "127.0.0.1:1")]), "127.0.0.1:1");
    let refused = problems(load_with(None, &[], &[("PORT", "tcp"), ("HOST", "my-machine")]));
    assert_eq!(refused.len(), 2);
    assert!(refused[0].starts_with("listen (environment variable HOST): \"my-machine\""), "{refused:?}");
    assert!(refused[1].starts_with("listen (environment variable PORT): \"tcp\""), "{refused:?}");
}

#[test]
fn all_problems_are_told_at_once_with_setting_source_given_and_allowed() {
    let toml = file("store = \"postgres\"\n\nworker_thread = 2\ndemo = 1.5\n");
    let refused = problems(load_with(
        Some(path(&toml)),
        &[flag("ping_interval", "25"), flag("nonsense", "1")],
        &[("FANFARE_DATA_BYTES_MAX", "much"), ("FANFARE_MAX_CONNECTIONS", "5")],
    ));
    let at = path(&toml);
    assert_eq!(
        refused,
        [
            format!("store ({at} line 1): \"postgres\" is not allowed; allowed is sqlite or memory"),
            format!("demo ({at} line 4): a number with a fraction is not allowed; allowed is true or false"),
            "data_bytes_max (environment variable FANFARE_DATA_BYTES_MAX): \"much\" is not allowed; allowed is 1B to \
             64MiB, written as 65536, 64KiB or 1MiB"
                .to_owned(),
            "ping_interval (flag --set): \"25\" is not allowed; allowed is 1ms to 24h, written as 500ms, 10s, 5m or 1h"
                .to_owned(),
            "nonsense (flag --set): there is no such setting; `fanfare check-config --print` shows all".to_owned(),
            format!("worker_thread ({at} line 3): there is no such setting; did you mean worker_threads?"),
            "FANFARE_MAX_CONNECTIONS (environment variable FANFARE_MAX_CONNECTIONS): there is no such setting; did you \
             mean FANFARE_CONNECTIONS_MAX?"
                .to_owned(),
        ]
    );
}

#[test]
fn a_flag_mends_a_broken_file() {
    let toml = file("store = \"postgres\"\n");
    assert!(load_with(Some(path(&toml)), &[flag("store", "memory")], &[]).is_ok());
}

#[test]
fn a_missing_file_is_a_problem_and_not_an_empty_one() {
    let refused = problems(load_with(Some("/nowhere/fanfare.toml"), &[], &[]));
    assert!(
        refused[0].starts_with("settings file (flag --config): /nowhere/fanfare.toml cannot be read"),
        "{refused:?}"
    );
}

#[test]
fn the_variables_of_a_kubernetes_service_are_no_settings() {
    let links = [
        ("FANFARE_SERVICE_HOST", "10.0.0.1"),
        ("FANFARE_SERVICE_PORT", "8080"),
        ("FANFARE_SERVICE_PORT_HTTP", "8080"),
        ("FANFARE_PORT", "tcp://10.0.0.1:8080"),
        ("FANFARE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("FANFARE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("FANFARE_NATS_PORT_4222_TCP_PROTO", "tcp"),
    ];
    assert!(load_with(None, &[], &links).is_ok());
    assert!(load_with(None, &[], &[("FANFARE_PORT", "8080")]).is_err());
}

#[test]
fn a_secret_comes_from_a_file_and_is_never_shown() {
    const NAME: &str = "FANFARE_GITHUB_WEBHOOK_SECRET";
    const NAME_FILE: &str = "FANFARE_GITHUB_WEBHOOK_SECRET_FILE";
    let secret = file("hunter2\n");
    let loaded = load_with(None, &[], &[(NAME_FILE, path(&secret))]).unwrap();
    assert_eq!(loaded.config.github_webhook_secret.as_ref().map(|secret| secret.expose()), Some("hunter2"));
    let shown = format!("{loaded:?}{}{:?}", print(&loaded), loaded.changed().collect::<Vec<_>>());
    assert!(!shown.contains("hunter2") && shown.contains("# github_webhook_secret is set"), "{shown}");

    let both = problems(load_with(None, &[], &[(NAME_FILE, path(&secret)), (NAME, "hunter3")]));
    let two_lines = problems(load_with(None, &[], &[(NAME, "hunter2\nhunter3")]));
    let empty = problems(load_with(None, &[], &[(NAME_FILE, path(&file("\n")))]));
    for refused in [both, two_lines, empty] {
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(
            refused[0].starts_with("github_webhook_secret (") && !refused[0].contains("hunter"),
            "{refused:?}"
        );
    }
}

#[test]
fn without_authentication_only_loopback_is_accepted_and_the_problem_says_what_to_do() {
    for fine in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"] {
        assert!(load_with(None, &[flag("listen", fine)], &[]).is_ok(), "{fine}");
    }
    for open in ["0.0.0.0:8080", "[::]:8080", "192.168.0.1:1"] {
        let refused = problems(load_with(None, &[], &[("FANFARE_LISTEN", open)]));
        assert!(refused[0].starts_with("listen (environment variable FANFARE_LISTEN)"), "{refused:?}");
        assert!(refused[0].contains("no authentication") && refused[0].contains("proxy"), "{refused:?}");
    }
    assert!(load_with(None, &[], &[("HOST", "0.0.0.0")]).is_err());
}

#[test]
fn an_event_of_the_largest_size_must_fit_into_a_request_and_a_mailbox() {
    let refused = problems(load_with(None, &[flag("data_bytes_max", "2MiB")], &[]));
    assert_eq!(
        refused,
        [
            "request_bytes_max (default): \"1048576 bytes\" is not allowed; allowed is data_bytes_max, 2097152 bytes, or more",
            "mailbox_bytes_max (default): \"1048576 bytes\" is not allowed; allowed is data_bytes_max, 2097152 bytes, or more",
        ]
    );
}

#[test]
fn what_is_printed_is_a_settings_file_that_gives_the_same_configuration() {
    let flags = [
        flag("listen", "[::1]:9"),
        flag("demo", "true"),
        flag("origins", "https://a.example,https://b.example"),
        flag("self_events", "off"),
        flag("data_dir", "/tmp/a \"quoted\" \\ place"),
        flag("worker_threads", "3"),
        flag("ping_interval", "1500ms"),
        flag("store", "memory"),
        flag("log_format", "json"),
    ];
    let loaded = load_with(None, &flags, &[]).unwrap();
    assert_eq!(loaded.changed().count(), flags.len());
    let printed = file(&print(&loaded));
    assert_eq!(load_with(Some(path(&printed)), &[], &[]).unwrap().config, loaded.config);
}

#[test]
fn help_and_readme_name_every_setting_with_its_variables() {
    let (help, table) = (settings_help(), readme_table());
    for setting in TABLE {
        for text in [&help, &table] {
            assert!(text.contains(setting.name) && text.contains(setting.doc), "{}", setting.name);
            assert!(setting.env.iter().all(|name| text.contains(name)), "{}", setting.name);
        }
    }
    assert_eq!(table.lines().count(), TABLE.len() + 2);
}

const SECRET: &str = "w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P";

#[test]
fn one_key_from_settings_turns_authentication_on_and_lets_the_server_leave_loopback() {
    let all = [
        flag("jwt_secret", SECRET),
        flag("jwt_issuer", "https://login.example.org"),
        flag("jwt_audience", "fanfare"),
        flag("listen", "0.0.0.0:8080"),
    ];
    let loaded = load_with(None, &all, &[]).unwrap();
    assert!(loaded.config.has_authentication());
    assert!(loaded.config.auth_options(crate::metrics::Metrics::new()).is_configured());
    assert!(!format!("{loaded:?}{}", print(&loaded)).contains(SECRET));
    let url = load_with(None, &all[1..], &[("JWKS_URL", "https://login.example.org/jwks.json")]).unwrap();
    assert_eq!(url.config.jwks_url.as_deref(), Some("https://login.example.org/jwks.json"));
    assert!(load_with(None, &all[3..], &[]).is_err());
}

#[test]
fn a_key_that_is_weak_or_alone_is_a_problem_that_names_the_setting() {
    let refused = problems(load_with(None, &[flag("jwt_secret", "hunter2")], &[]));
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused[0].starts_with("jwt_issuer (default): is required"), "{refused:?}");
    assert!(refused[1].starts_with("jwt_audience (default): is required"), "{refused:?}");
    assert!(refused[2].starts_with("jwt_secret (flag --set): the secret has 7 bytes"), "{refused:?}");
    assert!(!refused.concat().contains("hunter2"));

    let alone = problems(load_with(None, &[flag("jwt_issuer", "a")], &[]));
    assert!(alone[0].starts_with("jwt_issuer (flag --set): does nothing by itself"), "{alone:?}");
    let both = [flag("jwt_issuer", "a"), flag("jwt_audience", "b")];
    let http = problems(load_with(None, &both, &[("FANFARE_JWKS_URL", "http://login.example.org/")]));
    assert!(http[0].starts_with("jwks_url (environment variable FANFARE_JWKS_URL)"), "{http:?}");
}

#[test]
fn the_problems_of_a_policy_are_told_with_their_line_and_field() {
    let policy = file("\n[[keys]]\nissuer = \"a\"\nsecret_env = \"SIGNING\"\n");
    let refused = problems(load_with(None, &[flag("policy", path(&policy))], &[("SIGNING", SECRET)]));
    assert_eq!(refused.len(), 1, "{refused:?}");
    let expected = format!("policy (flag --set): {}: keys[0] (line 2), audience: is required", path(&policy));
    assert!(refused[0].starts_with(&expected), "{refused:?}");
}
