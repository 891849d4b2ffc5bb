//! Canaries over every way out of the program itself, which writes down everything that it can; and masks that come while
//! somebody is connected.

use super::canaries::{CANARY, FIELDS, READERS, canary, drafts, texts, transient_texts};
use crate::support::{
    Access, Line, May, Past, Process, Root, Served, Socket, Start, Wanted, Way, by_id, code_of, request,
    said_in, sent,
};
use fanfare::{
    auth::{Action, MaskDraft, Principal},
    event::{Draft, NewEvent, ScopeField},
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::{sync::Barrier, time::Instant};

/// Everything may be read by each of the known roles; the masks as the policy file has them.
fn policy(masks: &[MaskDraft]) -> String {
    let roles = super::ROLES.map(|role| format!("[roles.{role}]\nread = [{{ types = ['*'] }}]\n"));
    let list = |name: &str, roles: &Option<Vec<String>>| {
        roles.as_ref().map(|roles| format!("{name} = {}\n", json!(roles))).unwrap_or_default()
    };
    let mask = |mask: &MaskDraft| {
        let whom = list("roles", &mask.roles) + &list("except", &mask.except);
        let (types, path, action) = (json!(mask.types), json!(mask.path), mask.action.name());
        format!("[[masks]]\ntypes = {types}\npath = {path}\naction = '{action}'\n{whom}")
    };
    roles.concat() + &masks.iter().map(mask).collect::<String>()
}

struct Reader {
    roles: &'static [&'static str],
    is_masked: bool,
    token: String,
}

/// Those without a role, or with an unknown one, may read by their tokens.
fn readers(access: &Access) -> Vec<Reader> {
    let grant = json!({ "fanfare": { "read": [{ "types": ["*"] }] } });
    let reader = |(at, (roles, is_masked)): (usize, &(&'static [&'static str], bool))| Reader {
        roles,
        is_masked: *is_masked,
        token: access.signed_with(&format!("reader-{at}"), roles, None, &grant),
    };
    READERS.iter().enumerate().map(reader).collect()
}

/// What is followed: the root, its fields, and how many of [`texts`] it shows.
fn followed() -> Vec<(Root, String, usize)> {
    // Fields of one name have one type within a document; `message` has two.
    let all = FIELDS.replace("message", "");
    let base = all.split("...").next().unwrap().to_owned();
    let family = |field, own: &str| (Root::Family(field), format!("{base} {own}"), 1);
    vec![
        (Root::Events, all, texts().len()),
        family("agents", "name displayName status message error"),
        family("tasks", "name status progress message result error"),
        family("presence", "connectionId status"),
        family("health", "status snapshot"),
        family("state", "key value previous"),
    ]
}

fn wanted(start: Option<&Start>) -> (Vec<Wanted>, HashMap<String, usize>) {
    let mut counts = HashMap::new();
    let one = |(at, (root, selection, count)): (usize, (Root, String, usize))| {
        let (id, filter) = (format!("op{at}"), json!({}));
        counts.insert(id.clone(), count);
        Wanted { id, root, filter, start: start.cloned(), selection }
    };
    let wanted = followed().into_iter().enumerate().map(one).collect();
    (wanted, counts)
}

fn shows(text: &str) -> bool {
    text.contains(CANARY) || text.contains("Y2FuYXJ5") || text.contains("63616e617279")
}

impl Reader {
    fn check(&self, way: &str, event: &Value) {
        let text = event.to_string();
        assert_eq!(shows(&text), !self.is_masked, "{way} {:?}: {text}", self.roles);
    }

    /// Follows everything over one way; `publish` comes between beginning and reading.
    async fn follow(&self, server: &Process, way: Way, start: Option<Start>, is_open: &Barrier) -> usize {
        let (wanted, counts) = wanted(start.as_ref());
        let wanted: Vec<_> = wanted.into_iter().filter(|one| way.can(one)).collect();
        let lines = way.open(server, &self.token, &wanted).await;
        is_open.wait().await;
        let mut seen = 0;
        for mut line in lines {
            assert!(line.refused.is_empty(), "{:?}", line.refused);
            let kept: usize = line.operations().iter().map(|id| counts[*id]).sum();
            // Live, as many come that are not kept.
            let due = if start.is_none() { 2 * kept } else { kept };
            for _ in 0..due {
                let (_, event) = line.next().await;
                self.check(&format!("{way:?}"), &event);
            }
            seen += due;
        }
        seen
    }

