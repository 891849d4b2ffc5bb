//! State that announces itself, as clients meet it: the pages that are made of it, what is refused, and lists that are joined with
//! their changes at full write speed.

mod errors;
mod pages;
mod readme;
mod snapshot;

use crate::support::TestServer;
use serde_json::{Value, json};

/// Executes a document without variables, and gives the data of its one field; fails on errors.
async fn done(server: &TestServer, document: &str) -> Value {
    let answer = server.graphql(document, json!({})).await;
    assert!(answer.get("errors").is_none(), "{document}: {answer}");
    let data = answer["data"].as_object().unwrap_or_else(|| panic!("{document}: {answer}"));
    data.values().next().unwrap().clone()
}

/// Executes mutations in their order.
async fn all_done(server: &TestServer, fields: &[&str]) {
    for field in fields {
        done(server, &format!("mutation {{ {field} {{ cursor }} }}")).await;
    }
}
