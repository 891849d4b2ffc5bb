//! Which documents share a text, that the text stays what it is, and that executing it gives what the original gives.

use super::*;
use async_graphql::{
    EmptyMutation, Enum, InputObject, Interface, Object, Request, Schema, SimpleObject, Subscription,
    parser::parse_query,
};
use futures_util::{Stream, StreamExt, stream};
use proptest::prelude::*;
use serde_json::json;

fn variables(json: serde_json::Value) -> Variables {
    Variables::from_json(json)
}

fn selected(query: &str, json: serde_json::Value) -> Result<Selection, Refusal> {
    select(&parse_query(query).unwrap(), None, &variables(json), &["roomId"])
}

fn text(query: &str) -> String {
    selected(query, json!({})).unwrap().text
}

fn refused(query: &str) -> String {
    let refusal = selected(query, json!({})).unwrap_err();
    assert_eq!(refusal.code, Code::BadRequest, "{query}");
    refusal.message.into_owned()
}

const PLAIN: &str = "subscription{events{id type ...on TaskEvent{status}}}";

#[test]
fn documents_that_select_the_same_share_one_text() {
    for same in [
        PLAIN,
        "subscription Name($f: EventFilter) { # comment\n events(filter: $f, start: {last: 3}) { id, type, ... on TaskEvent { status } } }",
        "subscription { ...Root } fragment Root on Subscription { events { ...All } } fragment All on Event { id }",
        "subscription{...on Subscription{...{events{id:id type ...T}}}} fragment T on TaskEvent{status}",
        "subscription{events{id type type ...on TaskEvent{status} ...on TaskEvent{status}}}",
        "subscription{events{id time @skip(if:true) type @include(if:true) ...on TaskEvent{status} ...on X @include(if:false){a}}}",
        "subscription($yes:Boolean=true $no:Boolean!){events{id type ...on TaskEvent @include(if:$yes){status time @include(if:$no)}}}",
    ] {
        let expected = match same.contains("...All") {
            true => "subscription{events{...on Event{id}}}",
            false => PLAIN,
        };
        let selection = selected(same, json!({"no": false})).unwrap();
        assert_eq!(selection.text, expected, "{same}");
        assert_eq!(selection.root, "events");
    }
}

#[test]
fn documents_that_select_something_else_have_another_text() {
    let different = [
        PLAIN,
        "subscription{events{type id ...on TaskEvent{status}}}",
        "subscription{events{id type ...on AgentEvent{status}}}",
        "subscription{events{id kind:type ...on TaskEvent{status}}}",
        "subscription{events{id ...on TaskEvent{status}}}",
        "subscription{mine:events{id type ...on TaskEvent{status}}}",
        "subscription{tasks{id type ...on TaskEvent{status}}}",
        "subscription{events{id(x:1) type ...on TaskEvent{status}}}",
        "subscription{events{id(x:\"1\") type ...on TaskEvent{status}}}",
    ];
    let texts: HashSet<_> = different.iter().map(|query| text(query)).collect();
    assert_eq!(texts.len(), different.len());
}

#[test]
fn only_required_root_arguments_stay_and_they_are_empty() {
    assert_eq!(
        text("subscription($r:ID){c:chat(start:{last:1} roomId:$r){id}}"),
        "subscription{c:chat(roomId:\"\"){id}}"
    );
    assert_eq!(selected("subscription{c:chat(roomId:\"a\"){id}}", json!({})).unwrap().root, "chat");
}

#[test]
fn arguments_are_sorted_and_hold_the_values_of_their_variables() {
    let query = "subscription($v:Any $l:[Int]=[1] $absent:Int){events{field(z:$v b:{y:$l x:$absent a:[$absent ENUM 1.5 true null]} n:$absent)}}";
    let selection = selected(query, json!({"v": {"b": "\"\\\n\u{1}\u{7f}é", "a": [1, -2.5e30]}})).unwrap();
    assert_eq!(
        selection.text,
        "subscription{events{field(b:{a:[null,ENUM,1.5,true,null],y:[1]},z:{a:[1,-2.5e+30],b:\"\\\"\\\\\\n\\u0001\\u007fé\"})}}"
    );
    assert_eq!(text(&selection.text), selection.text);
}