    async fn look_back(&self, server: &Process) -> usize {
        let fields = FIELDS.replace("message", "");
        let mut seen = 0;
        for past in Past::ALL {
            let found = past.read(server, &self.token, (&json!({}), &fields), 3).await.unwrap();
            assert_eq!(found.len(), texts().len(), "{past:?}");
            found.iter().for_each(|event| self.check(&format!("{past:?}"), event));
            seen += found.len();
        }
        let ids: Vec<_> = (0..texts().len()).map(|at| format!("e{at}")).collect();
        let found = by_id(server, &self.token, &ids, fields.split("...").next().unwrap()).await.unwrap();
        found.iter().for_each(|event| self.check("by id", event));
        seen += found.len();
        if !self.is_masked {
            let said = said_in(server, &self.token, (&canary("roomId"), "message content sender"), 3).await;
            let said = said.unwrap();
            assert_eq!(said.len(), 1, "one text is a chat message");
            said.iter().for_each(|event| self.check("messages", event));
            seen += said.len();
        }
        seen
    }

    /// Filters on masked fields are refused in the same words, whether they guess right or wrong.
    async fn guess(&self, server: &Process) -> usize {
        let fields = ScopeField::ALL.map(ScopeField::camel).into_iter().chain(["correlationId", "sources"]);
        let mut refused = 0;
        for field in fields {
            let right = if field == "sources" { format!("/{}", canary("source")) } else { canary(field) };
            let (right, wrong) = (selecting(field, &right), selecting(field, "/wrong"));
            for (right, wrong) in right.into_iter().zip(wrong) {
                for way in Way::ALL {
                    let hit = self.subscribe(server, way, right.clone()).await;
                    refused += judge(
                        &format!("{way:?} {field}"),
                        hit,
                        &self.subscribe(server, way, wrong.clone()).await,
                    );
                }
                for past in Past::ALL.into_iter().filter(|_| right.0 == Root::Events) {
                    let hit = past.read(server, &self.token, (&right.1, "id"), 3).await.err();
                    let miss = past.read(server, &self.token, (&wrong.1, "id"), 3).await.err();
                    refused += judge(&format!("{past:?} {field}"), Some(hit), &Some(miss));
                }
                if let (Root::Chat(right), Root::Chat(wrong)) = (&right.0, &wrong.0) {
                    let hit = said_in(server, &self.token, (right, "id"), 3).await.err();
                    let miss = said_in(server, &self.token, (wrong, "id"), 3).await.err();
                    refused += judge("messages", Some(hit), &Some(miss));
                }
            }
        }
        refused
    }

    /// What is answered instead of a subscription; none where the way has no such subscription.
    async fn subscribe(
        &self,
        server: &Process,
        way: Way,
        (root, filter): (Root, Value),
    ) -> Option<Option<Value>> {
        let start = (way != Way::Gateway).then_some(Start::Earliest);
        let wanted = Wanted { id: "a".to_owned(), root, filter, start, selection: "id".to_owned() };
        if !way.can(&wanted) {
            return None;
        }
        let mut line = way.open(server, &self.token, &[wanted]).await.pop().unwrap();
        Some(line.refused.remove("a"))
    }
}

/// What selects by this field.
fn selecting(field: &str, id: &str) -> Vec<(Root, Value)> {
    let mut all = vec![
        (Root::Events, json!({ field: [id] })),
        (Root::Events, json!({ "anyOf": [{ "types": ["x"] }, { field: [id] }] })),
    ];
    match field {
        "roomId" => all.push((Root::Chat(id.to_owned()), json!({}))),
        "correlationId" => all.push((Root::Trace(id.to_owned()), json!({}))),
        _ => {}
    }
    all
}

/// A right and a wrong guess are refused alike, without a canary. Gives how many refusals that were.
fn judge(at: &str, hit: Option<Option<Value>>, miss: &Option<Option<Value>>) -> usize {
    assert_eq!(hit, *miss, "{at}");
    let Some(refusal) = hit else { return 0 };
    let refusal = refusal.unwrap_or_else(|| panic!("{at} was not refused"));
    assert_eq!(code_of(&refusal), "FORBIDDEN", "{at}");
    assert!(!shows(&refusal.to_string()), "{at}: {refusal}");
    2
}

/// Everybody, over every way.
async fn follow_all(server: &Process, readers: &[Reader], start: Option<Start>, root: &str) -> usize {
    let ways: Vec<_> = Way::ALL.into_iter().filter(|way| *way != Way::Gateway || start.is_none()).collect();
    let ways: Vec<_> = ways
        .into_iter()
        .filter(|way| *way != Way::FeedAgain || matches!(start, Some(Start::After(_))))
        .collect();
    let is_open = Barrier::new(readers.len() * ways.len() + 1);
    let following = readers.iter().flat_map(|reader| {
        let (start, is_open) = (&start, &is_open);
        ways.iter().map(move |way| reader.follow(server, *way, start.clone(), is_open))
    });
    let publishing = async {
        is_open.wait().await;
        if start.is_none() {
            publish(server, root).await;
        }
    };
    let (seen, ()) = futures_util::future::join(join_all(following), publishing).await;
    seen.into_iter().sum()
}

