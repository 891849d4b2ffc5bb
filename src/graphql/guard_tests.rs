//! Hostile, broken and honest documents at the guard, and what async-graphql does with those that it lets through.

use super::*;
use async_graphql::{EmptySubscription, MergedObject, Object, Request, Schema, SimpleObject, Value};
use proptest::prelude::*;

/// The query that GraphiQL and code generators send, with all of graphql-js's options on.
const INTROSPECTION: &str = "
  query IntrospectionQuery {
    __schema {
      description
      queryType { name kind }
      mutationType { name kind }
      subscriptionType { name kind }
      types { ...FullType }
      directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
    }
  }
  fragment FullType on __Type {
    kind name description specifiedByURL isOneOf
    fields(includeDeprecated: true) {
      name description
      args(includeDeprecated: true) { ...InputValue }
      type { ...TypeRef }
      isDeprecated deprecationReason
    }
    inputFields(includeDeprecated: true) { ...InputValue }
    interfaces { ...TypeRef }
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
    possibleTypes { ...TypeRef }
  }
  fragment InputValue on __InputValue {
    name description
    type { ...TypeRef }
    defaultValue isDeprecated deprecationReason
  }
  fragment TypeRef on __Type {
    kind name
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name
      ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
  }";

/// Limits that only the stack of the machine would pass.
pub(in crate::graphql::guard) fn unlimited() -> GuardOptions {
    GuardOptions {
        document_bytes_max: usize::MAX,
        brackets_max: usize::MAX,
        tokens_max: usize::MAX,
        name_bytes_max: usize::MAX,
        directives_max: usize::MAX,
        ..GuardOptions::default()
    }
}

fn code_of(query: &str) -> Code {
    refusal_of(query).code
}

fn refusal_of(query: &str) -> Refusal {
    match admit(query, &GuardOptions::default()) {
        Ok(_) => panic!("admitted: {query:.200}"),
        Err(refusal) => refusal,
    }
}

fn nested(count: usize, before: &str, open: &str, inner: &str, close: &str, after: &str) -> String {
    format!("{before}{}{inner}{}{after}", open.repeat(count), close.repeat(count))
}

/// Documents that nest brackets, one for each rule of the grammar that recurses.
fn bracket_bombs(count: usize) -> [String; 6] {
    [
        nested(count, "", "{a", "", "}", ""),
        nested(count, "{", "...{", "a", "}", "}"),
        nested(count, "{a(x:", "[", "1", "]", ")}"),
        nested(count, "{a(x:", "{x:", "1", "}", ")}"),
        nested(count, "query($x:", "[", "Int", "]", "){a(x:$x)}"),
        nested(count, "query($x:Int=", "[", "1", "]", "){a(x:$x)}"),
    ]
}

#[test]
fn nested_brackets_are_too_complex_before_the_parser_recurses() {
    for count in [33, 3_000, 30_000] {
        for bomb in bracket_bombs(count) {
            let open = GuardOptions { document_bytes_max: usize::MAX, ..GuardOptions::default() };
            let refusal = admit(&bomb, &open).unwrap_err();
            assert_eq!(refusal.code, Code::DocumentTooComplex, "{refusal}");
            assert_eq!(refusal.detail("allowed"), Some("32"), "{refusal}");
        }
    }
    assert_eq!(code_of(&"{".repeat(30_000)), Code::DocumentTooComplex);
    assert_eq!(code_of(&"}".repeat(30_000)), Code::BadRequest);
}

#[test]
fn the_bytes_limit_is_exclusive_and_names_itself() {
    let padded = |bytes: usize| format!("{{a}}{}", " ".repeat(bytes - 3));
    assert!(admit(&padded(64 * 1024 - 1), &GuardOptions::default()).is_ok());
    let refusal = refusal_of(&padded(64 * 1024));
    assert_eq!(
        (refusal.code, refusal.detail("limit"), refusal.detail("allowed")),
        (Code::TooLarge, Some("bytes"), Some("65536"))
    );
}

/// `fragment F0 … {...F1 ...F1}` and so on: each doubles the next.
fn doubling_chain(length: usize) -> String {
    let chain: String = (0..length)
        .map(|index| format!("fragment F{index} on Query{{...F{0} ...F{0}}}", index + 1))
        .collect();
    format!("{{...F0}}{chain}fragment F{length} on Query{{__typename}}")
}

#[test]
fn chains_of_doubling_fragments_are_too_complex() {
    for length in [11, 20, 30] {
        assert_eq!(code_of(&doubling_chain(length)), Code::DocumentTooComplex, "{length}");
    }
    assert!(admit(&doubling_chain(5), &GuardOptions::default()).is_ok());
    let unused = doubling_chain(30).replacen("{...F0}", "{__typename}", 1);
    assert_eq!(code_of(&unused), Code::DocumentTooComplex);
}

