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
        "fanfare tail --after AbC --token t",
        "fanfare publish a --token-file t",
        "fanfare tail --earliest --correlation-id c --min-priority HIGH --source /ci",
        "fanfare bench",
        "fanfare bench fanout --connections 5000 --rate 100 --duration 30s --filters distinct --publishers 16 --quiet",
        "fanfare bench publish --publishers 32 --batch 10 --payload 1024 --json",
        "fanfare bench storm --connections 2000 --connect-rate 500 --subscriptions 2 --threads 2 --url http://localhost:1",
        "fanfare schema",
        "fanfare schema --check",
        "fanfare schema --check other.graphql",
        "fanfare check-config --print --config f.toml",
        "fanfare explain --event {\"type\":\"a\"} --roles member,support --claims {\"org_id\":\"quant\"} --config f.toml --json",
        "fanfare explain --event e.json --token-file t --set policy=p.toml",
        "fanfare explain --event e.json",
        "fanfare log check",
        "fanfare log check --data-dir ./data --json",
        "fanfare log stats --config f.toml",
        "fanfare token api-key --id ci --subject ci --role publisher --role reader --variable org=quant",
        "fanfare token sign --secret-file f --subject ada --role member --claim org_id=\"quant\" --expires 1h --issuer i --audience a",
        "fanfare token check e30.e30.e30 --config f.toml --set jwt_leeway=1s",
        "fanfare token check -",
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
        "fanfare explain --roles member",
        "fanfare explain --event e.json --roles member --token t",
        "fanfare explain --event e.json --claims {}",
        "fanfare tail --token t --token-file f",
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

#[test]
fn an_event_is_explained_without_a_server_and_a_wrong_policy_is_a_usage_error() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("secret", "w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P");
    let rule = |role: &str| {
        format!(
            "[[keys]]\nissuer='i'\naudience='a'\nsecret_file='secret'\n[claims]\nvariables={{org='org_id'}}\n\
             [roles.member]\nread=[{{organizationId='{{org}}'}}]\n\
             [[masks]]\ntypes=['*']\npath='data.a'\naction='hash'\nroles=['{role}']\n"
        )
    };
    let (right, wrong) = (write("right.toml", &rule("member")), write("wrong.toml", &rule("membr")));
    let data_dir = dir.path().join("none").display().to_string();
    let environment = Environment { variable: &|_| None, names: Vec::new() };
    let code = |line: &str| format!("{:?}", run(line.split_whitespace().map(OsString::from), &environment));
    let explain = |policy: &str, event: &str, who: &str| {
        let settings = format!("--data-dir {data_dir} --set policy={policy}");
        code(&format!("fanfare explain --event {event} {settings} --json {who}"))
    };
    let [success, failure, usage] =
        [ExitCode::SUCCESS, ExitCode::FAILURE, ExitCode::from(2)].map(|code| format!("{code:?}"));
    let event = r#"{"type":"x","data":{"a":1}}"#;
    let member = r#"--roles member --claims {"org_id":"quant"}"#;
    assert_eq!(explain(&right, event, member), success);
    assert_eq!(explain(&right, &write("event.json", event), "--roles member"), success);
    let claims =
        serde_json::json!({"iss": "i", "aud": "a", "sub": "ada", "exp": chrono::Utc::now().timestamp() + 60});
    let token =
        fanfare::auth::token::sign("w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P", None, claims.as_object().unwrap());
    assert_eq!(explain(&right, event, &format!("--token {}", token.unwrap())), success);
    assert_eq!(explain(&right, event, "--token a.b.c"), failure);
    assert_eq!(explain(&right, event, ""), failure, "whoever has no credential is refused");
    for (policy, event, who) in [
        (wrong.as_str(), event, member),
        (&right, "{}", member),
        (&right, "nowhere.json", member),
        ("nowhere.toml", event, member),
        (&right, event, "--roles membr"),
    ] {
        assert_eq!(explain(policy, event, who), usage, "{policy} {event} {who}");
    }
    assert_eq!(code(&format!("fanfare explain --event {event}")), usage, "everybody may do everything");
    assert_eq!(code(&format!("fanfare check-config --data-dir {data_dir} --set policy={right}")), success);
}
