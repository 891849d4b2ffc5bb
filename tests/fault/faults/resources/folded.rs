//! What the events of resources leave when they are folded, and what the server says is there.

use crate::{
    failure::{Failure, expect},
    server::{Server, http_client, post},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

const PAGE: u32 = 500;
/// The kinds, and which fields of each are compared, beside those that all have.
const KINDS: [(&str, &str); 4] = [
    ("organization", ""),
    ("domain", "organizationId"),
    ("agent", "organizationId domainId status message"),
    ("task", "organizationId agentId status progress message result error"),
];
const SCOPE: [&str; 3] = ["organizationId", "domainId", "agentId"];

/// A kind, an organization and an id.
type Key = (String, String, String);
pub(super) type Rows = BTreeMap<Key, Value>;

/// The events of resources, folded.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) rows: Rows,
    /// Id and version of each change, by the cursor of its event.
    changes: HashMap<String, (String, u64)>,
}

fn fields(kind: &str) -> Option<impl Iterator<Item = &'static str>> {
    let (_, own) = KINDS.iter().find(|(noun, _)| *noun == kind)?;
    Some(["id", "version", "name"].into_iter().chain(own.split_whitespace()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Folded {
    /// Reads the log. Fails where the versions of a resource have a hole.
    pub(super) async fn read(server: &Server) -> Result<Self, Failure> {
        let mut folded = Folded::default();
        let mut params = json!({ "first": PAGE, "filter": { "sources": ["/resources"] } });
        loop {
            let page = server.call("events.history", &params).await?;
            let events = page["events"].as_array().map(Vec::as_slice).unwrap_or_default();
            events.iter().try_for_each(|event| folded.take(event))?;
            match (page["hasMore"] == true, events.last()) {
                (true, Some(last)) => params["after"] = last["cursor"].clone(),
                (true, None) => return Err(Failure::broken("a page of the history has more but no event")),
                (false, _) => return Ok(folded),
            }
        }
    }

    fn take(&mut self, event: &Value) -> Result<(), Failure> {
        let kind = text(&event["type"]);
        let (kind, action) = kind.split_once('.').unwrap_or_default();
        let Some(fields) = fields(kind) else { return Err(Failure::broken(format!("whose is {event}"))) };
        let data = &event["data"];
        let key = (kind.to_owned(), text(&event["organizationId"]), text(&data["id"]));
        let before = self.rows.get(&key).map_or(0, |row| row["version"].as_u64().unwrap_or_default());
        let version = data["version"].as_u64().unwrap_or_default();
        expect(version == before + 1, || format!("version {version} of {key:?} follows version {before}"))?;
        self.changes.insert(text(&event["cursor"]), (key.2.clone(), version));
        if action == "deleted" {
            self.rows.remove(&key);
            return Ok(());
        }
        let value = |name: &'static str| {
            let place = if SCOPE.contains(&name) { event } else { data };
            (name.to_owned(), place[name].clone())
        };
        self.rows.insert(key, Value::Object(fields.map(value).collect()));
        Ok(())
    }

    /// Id and version of the change at a place of the log.
    pub(super) fn change_at(&self, cursor: &str) -> Option<(&String, u64)> {
        self.changes.get(cursor).map(|(id, version)| (id, *version))
    }
}

/// Everything that is kept, by the lists.
pub(super) async fn state(server: &Server) -> Result<Rows, Failure> {
    let (http, mut rows) = (http_client()?, Rows::new());
    for (kind, own) in KINDS {
        let mut after = Value::Null;
        loop {
            let query = format!(
                "query($after: Cursor) {{ page: {kind}s(first: {PAGE}, after: $after) {{
                    nodes {{ id version name {own} }} pageInfo {{ hasNextPage endCursor }} }} }}"
            );
            let body = json!({ "query": query, "variables": { "after": after } });
            let answered = post(&http, &server.url("/graphql"), &body).await;
            let (_, answer) = answered.map_err(|why| Failure::broken(format!("{kind}s: {why}")))?;
            let page = &answer["data"]["page"];
            let Some(nodes) = page["nodes"].as_array() else {
                return Err(Failure::broken(format!("{kind}s are answered with {answer}")));
            };
            for node in nodes {
                let organization = if kind == "organization" { &node["id"] } else { &node["organizationId"] };
                rows.insert((kind.to_owned(), text(organization), text(&node["id"])), node.clone());
            }
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }
    Ok(rows)
}