#[test]
fn a_long_chain_of_fragments_is_too_deep_for_recursive_visitors() {
    let chain: String =
        (0..300).map(|index| format!("fragment F{index} on Query{{...F{}}}", index + 1)).collect();
    let document = format!("{{a}}{chain}fragment F300 on Query{{a}}");
    assert!(refusal_of(&document).detail("limit").unwrap().starts_with("levels"));
}

#[test]
fn many_fragments_that_share_a_large_one_count_together() {
    let fields: String = (0..900).map(|index| format!("f{index} ")).collect();
    let sharing: String = (0..200).map(|index| format!("fragment G{index} on Query{{...F}}")).collect();
    let document = format!("{{a}}fragment F on Query{{{fields}}}{sharing}");
    assert_eq!(code_of(&document), Code::DocumentTooComplex);
}

#[test]
fn fragments_that_spread_themselves_are_named() {
    for document in [
        "{...A} fragment A on Query{...A}",
        "{a} fragment A on Query{...A}",
        "{...A} fragment A on Query{...B} fragment B on Query{...A}",
        "{...A} fragment A on Query{... on Query{b{...A}}}",
    ] {
        let refusal = refusal_of(document);
        assert_eq!(refusal.code, Code::BadRequest, "{document}");
        assert!(refusal.message.ends_with("spreads itself"), "{refusal}");
    }
}

#[test]
fn floods_of_aliases_directives_operations_and_root_fields_are_too_complex() {
    let aliases = |count: usize| -> String { (0..count).map(|index| format!("a{index}:b ")).collect() };
    let fields = |count: usize| -> String { (0..count).map(|index| format!("a{index} ")).collect() };
    for (document, limit) in [
        (format!("{{{}}}", aliases(5_000)), "tokens"),
        (format!("{{a{{{}}}}}", aliases(201)), "aliases"),
        (format!("{{a {}}}", "@a".repeat(10_000)), "directives"),
        (format!("{{a {}}}", "@skip(if:true)".repeat(65)), "directives"),
        (format!("{{{}}}", fields(33)), "root fields"),
        (format!("{{a{}}}", "a".repeat(24 * 1024)), "bytes of names"),
        (format!("{{a{{{}}}}}", fields(2_001)), "fields and values"),
        (format!("{{a(x:[{}])}}", "1 ".repeat(2_001)), "fields and values"),
        ((0..33).map(|index| format!("query Q{index}{{a}}")).collect(), "operations"),
    ] {
        let refusal = refusal_of(&document);
        assert_eq!(refusal.code, Code::DocumentTooComplex, "{refusal}");
        assert!(refusal.detail("limit").unwrap().starts_with(limit), "{refusal}");
    }
    let wide = GuardOptions { document_bytes_max: usize::MAX, ..GuardOptions::default() };
    let refusal = admit(&format!("{{{}}}", aliases(10_000)), &wide).unwrap_err();
    assert_eq!(refusal.code, Code::DocumentTooComplex);
}

#[test]
fn fields_that_conflict_are_refused_once_instead_of_once_for_each_pair() {
    let arguments: String = (0..600).map(|index| format!("x{index}:1 ")).collect();
    let document = format!("{{a({arguments}) {}}}", "a ".repeat(30));
    let refusal = refusal_of(&document);
    assert_eq!(refusal.code, Code::BadRequest);
    assert!(refusal.message.contains("the same key \"a\""), "{refusal}");
    for conflict in
        ["{a b:c b:d}", "{a(x:1) a(x:2)}", "{...A ...B} fragment A on T{x:a} fragment B on T{x:b}"]
    {
        assert_eq!(code_of(conflict), Code::BadRequest, "{conflict}");
    }
    for fine in ["{a a}", "{a(x:1 y:2) a(y:2 x:1)}", "{...on A{x:a} ...on B{x:b}}"] {
        assert!(admit(fine, &GuardOptions::default()).is_ok(), "{fine}");
    }
}

#[test]
fn brackets_in_strings_and_comments_do_not_count() {
    let many = "{[(".repeat(2_000);
    for document in [
        format!("{{a(x:\"{many}\")}}"),
        format!("{{a(x:\"\\\"{many}\\\\\")}}"),
        format!("{{a(x:\"\"\"{many}\n\\\"\"\" {many}\"\"\")}}"),
        format!("# {many} \"\"\"\n{{a}} # {many}"),
        format!("{{a(x:\"\" y:\"\"\"\"\"\" z:\"#\")}} # {many}"),
    ] {
        let admitted = admit(&document, &GuardOptions::default());
        assert!(admitted.is_ok(), "{:?}", admitted.map(|_| ()));
    }
}

