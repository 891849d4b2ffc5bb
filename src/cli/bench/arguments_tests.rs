//! The flags of a load.

use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn plan(line: &str) -> Result<Plan, String> {
    let parsed = Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()));
    let parsed = parsed.map_err(|error| error.to_string())?;
    parsed.arguments.plan().map_err(|failure| format!("{failure:?}"))
}

#[test]
fn without_flags_it_is_a_fan_out_as_fast_as_acknowledged() {
    let plan = plan("").unwrap();
    assert_eq!((plan.scenario, plan.connections, plan.subscriptions), (Scenario::Fanout, 100, 1));
    assert_eq!((plan.rate, plan.duration, plan.events), (None, Some(Duration::from_secs(10)), None));
    assert_eq!((plan.batch, plan.payload), (1, DATA_BYTES_MIN));
}

#[test]
fn each_scenario_has_its_own_defaults() {
    assert_eq!(plan("publish").unwrap().connections, 0);
    let replay = plan("replay").unwrap();
    assert_eq!((replay.events, replay.duration, replay.batch), (Some(10_000), None, 100));
    assert_eq!(plan("storm").unwrap().rate, Some(200.0));
    assert_eq!(plan("storm --rate 0").unwrap().rate, None);
}

#[test]
fn times_are_written_as_in_the_settings() {
    for (given, millis) in [("500ms", 500), ("10s", 10_000), ("1.5m", 90_000), ("1h", 3_600_000)] {
        assert_eq!(duration(given), Ok(Duration::from_millis(millis)), "{given}");
    }
    for given in ["", "10", "s", "-1s", "0s", "25h", "1e300h", "NaNs"] {
        assert!(duration(given).unwrap_err().contains("allowed is"), "{given}");
    }
}

#[test]
fn what_makes_no_load_is_refused_with_what_is_allowed() {
    for (line, told) in [
        ("--connections 0", "1..=1000000"),
        ("--subscriptions 0", "1..=100000"),
        ("--publishers 0", "1..=1024"),
        ("--batch 0", "1..=10000"),
        ("--threads 0", "zero"),
        ("--rate -1", "unexpected"),
        ("--rate=-1", "allowed is 0"),
        ("--rate NaN", "allowed is 0"),
        ("--payload 0", "from 128"),
        ("--payload 999999999999", "from 128"),
        ("--payload 200000000 --batch 2", "256 MiB"),
        ("--duration 0s", "100ms to 24h"),
        ("--filter a..b", "pattern"),
        ("--filter agent.*", "nothing would be delivered"),
        ("--filter bench.* --filters same", "cannot be used with"),
        ("publish --connections 5", "--connections means nothing"),
        ("replay --rate 5", "--rate means nothing"),
        ("fanout --events 5", "only in replay"),
        ("frobnicate", "invalid value"),
    ] {
        let error = plan(line).expect_err(line);
        assert!(error.contains(told), "{line}: {error}");
    }
}
