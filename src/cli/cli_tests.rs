//! The command line as users type it.

use super::*;

fn parsed(line: &str) -> Result<Arguments, clap::Error> {
    parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn verify_cli() {
    Arguments::command().debug_assert();
}

#[test]
fn the_lines_of_the_documentation_are_accepted() {
    for line in [
        "fanfare serve",
        "fanfare serve --demo --listen 127.0.0.1:0 --data-dir /tmp/x --store memory --config f.toml --set ping_interval=1s",
        "fanfare publish task.created --data {\"n\":1} --org quant --domain d --instance i --agent a --task t --workflow w \
         --user u --room r --id x --source /ci --subject s --correlation-id c --priority HIGH --url http://localhost:1",
        "fanfare publish --file events.jsonl",
        "fanfare publish --file -",
        "fanfare tail",
        "fanfare tail agent.* *.failed --org quant --org other --last 10 --json",
        "fanfare tail --after AbC",
        "fanfare tail --earliest --correlation-id c --min-priority HIGH --source /ci",
        "fanfare bench",
        "fanfare bench fanout --connections 5000 --rate 100 --duration 30s --filters distinct --publishers 16 --quiet",
        "fanfare bench publish --publishers 32 --batch 10 --payload 1024 --json",
        "fanfare bench storm --connections 2000 --connect-rate 500 --subscriptions 2 --threads 2 --url http://localhost:1",
        "fanfare schema",
        "fanfare schema --check",
        "fanfare schema --check other.graphql",
        "fanfare check-config --print --config f.toml",
        "fanfare log check",
        "fanfare log check --data-dir ./data --json",
        "fanfare log stats --config f.toml",
        "fanfare audit verify",
        "fanfare audit verify ./data/audit.jsonl",
        "fanfare audit verify --config f.toml --head 1:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert!(parsed(line).is_ok(), "{line}: {}", parsed(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_together_is_a_usage_error() {
    for line in [
        "fanfare",
        "fanfare serve --store",
        "fanfare serve --set listen",
        "fanfare publish",
        "fanfare publish a --file f",
        "fanfare publish --file f --org quant",
        "fanfare publish --file f --data 1",
        "fanfare publish a --data {",
        "fanfare tail --last 0",
        "fanfare tail --last 3 --earliest",
        "fanfare tail --after A --last 3",
        "fanfare bench --connections 0",
        "fanfare bench soak",
        "fanfare schema other.graphql",
        "fanfare frobnicate",
        "fanfare log",
        "fanfare log mend",
        "fanfare log check --data-dir a --config b",
    ] {
        let error = parsed(line).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}

#[test]
fn help_names_every_setting() {
    let help = parsed("fanfare serve --help").unwrap_err();
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    for setting in fanfare::config::TABLE {
        assert!(help.contains(setting.own_variable()), "{}", setting.name);
    }
}

#[test]
fn a_flag_of_its_own_goes_before_set_and_the_environment_names_the_server() {
    let environment = Environment {
        variable: &|name| (name == "FANFARE_URL").then(|| "ftp://x".to_owned()),
        names: vec!["FANFARE_URL".to_owned()],
    };
    let Ok(Arguments { command: Command::CheckConfig(_) }) = parsed("fanfare check-config") else { panic!() };
    let code = run("fanfare tail".split(' ').map(OsString::from), &environment);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
    let line = "fanfare check-config --set store=postgres --store memory";
    let code = run(line.split(' ').map(OsString::from), &environment);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
    let line = "fanfare check-config --set store=postgres";
    let code = run(line.split(' ').map(OsString::from), &environment);
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
}
