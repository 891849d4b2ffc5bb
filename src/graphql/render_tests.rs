//! Rendering in lock-step.

use super::*;
use crate::{
    event::{Epoch, Offset},
    graphql::{
        REQUIRED_ARGUMENTS,
        testing::{new_event, new_schema, publish},
    },
};
use futures_util::{FutureExt, stream};

fn event(offset: u64, json: &str) -> Arc<Event> {
    Arc::new(Event::logged(new_event(json), Epoch::new([7; 16]), Offset::new(offset)))
}

fn form(schema: &Schema, text: &str) -> SelectionForm {
    SelectionForm::new(schema.clone(), text)
}

#[tokio::test]
async fn a_rendering_is_the_response_of_a_lone_execution_with_the_cursor() {
    let schema = new_schema();
    let selection = "{id mine:type time ...on TaskEvent{status result data}...on ChatEvent{content}}";
    publish(
        &schema,
        &[
            r#"{"type":"task.created","data":{"status":"new","result":{"n":1.0}},"taskId":"t"}"#,
            r#"{"type":"chat.message","data":{"content":"\u00e9"}}"#,
            r#"{"type":"invoice.paid"}"#,
        ],
    )
    .await;
    let tail = schema.data::<crate::hub::Hub>().unwrap().tail_all(Offset::ZERO);
    let events: Vec<_> = tail.into_stream().take(3).map(Result::unwrap).collect().await;
    let lone = format!("subscription{{events(start:{{earliest:true}}){selection}}}");
    let mut responses = schema.execute_stream(lone);
    let mut renderer = form(&schema, &format!("subscription{{events{selection}}}")).renderer();
    for event in &events {
        let alone = serde_json::to_string(&responses.next().await.unwrap()).unwrap();
        let cursor = format!(r#","extensions":{{"cursor":"{}"}}}}"#, event.cursor());
        let expected = format!("{}{cursor}", alone.strip_suffix('}').unwrap());
        assert_eq!(renderer.render(event).await, Some(expected));
    }
}

#[tokio::test]
async fn every_root_field_renders_with_its_required_arguments_left_empty() {
    let schema = new_schema();
    let answer =
        schema.execute(r#"{ __type(name: "Subscription") { fields { name args { name } } } }"#).await;
    let fields = serde_json::to_value(&answer).unwrap()["data"]["__type"]["fields"].clone();
    let event = event(1, r#"{"type":"task.created","id":"e"}"#);
    for field in fields.as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        let given = field["args"].as_array().unwrap().iter().filter_map(|argument| argument["name"].as_str());
        let empty: String = given
            .filter(|name| REQUIRED_ARGUMENTS.contains(name))
            .map(|name| format!(r#"({name}:"")"#))
            .collect();
        let rendered =
            form(&schema, &format!("subscription{{{name}{empty}{{id}}}}")).renderer().render(&event).await;
        let expected =
            format!(r#"{{"data":{{"{name}":{{"id":"e"}}}},"extensions":{{"cursor":"{}"}}}}"#, event.cursor());
        assert_eq!(rendered, Some(expected));
    }
}

#[tokio::test]
async fn an_execution_that_was_given_up_or_has_ended_is_replaced() {
    let form = form(&new_schema(), "subscription{events{id}}");
    let (first, second) =
        (event(1, r#"{"type":"a","id":"first"}"#), event(2, r#"{"type":"a","id":"second"}"#));
    for (responses, expected) in
        [(stream::pending().boxed(), None), (stream::empty::<Response>().boxed(), Some(None))]
    {
        let execution = Some(Execution { feed: Feed::default(), responses });
        let mut renderer =
            SelectionRenderer { form: form.clone(), plan: None, execution, scratch: Vec::new() };
        assert_eq!(renderer.render(&first).now_or_never(), expected);
        let rendered = renderer.render(&second).await.unwrap();
        assert!(rendered.starts_with(r#"{"data":{"events":{"id":"second"}}"#), "{rendered}");
    }
}

#[tokio::test]
async fn a_document_that_is_no_subscription_of_the_schema_renders_nothing() {
    let schema = new_schema();
    for text in [
        "subscription{nothing{id}}",
        "query{version}",
        "",
        "subscription{...F}fragment F on Subscription{events{id}}",
    ] {
        let rendered = form(&schema, text).renderer().render(&event(1, r#"{"type":"a"}"#)).await;
        assert_eq!(rendered, None, "{text}");
    }
}

#[test]
fn an_event_that_could_not_be_rendered_is_an_error_with_code_and_cursor() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let schema = runtime.block_on(async { new_schema() });
    let event = event(9, r#"{"type":"a","id":"e"}"#);
    let failed = form(&schema, "subscription{events{id}}").failed(&event);
    assert!(failed.starts_with(r#"{"errors":"#), "{failed}");
    let failed: serde_json::Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(failed["errors"][0]["message"], "this event could not be rendered");
    assert_eq!(failed["errors"][0]["extensions"]["code"], "INTERNAL");
    assert_eq!(
        (&failed["data"], &failed["extensions"]["cursor"]),
        (&serde_json::Value::Null, &event.cursor().to_string().into())
    );
}

#[tokio::test]
async fn forms_of_one_text_have_one_key_and_of_another_text_another() {
    let schema = new_schema();
    let key = |text| form(&schema, text).key().to_owned();
    assert_eq!(key("subscription{events{id}}"), key("subscription{events{id}}"));
    assert_ne!(key("subscription{events{id}}"), key("subscription{events{type}}"));
}