#[test]
fn a_variable_cannot_write_into_the_text() {
    let query = "subscription($v:Any){events{field(a:$v)}}";
    for member in ["x:1}) secret(a:{y", "", "1a", "a b", "é"] {
        let refusal = selected(query, json!({"v": {member: 1}})).unwrap_err();
        assert_eq!(refusal.code, Code::BadRequest, "{member}");
    }
    let quoted = selected(query, json!({"v": "\") secret(a:\""})).unwrap();
    assert_eq!(quoted.text, "subscription{events{field(a:\"\\\") secret(a:\\\"\")}}");
}

#[test]
fn a_selection_of_which_nothing_is_left_stays_a_valid_document() {
    let emptied = text("subscription{events{id @skip(if:true) ...on X{a @include(if:false)}}}");
    assert_eq!(emptied, "subscription{events{...@include(if:false){__typename}}}");
    assert_eq!(text(&emptied), emptied);
}

#[test]
fn a_root_that_is_not_one_field_is_refused() {
    let two = refused("subscription{events{id} tasks{id}}");
    assert!(two.contains("exactly one root field, this one has 2"), "{two}");
    assert!(refused("subscription{...R events{id}} fragment R on Subscription{tasks{id}}").contains("has 2"));
    assert!(refused("subscription{__typename}").contains("\"__typename\" cannot be the root field"));
    assert!(refused("subscription{a:__schema{types{name}}}").contains("cannot be the root field"));
    for query in [
        "subscription{events @include(if:true){id}}",
        "subscription{...on Subscription @skip(if:false){events{id}}}",
        "subscription{...R @include(if:true)} fragment R on Subscription{events{id}}",
    ] {
        assert!(refused(query).contains("not allowed on the root field"), "{query}");
    }
}

#[test]
fn what_validation_would_refuse_is_refused_here_without_a_panic() {
    for (query, reason) in [
        ("subscription{events{...No}}", "there is no fragment \"No\""),
        ("subscription{...No}", "there is no fragment"),
        ("subscription{...A} fragment A on S{...A}", "spreads itself"),
        ("subscription{e{...A}} fragment A on S{a{...B}} fragment B on S{...A}", "spreads itself"),
        ("subscription{events{id @skip}}", "needs the argument"),
        ("subscription{events{id @skip(if:1)}}", "needs the argument"),
        ("subscription($x:Boolean){events{id @skip(if:$x)}}", "needs the argument"),
        ("subscription($x:Boolean!){events{id @skip(if:$x)}}", "variable \"x\" needs a value"),
        ("subscription{events{id @skip(if:$x)}}", "variable \"x\" is not defined"),
        ("subscription{events{id(a:$x)}}", "variable \"x\" is not defined"),
        ("subscription{events{id @other}}", "directive @other"),
        ("subscription @other{events{id}}", "directive @other"),
        ("{events{id}}", "a query, not a subscription"),
    ] {
        let message = refused(query);
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn unguarded_documents_that_expand_without_end_are_too_complex() {
    let chain: String = (0..30)
        .map(|index| format!("fragment F{index} on E{{...F{0} a{index}:b{{...F{0}}}}}", index + 1))
        .collect();
    let bomb = format!("subscription{{events{{...F0}}}}{chain}fragment F30 on E{{a}}");
    assert_eq!(selected(&bomb, json!({})).unwrap_err().code, Code::DocumentTooComplex);
    let long: String = (0..100).map(|index| format!("fragment F{index} on E{{...F{}}}", index + 1)).collect();
    let deep = format!("subscription{{events{{...F0}}}}{long}fragment F100 on E{{a}}");
    assert_eq!(selected(&deep, json!({})).unwrap_err().code, Code::DocumentTooComplex);
    let wide = "subscription($v:Any){events{field(a:[$v $v $v])}}";
    let refusal = selected(wide, json!({"v": "x".repeat(40_000)})).unwrap_err();
    assert_eq!((refusal.code, refusal.detail("limit")), (Code::DocumentTooComplex, Some("bytes")));
}

#[test]
fn the_operation_is_found_by_its_name() {
    let document = parse_query("query Q{a} subscription S{events{id}} mutation M{a}").unwrap();
    let kind = |name| operation_kind(&document, name);
    assert_eq!(kind(Some("Q")), Ok(OperationType::Query));
    assert_eq!(kind(Some("S")), Ok(OperationType::Subscription));
    assert_eq!(kind(Some("M")), Ok(OperationType::Mutation));
    for name in [None, Some("N"), Some("")] {
        let refusal = kind(name).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("field")), (Code::BadRequest, Some("operationName")));
    }
    let one = parse_query("subscription S{events{id}}").unwrap();
    assert_eq!(operation_kind(&one, None), Ok(OperationType::Subscription));
    let anonymous = parse_query("subscription{events{id}}").unwrap();
    assert!(operation_kind(&anonymous, Some("S")).is_err());
    assert!(select(&document, Some("S"), &Variables::default(), &[]).is_ok());
    assert!(select(&document, None, &Variables::default(), &[]).is_err());
}

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum Unit {
    Meter,
    Foot,
}

