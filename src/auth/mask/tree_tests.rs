//! Masked data: single cases, and random documents with canaries against an independent oracle.

use super::*;
use crate::{auth::mask::path::Target, event::Json};
use proptest::prelude::*;
use serde_json::{Value, json};

fn key() -> MaskKey {
    MaskKey::new([3; 32])
}

fn tree(rules: &[(&str, Action)]) -> Tree {
    let mut tree = Tree::new();
    for (path, action) in rules {
        let Target::Data(segments) = Target::parse(path).unwrap() else { panic!("{path}") };
        tree.add(&segments, *action);
    }
    tree
}

fn shown(rules: &[(&str, Action)], json: &str) -> String {
    tree(rules).show(json, &key()).unwrap_or_else(|| json.to_owned())
}

#[test]
fn one_path_masks_what_it_names_and_leaves_every_other_byte() {
    use Action::{Drop, Null, Partial};
    let cases = [
        ("data.a", Drop, r#"{"a":1,"b":1.50e3}"#, r#"{"b":1.50e3}"#),
        ("data.b", Drop, r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#),
        ("data.a", Drop, r#"{"a":1}"#, "{}"),
        ("data.a", Null, r#"{"a":{"b":[1,2]},"é":"\u00e9"}"#, r#"{"a":null,"é":"\u00e9"}"#),
        ("data.a.b", Null, r#"{"a":{"b":1,"c":1},"b":2}"#, r#"{"a":{"b":null,"c":1},"b":2}"#),
        // Keys are compared unescaped and written as they were.
        ("data.password", Null, r#"{"p\u0061ssword":"x"}"#, r#"{"p\u0061ssword":null}"#),
        (r#"data."p\u0061ssword""#, Null, r#"{"password":"x"}"#, r#"{"password":null}"#),
        (r#"data."a.b""#, Null, r#"{"a.b":1,"a":{"b":2}}"#, r#"{"a.b":null,"a":{"b":2}}"#),
        (r#"data."\"\\""#, Null, r#"{"\"\\":1}"#, r#"{"\"\\":null}"#),
        // Equal keys, should there ever be some, are all masked.
        ("data.a", Null, r#"{"a":1,"a":2,"\u0061":3}"#, r#"{"a":null,"a":null,"\u0061":null}"#),
        // Arrays on the way need not be named.
        ("data.a.x", Null, r#"{"a":[{"x":1},[{"x":2}],3]}"#, r#"{"a":[{"x":null},[{"x":null}],3]}"#),
        ("data.x", Null, r#"[{"x":1},{"y":2}]"#, r#"[{"x":null},{"y":2}]"#),
        ("data.a[*].x", Null, r#"{"a":[{"x":1}]}"#, r#"{"a":[{"x":null}]}"#),
        ("data.a[*].x", Null, r#"{"a":{"x":1}}"#, r#"{"a":{"x":null}}"#),
        ("data.a[*]", Partial, r#"{"a":["12345678",1,[2]]}"#, r#"{"a":["***5678","***","***"]}"#),
        ("data.a[*]", Drop, r#"{"a":[1,2],"b":3}"#, r#"{"a":[],"b":3}"#),
        ("data.a[*]", Null, r#"{"a":"x"}"#, r#"{"a":null}"#),
        ("data[*][*]", Null, "[[1,[2]],3]", "[[null,null],null]"),
        (
            "data.*.x",
            Null,
            r#"{"a":{"x":1},"b":{"x":2,"y":3},"x":4}"#,
            r#"{"a":{"x":null},"b":{"x":null,"y":3},"x":4}"#,
        ),
        ("data.*.x", Null, r#"[{"x":1},{"a":{"x":2}}]"#, r#"[{"x":null},{"a":{"x":null}}]"#),
        ("data.*", Null, r#"{"a":1,"b":[2]}"#, r#"{"a":null,"b":null}"#),
        ("data.*", Drop, "[1,{}]", "[]"),
        ("data", Null, r#"{"a":1}"#, "null"),
        ("data", Drop, "[1]", "null"),
        ("data", Partial, r#""123456789""#, r#""***6789""#),
        // What is not there changes nothing.
        ("data.a.b", Null, r#"{"a":"b"}"#, r#"{"a":"b"}"#),
        ("data.a", Null, r#""a""#, r#""a""#),
        ("data.a", Null, "null", "null"),
    ];
    for (path, action, given, expected) in cases {
        assert_eq!(shown(&[(path, action)], given), expected, "{path} in {given}");
    }
    assert!(tree(&[("data.a.b", Null)]).show(r#"{"b":{"a":1}}"#, &key()).is_none());
}

#[test]
fn of_several_masks_the_strictest_counts_wherever_they_meet() {
    use Action::{Drop, Hash, Null, Partial};
    let text = r#"{"a":{"b":"12345678","c":1},"d":2}"#;
    assert_eq!(shown(&[("data.a.b", Partial), ("data.a.b", Drop)], text), r#"{"a":{"c":1},"d":2}"#);
    assert_eq!(shown(&[("data.a.b", Null), ("data.*.b", Hash)], text), r#"{"a":{"b":null,"c":1},"d":2}"#);
    assert_eq!(shown(&[("data.a", Partial), ("data.a.b", Drop)], text), r#"{"a":"***","d":2}"#);
    assert_eq!(shown(&[("data.a", Drop), ("data.a.b", Partial), ("data", Partial)], text), r#""***""#);
    // A hash does not depend on what is dropped inside.
    let hash = |json: &str| shown(&[("data.a", Hash), ("data.a.b", Drop)], json);
    assert_eq!(hash(r#"{"a":{"b":1,"c":1}}"#), hash(r#"{"a":{"c":1,"b":2}}"#));
    assert_ne!(hash(r#"{"a":{"b":1,"c":1}}"#), hash(r#"{"a":{"b":1,"c":2}}"#));
    // A path means the array or its elements, not both: the hash of an array is not one of the hashes of its elements.
    let (all, none) =
        (shown(&[("data", Hash)], "[1,2]"), shown(&[("data", Hash), ("data.*", Drop)], "[1,2]"));
    assert_eq!(Some(all), show_value(Hash, "[1,2]", &key()));
    assert_eq!(Some(none), show_value(Hash, "[]", &key()));
}

#[test]
fn what_cannot_be_walked_shows_nothing() {
    for broken in ["{", r#"{"a":1"#, r#"{"a" :1}"#, r#"{"b":[}"#, r#"{"b":1}x"#, ""] {
        assert_eq!(shown(&[("data.a", Action::Null)], broken), "null", "{broken}");
    }
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    assert_eq!(shown(&[("data.a", Action::Null)], &deep), "null");
}

#[test]
fn a_large_and_deep_document_is_walked_in_one_pass() {
    let deep = format!("{}{:?}{}", "[".repeat(64), "x".repeat(256 * 1024), "]".repeat(64));
    let rules = [("data.a", Action::Null), ("data.*.*.*.b", Action::Null), ("data[*].*[*].c", Action::Hash)];
    let started = tokio::time::Instant::now();
    assert_eq!(shown(&rules, &deep), deep);
    // Unoptimised it takes milliseconds; reading all of it again at each level would take seconds.
    assert!(started.elapsed().as_secs() < 2);
}

/// Documents over few keys, so that paths meet them; some keys want escapes.
fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[a-zé\"\\\\]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        let keys = prop::sample::select(vec!["a", "b", "c", "a.b", "é", "\"\\"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|map| Value::Object(
                map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}

fn rules() -> impl Strategy<Value = Vec<(String, Action)>> {
    let segment =
        prop::sample::select(vec![".a", ".a", ".b", ".c", ".*", "[*]", r#"."a.b""#, ".é", r#"."\"\\""#]);
    let path = prop::collection::vec(segment, 0..4).prop_map(|segments| format!("data{}", segments.concat()));
    let action = prop::sample::select(vec![Action::Drop, Action::Null, Action::Hash, Action::Partial]);
    prop::collection::vec((path, action), 1..4)
}

/// What a rule does, written down a second time and slowly: where each path leads, and the strictest of what leads here.
fn oracle(value: &Value, at: &[(&[Segment], Action)]) -> Option<Value> {
    let mut at = at.to_vec();
    if !value.is_array() {
        let mut more = 0;
        while more < at.len() {
            if let [Segment::Each, rest @ ..] = at[more].0 {
                at.push((rest, at[more].1));
            }
            more += 1;
        }
    }
    let strictest = at.iter().filter(|(path, _)| path.is_empty()).map(|(_, action)| *action).max();
    if strictest == Some(Action::Drop) {
        return None;
    }
    let inside = match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter_map(|(key, value)| {
                    let below: Vec<_> = at
                        .iter()
                        .filter_map(|(path, action)| match path {
                            [Segment::Key(own), rest @ ..] if **own == **key => Some((rest, *action)),
                            [Segment::Any, rest @ ..] => Some((rest, *action)),
                            _ => None,
                        })
                        .collect();
                    Some((key.clone(), oracle(value, &below)?))
                })
                .collect(),
        ),
        Value::Array(elements) => elements
            .iter()
            .filter_map(|value| {
                let below: Vec<_> = at
                    .iter()
                    .filter(|(path, _)| !path.is_empty())
                    .flat_map(|(path, action)| {
                        let rest =
                            matches!(path, [Segment::Any | Segment::Each, ..]).then(|| (&path[1..], *action));
                        std::iter::once((*path, *action)).chain(rest)
                    })
                    .collect();
                oracle(value, &below)
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    };
    Some(match strictest {
        None => inside,
        Some(Action::Null) => Value::Null,
        Some(action) => {
            serde_json::from_str(&show_value(action, &inside.to_string(), &key()).unwrap()).unwrap()
        }
    })
}

/// The document with every character of every key and string escaped.
fn escaped(value: &Value) -> String {
    let string = |text: &str| {
        let units: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        format!("\"{}\"", units.concat())
    };
    match value {
        Value::Object(members) => {
            let members: Vec<_> =
                members.iter().map(|(key, value)| format!("{}:{}", string(key), escaped(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(elements) => format!("[{}]", elements.iter().map(escaped).collect::<Vec<_>>().join(",")),
        Value::String(text) => string(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Puts a value where a path leads, and gives the document back.
fn planted(mut document: Value, path: &[Segment], canary: &str, arrays: &[bool]) -> Value {
    let mut place = &mut document;
    for (at, segment) in path.iter().enumerate() {
        // Arrays on the way, which the path does not name.
        if arrays.get(at).copied().unwrap_or_default() {
            *place = json!([1, place.take()]);
            place = &mut place[1];
        }
        place = match segment {
            Segment::Each => {
                *place = json!([place.take()]);
                &mut place[0]
            }
            Segment::Key(_) | Segment::Any => {
                if !place.is_object() {
                    *place = json!({});
                }
                let Segment::Key(key) = segment else { return planted_any(document, path, canary) };
                &mut place[&**key]
            }
        };
    }
    *place = json!({ "deep": [canary, { canary: canary }] });
    document
}

/// For a path with `*`: the same with a key of that name in its place.
fn planted_any(document: Value, path: &[Segment], canary: &str) -> Value {
    let named = |segment: &Segment| match segment {
        Segment::Any => Segment::Key("whatever".into()),
        Segment::Key(_) | Segment::Each => segment.clone(),
    };
    planted(document, &path.iter().map(named).collect::<Vec<_>>(), canary, &[])
}

proptest! {
    #[test]
    fn data_is_shown_as_the_oracle_says_however_it_is_escaped(document in documents(), rules in rules()) {
        let rules: Vec<(&str, Action)> = rules.iter().map(|(path, action)| (path.as_str(), *action)).collect();
        let targets: Vec<_> = rules.iter().map(|(path, action)| (Target::parse(path).unwrap(), *action)).collect();
        let at: Vec<(&[Segment], Action)> = targets.iter().map(|(target, action)| match target {
            Target::Data(segments) => (&**segments, *action),
            Target::Field(_) | Target::Attribute(_) => unreachable!("a path into the data"),
        }).collect();
        let expected = oracle(&document, &at).unwrap_or_default();
        // To the byte: what is not masked stays as it was written.
        prop_assert_eq!(shown(&rules, &document.to_string()), expected.to_string());
        let text = escaped(&document);
        let json = Json::parse(&text).unwrap();
        prop_assert_eq!(json.as_str(), &text);
        let shown = shown(&rules, &text);
        prop_assert_eq!(&serde_json::from_str::<Value>(&shown).unwrap(), &expected, "{}", text);
        if rules.iter().all(|(_, action)| matches!(action, Action::Drop | Action::Null)) {
            prop_assert_eq!(shown, escaped(&expected));
        }
    }

    #[test]
    fn no_canary_is_seen_wherever_the_masked_path_leads(
        document in documents(), mut rules in rules(), arrays in prop::collection::vec(any::<bool>(), 4),
    ) {
        const CANARY: &str = "canary-tweet-tweet";
        let (path, _) = rules.swap_remove(0);
        let Target::Data(segments) = Target::parse(&path).unwrap() else { unreachable!("a path into the data") };
        let document = planted(document, &segments, CANARY, &arrays);
        for action in [Action::Drop, Action::Null, Action::Hash, Action::Partial] {
            let mut with = vec![(path.as_str(), action)];
            with.extend(rules.iter().map(|(path, action)| (path.as_str(), *action)));
            for text in [document.to_string(), escaped(&document)] {
                let shown: Value = serde_json::from_str(&shown(&with, &text)).unwrap();
                prop_assert!(!shown.to_string().contains(CANARY), "{} in {} gives {}", path, text, shown);
            }
        }
    }
}