#[test]
fn strings_and_brackets_without_an_end_are_refused_with_their_place() {
    for (document, line, column) in [
        ("{a(x:\"abc)}", "1", "6"),
        ("{a(x:\"abc\n\")}", "1", "6"),
        ("{a(x:\"abc\\\n\")}", "1", "6"),
        ("{\n  a(x:\"\"\"abc\"\")}", "2", "7"),
        ("{a(x:\"\"\"abc\\\"\"\")}", "1", "6"),
        ("{a\n{b}", "1", "1"),
        ("{a]", "1", "3"),
        ("{a}\n }", "2", "2"),
    ] {
        let refusal = refusal_of(document);
        assert_eq!(refusal.code, Code::BadRequest, "{document}");
        assert_eq!(
            (refusal.detail("line"), refusal.detail("column")),
            (Some(line), Some(column)),
            "{refusal}"
        );
    }
}

#[test]
fn syntax_errors_are_short_and_say_where_and_what() {
    let refusal = refusal_of("{a(x:)}");
    assert_eq!((refusal.detail("line"), refusal.detail("column")), (Some("1"), Some("6")));
    assert!(refusal.message.starts_with("syntax error at 1:6: expected"), "{refusal}");
    let long = format!("{{a{}!}}", " ".repeat(60_000));
    for document in
        [long.as_str(), "", "  # nothing", "{a(x:1e999)}", "query A{a} query A{a}", "{a} {b}", "{}"]
    {
        let refusal = refusal_of(document);
        assert_eq!(refusal.code, Code::BadRequest, "{refusal}");
        assert!(refusal.message.chars().count() <= 200 && !refusal.message.contains('\n'), "{refusal}");
    }
}

#[test]
fn the_standard_introspection_query_passes() {
    assert!(admit(INTROSPECTION, &GuardOptions::default()).is_ok());
    assert!(admit("{__type(name:\"A\"){fields{type{fields{name}}}}}", &GuardOptions::default()).is_ok());
}

#[test]
fn introspection_that_multiplies_itself_is_too_complex() {
    let nested = "{__schema{types{fields{type{fields{name}}}}}}";
    assert_eq!(refusal_of(nested).detail("limit"), Some("nested lists of introspection"));
    let spread = "{__schema{types{...F}}} fragment F on __Type{possibleTypes{interfaces{name}}}";
    assert_eq!(refusal_of(spread).detail("limit"), Some("nested lists of introspection"));
    let wide = format!("{{__schema{{types{{fields{{{}}}}}}}}}", "name ".repeat(500));
    assert_eq!(refusal_of(&wide).detail("limit"), Some("nodes of introspection"));
    let aliased = "{__schema{types{fields{a:name}}}}";
    assert_eq!(refusal_of(aliased).detail("limit"), Some("aliases in introspection"));
    for repeated in [
        "{__schema{types{fields{name name}}}}",
        "{__type(name:\"A\"){...F}} fragment F on __Type{...G name} fragment G on __Type{...on __Type{name name}}",
    ] {
        let refusal = refusal_of(repeated);
        assert_eq!(refusal.code, Code::DocumentTooComplex, "{refusal}");
        assert!(refusal.message.contains("the key \"name\" twice"), "{refusal}");
    }
}