#[derive(InputObject)]
struct Format {
    prefix: Option<String>,
    #[graphql(default = 2)]
    digits: i32,
}

#[derive(Clone, SimpleObject)]
struct Place {
    city: String,
    country: Option<String>,
}

struct Task(i32);
struct Agent(i32);

#[Object]
impl Task {
    async fn id(&self) -> i32 {
        self.0
    }
    async fn place(&self) -> Place {
        Place { city: format!("c{}", self.0), country: None }
    }
    async fn places(&self) -> Vec<Place> {
        vec![Place { city: "a".to_owned(), country: Some("b".to_owned()) }; 2]
    }
    async fn status(
        &self,
        unit: Option<Unit>,
        format: Option<Format>,
        #[graphql(default = 7)] n: i32,
    ) -> String {
        let unit = unit.map_or("none", |unit| if unit == Unit::Foot { "ft" } else { "m" });
        let format = format.map(|format| format!("{:?}/{}", format.prefix, format.digits));
        format!("{unit} {format:?} {n}")
    }
}

#[Object]
impl Agent {
    async fn id(&self) -> i32 {
        self.0
    }
    async fn place(&self) -> Place {
        Place { city: "agent".to_owned(), country: Some("x".to_owned()) }
    }
    async fn name(&self) -> Result<String, async_graphql::Error> {
        Err("no name".into())
    }
}

#[derive(Interface)]
#[graphql(field(name = "id", ty = "i32"), field(name = "place", ty = "Place"))]
enum Event {
    Task(Task),
    Agent(Agent),
}

struct Query;

#[Object]
impl Query {
    async fn event(&self) -> Event {
        Event::Task(Task(0))
    }
}

struct Events;

#[Subscription]
impl Events {
    async fn events(&self, first: Option<i32>) -> impl Stream<Item = Event> {
        let first = first.unwrap_or(1);
        stream::iter([Event::Task(Task(first)), Event::Agent(Agent(first + 1))])
    }
}

async fn run(request: Request) -> Vec<String> {
    let schema = Schema::new(Query, EmptyMutation, Events);
    let responses: Vec<_> = schema.execute_stream(request).collect().await;
    // Places in the text are the only thing that may differ.
    let unplaced = responses.into_iter().map(|mut response| {
        response.errors.iter_mut().for_each(|error| error.locations.clear());
        serde_json::to_string(&response).unwrap()
    });
    unplaced.collect()
}

