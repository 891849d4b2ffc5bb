//! The schema's text, its descriptions, and every known type as its object.

use super::{
    testing::{ask, code, hub_of, new_schema},
    *,
};
use serde_json::Value;

const INTROSPECTION: &str = "{ __schema { types { kind name description
    fields { name description type { kind name ofType { name } } args { name description type { kind } defaultValue } }
    inputFields { name description } enumValues { name description } interfaces { name } } } }";

async fn types(schema: &Schema) -> Vec<Value> {
    let answer = ask(schema, INTROSPECTION).await;
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let own = types.iter().filter(|one| !one["name"].as_str().unwrap().starts_with("__"));
    own.cloned().collect()
}

fn members(of: &Value, kind: &str) -> Vec<Value> {
    of[kind].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn schema_graphql_is_what_the_code_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
    let printed = sdl(&new_schema());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &printed).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == printed, "schema.graphql is out of date: run the tests once with UPDATE=1");
}

#[tokio::test]
async fn everything_in_the_schema_has_a_description() {
    let builtin = ["Boolean", "Float", "ID", "Int", "String"];
    let mut missing = Vec::new();
    let mut look = |at: String, thing: &Value| {
        if thing["description"].as_str().unwrap_or_default().is_empty() {
            missing.push(format!("{at}{}", thing["name"].as_str().unwrap()));
        }
    };
    for one in types(&new_schema()).await {
        let name = one["name"].as_str().unwrap();
        if !builtin.contains(&name) {
            look(String::new(), &one);
        }
        for kind in ["fields", "inputFields", "enumValues"] {
            for member in members(&one, kind) {
                look(format!("{name}."), &member);
                for argument in members(&member, "args") {
                    look(format!("{name}.{}.", member["name"].as_str().unwrap()), &argument);
                }
            }
        }
    }
    assert!(missing.is_empty(), "without description: {missing:?}");
}

#[tokio::test]
async fn every_object_of_an_event_describes_the_shared_fields_as_the_interface_does() {
    let types = types(&new_schema()).await;
    let interface = types.iter().find(|one| one["name"] == "Event").unwrap();
    let objects: Vec<_> = types.iter().filter(|one| one["interfaces"][0]["name"] == "Event").collect();
    assert_eq!(objects.len(), crate::event::Family::ALL.len());
    for object in objects {
        let fields = members(object, "fields");
        for shared in members(interface, "fields") {
            assert!(fields.contains(&shared), "{} of {}", shared["name"], object["name"]);
        }
    }
}

/// Else a selection of both would be invalid without an alias. The message of a chat is what its producer made it.
#[tokio::test]
async fn fields_of_one_name_have_one_type_in_all_families_but_the_message_of_a_chat() {
    let mut known = std::collections::HashMap::new();
    for object in types(&new_schema()).await.iter().filter(|one| one["interfaces"][0]["name"] == "Event") {
        for field in members(object, "fields") {
            let name = field["name"].as_str().unwrap().to_owned();
            let first = known.entry(name.clone()).or_insert_with(|| field["type"].clone()).clone();
            let is_chat = object["name"] == "ChatEvent" && name == "message";
            assert!(is_chat || first == field["type"], "{name} of {}", object["name"]);
        }
    }
}

#[tokio::test]
async fn the_required_arguments_of_subscription_fields_are_those_named() {
    let types = types(&new_schema()).await;
    let subscription = types.iter().find(|one| one["name"] == "Subscription").unwrap();
    let mut required: Vec<_> = members(subscription, "fields")
        .iter()
        .flat_map(|field| members(field, "args"))
        .filter(|argument| argument["type"]["kind"] == "NON_NULL" && argument["defaultValue"].is_null())
        .map(|argument| argument["name"].as_str().unwrap().to_owned())
        .collect();
    required.sort();
    assert_eq!(required, REQUIRED_ARGUMENTS);
}

#[tokio::test]
async fn introspection_can_be_switched_off() {
    let options = GraphqlOptions { introspection: false, ..GraphqlOptions::default() };
    let answer = ask(&schema(hub_of(1), &options), INTROSPECTION).await;
    assert!(answer["errors"].is_array() || answer["data"]["__schema"].is_null(), "{answer}");
}

#[tokio::test]
async fn tools_may_introspect_as_deeply_as_they_do() {
    let of_type = "kind name ofType { ".repeat(9) + "name" + &" }".repeat(9);
    let fields =
        format!("name description isDeprecated args {{ name type {{ {of_type} }} }} type {{ {of_type} }}");
    let query =
        format!("{{ __schema {{ types {{ kind fields {{ {fields} }} possibleTypes {{ {of_type} }} }} }} }}");
    let answer = ask(&new_schema(), query).await;
    assert!(answer["errors"].is_null() && answer["data"]["__schema"]["types"].is_array(), "{answer}");
}

#[tokio::test]
async fn what_the_engine_refuses_carries_a_code_without_suggestions() {
    let schema = new_schema();
    let pages = "nodes { id ...on TaskEvent { id ...on TaskEvent { id } } }";
    let dear: String = (0..60).map(|at| format!("p{at}: events(first: 1000) {{ {pages} }} ")).collect();
    let cases = [
        ("{".to_owned(), "BAD_REQUEST"),
        ("{ evens { nodes { id } } }".to_owned(), "BAD_REQUEST"),
        ("{ events(first: \"x\") { nodes { id } } }".to_owned(), "BAD_REQUEST"),
        (format!("{{ {dear} }}"), "DOCUMENT_TOO_COMPLEX"),
    ];
    for (query, expected) in cases {
        let mut response = schema.execute(&*query).await;
        assert!(!response.errors.is_empty(), "{query}");
        error::complete(&mut response.errors);
        let answer = serde_json::to_value(&response).unwrap();
        assert_eq!(code(&answer), expected, "{answer}");
        assert!(!answer.to_string().contains("Did you mean"), "{answer}");
    }
}