#[test]
fn a_large_honest_document_passes() {
    let fields = "id type time source subject cursor data";
    let families: String = (0..25)
        .map(|index| format!("...on Family{index}Event{{status previous{{...Common}} {fields}}} "))
        .collect();
    let document = format!(
        "query History($types:[String!]! $first:Int=100){{
           events(filter:{{types:$types anyOf:[{{sources:[\"a\" \"b\"]}} {{minPriority:HIGH}}]}} first:$first){{
             edges{{cursor node{{...Common {families}}}}} pageInfo{{hasNextPage endCursor}}
           }}
           stats{{published delivered}}
         }}
         fragment Common on Event{{{fields} scope{{organizationId agentId}}}}
         subscription Live{{events{{...Common}}}}"
    );
    assert!(admit(&document, &GuardOptions::default()).is_ok());
}

#[test]
fn a_variable_used_many_times_may_not_be_large() {
    let options = GuardOptions::default();
    let uses = |count: usize| format!("query($v:String){{a(x:[{}])}}", "$v ".repeat(count));
    let variables = |bytes: usize| {
        let mut variables = Variables::default();
        variables.insert(async_graphql::Name::new("v"), Value::String("x".repeat(bytes)));
        variables
    };
    let check =
        |count, bytes| admit_variables(&admit(&uses(count), &options).unwrap(), &variables(bytes), &options);
    assert_eq!(check(1, 1_000_000), Ok(()));
    assert_eq!(check(1_000, 100), Ok(()));
    assert_eq!(check(1_000, 1_000).map_err(|refusal| refusal.code), Err(Code::DocumentTooComplex));
    let spread = "query($v:String){...F ...F b{...F ...F}} fragment F on Query{a(x:$v)}";
    let document = admit(spread, &options).unwrap();
    let refusal = admit_variables(&document, &variables(100_000), &options).unwrap_err();
    assert_eq!(refusal.code, Code::DocumentTooComplex);
    let default = "x".repeat(10_000);
    let document = format!("query($v:String=\"{default}\"){{a(x:[{}])}}", "$v ".repeat(50));
    let document = admit(&document, &options).unwrap();
    assert!(admit_variables(&document, &Variables::default(), &options).is_err());
    assert_eq!(admit_variables(&document, &variables(10), &options), Ok(()));
}

#[derive(SimpleObject)]
struct Thing {
    id: i32,
    name: String,
}

struct Things;

#[Object]
impl Things {
    async fn thing(&self, ids: Option<Vec<i32>>, text: Option<String>) -> Thing {
        Thing { id: ids.map_or(0, |ids| i32::try_from(ids.len()).unwrap()), name: text.unwrap_or_default() }
    }
}

#[derive(MergedObject)]
struct Query(Things);

fn schema() -> Schema<Query, async_graphql::EmptyMutation, EmptySubscription> {
    Schema::new(Query(Things), async_graphql::EmptyMutation, EmptySubscription)
}

#[test]
fn a_variable_of_an_unknown_type_is_refused_where_the_schema_is_known() {
    let options = GuardOptions::default().for_schema(&schema().sdl()).unwrap();
    for (document, pos) in
        [("query($v:[Nope]=[1]){thing(ids:$v){id}}", "7"), ("query A($v:Nope!){thing{id}}", "9")]
    {
        let refusal = admit(document, &options).unwrap_err();
        assert_eq!((refusal.code, refusal.detail("column")), (Code::BadRequest, Some(pos)), "{refusal}");
        assert!(refusal.message.contains("\"Nope\""), "{refusal}");
    }
    assert!(admit("query($v:[[Int!]!]! $w:ID $x:Thing){thing{id}}", &options).is_ok());
    assert!(GuardOptions::default().for_schema("type {").is_err());
}

/// The reason for the check above; when this fails, async-graphql no longer panics and the check may go.
#[tokio::test]
async fn async_graphql_panics_at_the_default_of_a_list_of_an_unknown_type() {
    let validation =
        tokio::spawn(async { schema().execute("query($v:[Nope]=[1]){thing(ids:$v){id}}").await });
    assert!(validation.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn what_is_admitted_is_executed_as_it_would_be_without_the_guard() {
    let query = "query($n:[Int!]){a:thing(ids:$n){...F} thing(text:\"{[(\"){name}} fragment F on Thing{id}";
    let document = admit(query, &GuardOptions::default()).unwrap();
    let variables = Variables::from_json(serde_json::json!({"n": [1, 2, 3]}));
    let plain = schema().execute(Request::new(query).variables(variables.clone())).await;
    let mut request = Request::new(query).variables(variables);
    request.set_parsed_query(document);
    let guarded = schema().execute(request).await;
    assert_eq!(guarded.data.to_string(), "{a: {id: 3}, thing: {name: \"{[(\"}}");
    assert_eq!(guarded.data, plain.data);
}

fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "a",
        "on",
        "query",
        "fragment",
        "subscription",
        "...",
        "F",
        "...F",
        "$v",
        ":",
        "@",
        "@skip",
        "!",
        "=",
        "1",
        "-1.5e3",
        "\"s\"",
        "\"",
        "\"\"\"",
        "\\",
        "#",
        "\n",
        "true",
        "null",
        "{a}",
        "(x:1)",
        "fragment F on T{a}",
        "\u{feff}",
        "é",
        "\\u12",
        "|",
        "&",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..30).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_answered_without_a_panic(text in any::<String>()) {
        let _ = admit(&text, &GuardOptions::default());
    }

    #[test]
    fn any_tokens_are_answered_without_a_panic_and_admitted_only_if_they_parse(text in pieces()) {
        if admit(&text, &GuardOptions::default()).is_ok() {
            prop_assert!(parse_query(&text).is_ok());
        }
    }
}