#[tokio::test]
async fn executing_the_text_gives_the_bytes_of_the_original() {
    for (query, json) in [
        ("subscription{events{id}}", json!({})),
        ("subscription A($f:Int){e:events(first:$f){x:id id __typename place{city}}}", json!({})),
        (
            "subscription{events{...F place{country} ...on Task{status}}} fragment F on Event{id place{city}}",
            json!({}),
        ),
        ("subscription{events{...on Task{id places{city}} ...on Task{places{country city}}}}", json!({})),
        (
            "subscription{events{id @skip(if:true) place @include(if:true){city country @skip(if:true)}}}",
            json!({}),
        ),
        (
            "subscription($y:Boolean!){events{...on Agent @include(if:$y){name id} id ...{t:__typename}}}",
            json!({"y": true}),
        ),
        ("subscription($y:Boolean!){events{...on Agent @include(if:$y){name id} id}}", json!({"y": false})),
        ("subscription{events{id place{city @skip(if:true)}}}", json!({})),
        ("subscription{events{id @skip(if:true)}}", json!({})),
        ("subscription{events{id id place{city} id place{city country}}}", json!({})),
        (
            "subscription($u:Unit $p:String){events{...on Task{status(n:3 unit:$u format:{prefix:$p})}}}",
            json!({"u": "FOOT", "p": "\u{7}\u{7f}\"\\é😀"}),
        ),
        (
            "subscription($u:Unit=METER $f:Format $n:Int=9){events{...on Task{status(unit:$u format:$f n:$n)}}}",
            json!({"f": {"prefix": "a", "digits": 1}}),
        ),
        ("subscription($f:Format){events{...on Task{status(format:$f) s:status(unit:null)}}}", json!({})),
        ("subscription($n:Int!){events{...on Task{status(n:$n)}}}", json!({"n": 5})),
    ] {
        let text = selected(query, json.clone()).unwrap().text;
        let original = run(Request::new(query).variables(variables(json))).await;
        assert_eq!(original.len(), 2, "{query}: {original:?}");
        assert!(original[0].starts_with("{\"data\":{\""), "{query}: {original:?}");
        assert_eq!(run(Request::new(text.as_str())).await, original, "{query}\n{text}");
    }
}

#[tokio::test]
async fn root_fragments_which_the_executor_would_ignore_are_executed() {
    let query = "subscription{...R} fragment R on Events{events{id}}";
    assert!(run(Request::new(query)).await.is_empty());
    let text = selected(query, json!({})).unwrap().text;
    assert_eq!(
        run(Request::new(text)).await,
        ["{\"data\":{\"events\":{\"id\":1}}}", "{\"data\":{\"events\":{\"id\":2}}}"]
    );
}

/// A selection set as text: up to three levels of fields, aliases, arguments, directives and fragments.
fn selection_set() -> impl Strategy<Value = String> {
    let directive = prop::sample::select(vec![
        "",
        "",
        "@skip(if:true)",
        "@include(if:$yes)",
        "@skip(if:$no)",
        "@include(if:false)",
    ]);
    let arguments = prop::sample::select(vec![
        "",
        "",
        "(b:1 a:$v)",
        "(a:{y:[1 2.50 $v] x:\"\"\"block \\\"\"\" {\"\"\"})",
        "(a:ENUM)",
    ]);
    let name = prop::sample::select(vec!["id", "type", "x:id", "id:id", "data"]);
    let leaf = (name, arguments, directive.clone())
        .prop_map(|(name, arguments, directive)| format!("{name}{arguments}{directive}"));
    leaf.prop_recursive(3, 24, 4, move |inner| {
        let head = prop::sample::select(vec!["a", "b:a", "...on T", "...", "...on U"]);
        (head, directive.clone(), prop::collection::vec(inner, 1..4))
            .prop_map(|(head, directive, parts)| format!("{head} {directive}{{...F {}}}", parts.join(" ")))
    })
}

proptest! {
    #[test]
    fn the_text_of_a_text_is_the_text(parts in prop::collection::vec(selection_set(), 1..4), v in any::<String>(), yes: bool) {
        let query = format!(
            "subscription Q($v:Any $yes:Boolean! $no:Boolean=false){{events(filter:{{}}){{{}}}}} fragment F on V{{id w:type @skip(if:$yes)}}",
            parts.join(" ")
        );
        let first = selected(&query, json!({"v": v, "yes": yes})).unwrap();
        let second = select(&parse_query(&first.text).unwrap(), None, &Variables::default(), &[]).unwrap();
        prop_assert_eq!(second, first);
    }
}
