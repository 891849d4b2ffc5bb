//! How values are read and shown.

use super::*;
use crate::config::{Config, Setting, TABLE};
use proptest::prelude::*;

const BYTES: Unit = Unit::Bytes(1, usize::MAX);
const TIME: Unit = Unit::Time(Duration::ZERO, Duration::MAX);

fn bytes(text: &str) -> Option<usize> {
    Value::read(text, &BYTES)
}

fn time(text: &str) -> Option<Duration> {
    Value::read(text, &TIME)
}

#[test]
fn sizes_and_times_are_read_with_their_units_and_nothing_else() {
    assert_eq!(bytes("65536"), Some(65_536));
    assert_eq!(bytes("64KiB"), Some(65_536));
    assert_eq!(bytes("1 MiB"), Some(MIB));
    assert_eq!(bytes("1_000B"), Some(1_000));
    assert_eq!(time("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(time("10s"), Some(Duration::from_secs(10)));
    assert_eq!(time("2h"), Some(Duration::from_secs(7_200)));
    for bad in [
        "",
        "KiB",
        "64KB",
        "64kib",
        "-1",
        "+1",
        "1.5MiB",
        "_1",
        "99999999999999999999",
        "18446744073709551615GiB",
    ] {
        assert_eq!(bytes(bad), None, "{bad:?}");
    }
    // A plain number is no time: nobody knows whether it means seconds or milliseconds.
    for bad in ["", "10", "1.5s", "-1s", "10 sec", "s", "18446744073709551615h"] {
        assert_eq!(time(bad), None, "{bad:?}");
    }
}

#[test]
fn bounds_are_kept_at_both_ends() {
    let unit = Unit::Count(2, 4);
    let read: Vec<Option<usize>> = ["1", "2", "4", "5"].map(|text| Value::read(text, &unit)).to_vec();
    assert_eq!(read, [None, Some(2), Some(4), None]);
    let threads = |text| <Option<NonZeroUsize> as Value>::read(text, &Unit::Threads);
    assert_eq!((threads("cores"), threads("0"), threads("1025")), (Some(None), None, None));
}

#[test]
fn a_limit_is_off_or_within_its_bounds() {
    let bytes = |text| <Option<usize> as Value>::read(text, &Unit::OrOff(&Unit::Bytes(MIB, 4 * MIB)));
    assert_eq!(
        (bytes("off"), bytes("1MiB"), bytes("4MiB")),
        (Some(None), Some(Some(MIB)), Some(Some(4 * MIB)))
    );
    assert_eq!((bytes("0"), bytes("1023KiB"), bytes("5MiB"), bytes(""), bytes("none")), Default::default());
    for (name, text) in [
        ("retention_age", "999ms"),
        ("retention_age", "87601h"),
        ("retention_age", "7"),
        ("retention_events", "0"),
        ("retention_events", "-1"),
        ("retention_bytes", "64KiB"),
    ] {
        let setting = Setting::find(name).unwrap();
        assert_eq!((setting.read)(&mut Config::default(), text), None, "{name} = {text}");
        assert!(setting.unit.allowed().starts_with("off, or "), "{}", setting.unit.allowed());
    }
}

#[test]
fn origins_are_those_that_browsers_send() {
    let read = |text| <Vec<String> as Value>::read(text, &Unit::Origins);
    assert_eq!(
        read("https://App.example.org, http://localhost:3000,http://[::1]:80"),
        Some(vec![
            "https://app.example.org".into(),
            "http://localhost:3000".into(),
            "http://[::1]:80".into()
        ])
    );
    assert_eq!(read(""), Some(vec![]));
    for bad in
        ["*", "example.org", "https://", "https://a/", "https://a/b", "ftp://a", "https://a:b", "https://a@b"]
    {
        assert_eq!(read(bad), None, "{bad:?}");
    }
}

#[test]
fn families_are_some_of_those_allowed_each_once_or_none() {
    let unit = Unit::Families(&[Family::Health, Family::System]);
    let read = |text| <Vec<Family> as Value>::read(text, &unit);
    assert_eq!(read("system, health,system"), Some(vec![Family::System, Family::Health]));
    assert_eq!((read("off"), read("")), (Some(vec![]), Some(vec![])));
    for bad in ["task", "Health", "health.*", "health,off", "*", "none"] {
        assert_eq!(read(bad), None, "{bad:?}");
    }
    assert!(unit.allowed().starts_with("some of health, system,"), "{}", unit.allowed());
}

#[test]
fn a_broken_log_filter_and_an_unknown_word_are_refused() {
    let unit = Unit::LogFilter;
    assert!(<String as Value>::read("fanfare=debug,warn", &unit).is_some());
    for bad in ["", " ", "fanfare=loud", "a=b=c"] {
        assert_eq!(<String as Value>::read(bad, &unit), None, "{bad:?}");
    }
    assert_eq!(<Store as Value>::read("nats", &Unit::Choice(STORES)), None);
    assert_eq!(<bool as Value>::read("maybe", &Unit::Switch), None);
}

#[test]
fn a_secret_is_not_in_the_debug_form() {
    let config =
        Config { github_webhook_secret: Value::read("hunter2", &Unit::Secret).unwrap(), ..Config::default() };
    assert_eq!(config.github_webhook_secret.as_ref().map(Secret::expose), Some("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn every_default_is_shown_as_it_stands_in_the_table() {
    let mut config = Config::default();
    for setting in TABLE {
        assert!((setting.read)(&mut config, setting.default).is_some(), "{}", setting.name);
        let shown = match (setting.show)(&config) {
            None => String::new(),
            Some(toml::Value::String(text)) => text,
            Some(toml::Value::Array(items)) => {
                items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            Some(value) => value.to_string(),
        };
        assert_eq!(shown, setting.default, "{}", setting.name);
    }
    assert_eq!(config, Config::default());
}

#[test]
fn the_first_variable_of_every_setting_is_its_own_name() {
    for setting in TABLE {
        assert_eq!(setting.own_variable(), format!("FANFARE_{}", setting.name.to_uppercase()));
    }
}

proptest! {
    #[test]
    fn shown_sizes_and_times_read_back(size in 1_usize.., ms in 0_u64..=86_400_000) {
        prop_assert_eq!(bytes(&show_bytes(size)), Some(size));
        let given = Duration::from_millis(ms);
        prop_assert_eq!(time(&show_time(given)), Some(given));
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in ".{0,24}") {
        let mut config = Config::default();
        for setting in TABLE {
            let _ = (setting.read)(&mut config, &text);
        }
    }
}

#[test]
fn a_log_filter_beyond_ascii_is_refused_and_does_not_panic() {
    let log = Setting::find("log").unwrap();
    assert_eq!((log.read)(&mut Config::default(), "\t:\u{202e}=$R:V="), None);
    assert_eq!((log.read)(&mut Config::default(), "fanfare=debug,warn"), Some(()));
}