async fn publish(server: &Process, root: &str) {
    let request = request(server, Method::POST, "/events").header("content-type", "application/json");
    let all = [texts(), transient_texts()].concat().join(",");
    let (status, answer) = sent(request.bearer_auth(root).body(format!("[{all}]"))).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn no_canary_leaves_the_program_towards_anybody_masked_nor_into_its_log() {
    let (mut seen, mut refused) = (0, 0);
    for action in [Action::Drop, Action::Null, Action::Hash, Action::Partial] {
        let access = Access::with_policy(&policy(&drafts(action)));
        let (root, readers) = (access.token("root", May::All, None), readers(&access));
        let spared = access.signed("spared", &["support"], None);
        let server = Process::serve(&access);
        let first = start_of(&server, &spared).await;
        seen += follow_all(&server, &readers, None, &root).await;
        for start in [Start::Earliest, Start::After(first)] {
            seen += follow_all(&server, &readers, Some(start), &root).await;
        }
        for reader in &readers {
            seen += reader.look_back(&server).await;
        }
        let metrics = request(&server, Method::GET, "/metrics").bearer_auth(&root);
        let metrics = sent(metrics).await.1;
        assert!(metrics.as_str().unwrap().contains("fanfare") && !shows(metrics.as_str().unwrap()));
        let audit = server.audit();
        assert!(audit.contains("reader-0") && !shows(&audit), "{audit}");
        if action == Action::Hash {
            for reader in readers.iter().filter(|reader| reader.is_masked) {
                refused += reader.guess(&server).await;
            }
        }
        let log = server.log();
        assert!(log.contains("fanfare::") && !shows(&log), "{log}");
        for token in readers.iter().map(|reader| &reader.token).chain([&root, &spared]) {
            assert!(!log.contains(token.as_str()), "a token is in the log");
        }
    }
    println!("{seen} events over all ways, {refused} refusals");
    assert!(seen > 3_000 && refused > 500, "{seen} {refused}");
}

/// The position before everything.
async fn start_of(server: &impl Served, token: &str) -> String {
    let mut socket = Socket::rpc_as(server, token).await;
    socket.send(json!({ "jsonrpc": "2.0", "id": "a", "method": "events.subscribe" })).await;
    let cursor = socket.json().await["result"]["cursor"].as_str().unwrap().to_owned();
    socket.close().await;
    cursor
}

#[tokio::test]
async fn masks_that_come_while_somebody_is_connected_lose_and_repeat_nothing() {
    const BEFORE: usize = 50;
    let access = Access::with_policy(&policy(&[]));
    let token = access.signed("ada", &["member"], None);
    let server = access.server();
    let publish = async |id: usize| {
        let event = json!({
            "type": "task.log", "id": format!("e{id}"), "subject": canary("subject"), "data": { "x": canary("x") },
        });
        let event =
            NewEvent::new(Draft::from_json(&event.to_string()).unwrap(), server.hub.limits()).unwrap();
        server.hub.publish(&Principal::anonymous(), vec![event]).await.unwrap();
    };
    let mut lines = Vec::new();
    for way in Way::ALL.into_iter().filter(|way| *way != Way::FeedAgain) {
        let wanted = Wanted {
            id: "a".to_owned(),
            root: Root::Events,
            filter: json!({}),
            start: None,
            selection: "id subject data".to_owned(),
        };
        lines.extend(way.open(&server, &token, &[wanted]).await);
    }
    for id in 0..BEFORE {
        publish(id).await;
    }
    let is_masked = async |line: &mut Line, at: usize| {
        let (_, event) = line.next().await;
        let event = if line.way == Way::Gateway { &event["event"] } else { &event };
        assert_eq!(event["id"], format!("e{at}"), "{:?}", line.way);
        !shows(&event.to_string())
    };
    for line in &mut lines {
        for at in 0..BEFORE {
            assert!(!is_masked(line, at).await, "{:?}", line.way);
        }
    }
    let rule = |path: &str| MaskDraft {
        types: vec!["*".to_owned()],
        path: path.to_owned(),
        action: Action::Drop,
        roles: Some(vec!["member".to_owned()]),
        except: None,
    };
    access.change_policy(&policy(&[rule("data.x"), rule("subject")]));
    let changed = Instant::now();
    let mut next = BEFORE;
    for mut line in lines {
        let (mut at, mut has_changed) = (BEFORE, false);
        while !has_changed || at < next || at < 2 * BEFORE {
            if at == next {
                publish(next).await;
                next += 1;
            }
            let is_masked = is_masked(&mut line, at).await;
            assert!(is_masked || !has_changed, "{:?} shows {at} after the change", line.way);
            assert!(is_masked || changed.elapsed() < Duration::from_secs(1), "{:?}", line.way);
            has_changed = is_masked;
            at += 1;
        }
    }
}
