//! What happens on the sample platform: short stories, each a sequence of drafts in the order in which they happen.
//!
//! Invariants: a story ends what it starts; it has one correlation id, and the ids of what it is about are in each draft.

use super::{
    SOURCE,
    cast::{COMMANDS, COMMITS, FAILURES, JOBS, PLACES, Place, TALKS, WORKFLOWS},
    random::Random,
};
use crate::event::Draft;
use serde_json::{Value, json, value::to_raw_value};
use std::collections::VecDeque;

/// The kinds of story, each as often as it is likely.
const KINDS: [fn(&mut Story<'_>); 16] = [
    task, task, task, task, workflow, workflow, deployment, chat, chat, visit, visit, health, push, session,
    query, upkeep,
];

/// Writes stories and numbers them.
#[derive(Debug, Default)]
pub(super) struct Author {
    stories: u64,
}

impl Author {
    /// The next story.
    pub(super) fn write(&mut self, random: &mut Random) -> VecDeque<Draft> {
        self.stories += 1;
        let place = random.one_of(&PLACES);
        let envelope = Draft {
            source: Some(SOURCE.to_owned()),
            organization_id: Some(place.organization.to_owned()),
            domain_id: Some(place.domain.to_owned()),
            correlation_id: Some(format!("sample-{}", self.stories)),
            ..Draft::default()
        };
        let tell = random.one_of(&KINDS);
        let mut story = Story { number: self.stories, place, random, envelope, drafts: VecDeque::new() };
        tell(&mut story);
        story.drafts
    }
}

/// A story while it is written.
struct Story<'a> {
    number: u64,
    place: Place,
    random: &'a mut Random,
    /// What all events of the story share from here on.
    envelope: Draft,
    drafts: VecDeque<Draft>,
}

impl Story<'_> {
    /// An id that no other story of this feed has.
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.number)
    }

    /// Adds the next event.
    fn then(&mut self, event_type: &str, fields: &Value) {
        let json = to_raw_value(fields).expect("a Value is JSON");
        self.drafts.push_back(Draft {
            event_type: event_type.to_owned(),
            data: Some(json),
            ..self.envelope.clone()
        });
    }

    /// Adds the next event with another priority than normal.
    fn then_urgent(&mut self, priority: &str, event_type: &str, fields: &Value) {
        let usual = self.envelope.priority.replace(priority.to_owned());
        self.then(event_type, fields);
        self.envelope.priority = usual;
    }

    /// Chooses the agent of what follows.
    fn agent(&mut self) -> &'static str {
        let agent = self.random.one_of(&self.place.agents);
        self.envelope.agent_id = Some(agent.to_owned());
        agent
    }

    /// Chooses the user of what follows.
    fn user(&mut self) -> &'static str {
        let user = self.random.one_of(&self.place.users);
        self.envelope.user_id = Some(user.to_owned());
        user
    }

    fn sha(&mut self) -> String {
        (0..5).map(|_| format!("{:08x}", self.random.within(0..1 << 32))).collect()
    }
}

/// An agent takes a task from a user and ends it, well or not.
fn task(story: &mut Story<'_>) {
    let (user, agent) = (story.user(), story.agent());
    let (title, steps) = story.random.one_of(&JOBS);
    story.envelope.task_id = Some(story.id("task"));
    story.then("task.created", &json!({"title": title, "requestedBy": user, "assignee": agent}));
    story.then("agent.started", &json!({"name": agent, "status": "working"}));
    story.then("task.started", &json!({"title": title, "assignee": agent}));
    let fails_after = story.random.percent(20).then(|| story.random.index(steps.len()));
    for (done, step) in steps.into_iter().enumerate() {
        let progress = 100 * (done + 1) / (steps.len() + 1);
        story.then("task.progress", &json!({"title": title, "progress": progress, "message": step}));
        if story.random.percent(25) {
            let tokens = story.random.within(400..9_000);
            story.then("agent.metric", &json!({"name": agent, "metric": "tokens", "value": tokens}));
        }
        if fails_after == Some(done) {
            let error = story.random.one_of(&FAILURES);
            story.then_urgent("HIGH", "task.failed", &json!({"title": title, "error": error}));
            story.then_urgent(
                "HIGH",
                "agent.failed",
                &json!({"name": agent, "status": "idle", "error": error}),
            );
            return;
        }
    }
    let milliseconds = story.random.within(4_000..240_000);
    let result = json!({"title": title, "progress": 100, "result": "done", "durationMs": milliseconds});
    story.then("task.completed", &result);
    story.then("agent.completed", &json!({"name": agent, "status": "idle"}));
}

/// A workflow goes through its steps; some wait for a person in between, some fail.
fn workflow(story: &mut Story<'_>) {
    let agent = story.agent();
    let (name, steps) = story.random.one_of(&WORKFLOWS);
    story.envelope.workflow_id = Some(story.id("workflow"));
    story.then("workflow.started", &json!({"name": name, "steps": steps, "startedBy": agent}));
    let fails_at = story.random.percent(15).then(|| story.random.index(steps.len()));
    for (done, step) in steps.into_iter().enumerate() {
        if fails_at == Some(done) {
            let error = story.random.one_of(&FAILURES);
            let fields = json!({"name": name, "step": step, "error": error});
            return story.then_urgent("HIGH", "workflow.failed", &fields);
        }
        let fields = json!({"name": name, "step": step, "completed": done + 1, "of": steps.len()});
        story.then("workflow.step_completed", &fields);
        if story.random.percent(10) {
            story.then("workflow.paused", &json!({"name": name, "reason": "waiting for approval"}));
            let approver = story.random.one_of(&story.place.users);
            story.then("workflow.resumed", &json!({"name": name, "approvedBy": approver}));
        }
    }
    story.then("workflow.completed", &json!({"name": name, "completed": steps.len(), "of": steps.len()}));
}

/// A version goes out to an instance.
fn deployment(story: &mut Story<'_>) {
    story.envelope.instance_id = Some(story.place.instance.to_owned());
    let deployment = story.id("deployment");
    let version = format!("1.{}.{}", story.number / 40, story.number % 40);
    story.envelope.subject = Some(deployment.clone());
    let about = |status: &str| json!({"deployment": deployment, "version": version, "status": status});
    story.then("deployment.started", &about("rolling out"));
    if story.random.percent(20) {
        return story.then_urgent(
            "CRITICAL",
            "deployment.failed",
            &about("rolled back: readiness stayed red"),
        );
    }
    story.then("deployment.completed", &about("live"));
    let instance = story.place.instance;
    story.then("instance.updated", &json!({"name": instance, "version": version, "status": "running"}));
}

/// A user asks an agent, and the agent answers, in the room of their domain.
fn chat(story: &mut Story<'_>) {
    let (question, answer) = story.random.one_of(&TALKS);
    story.envelope.room_id = Some(format!("{}-{}", story.place.organization, story.place.domain));
    let user = story.user();
    story.then("chat.message", &json!({"sender": user, "content": question}));
    story.envelope.user_id = None;
    let agent = story.agent();
    story.then("chat.message", &json!({"sender": agent, "content": answer}));
}

/// A user comes, is away for a while, and leaves.
fn visit(story: &mut Story<'_>) {
    story.user();
    let connection = story.id("connection");
    let about = |status: &str| json!({"connId": connection, "status": status});
    story.then("presence.connected", &about("online"));
    if story.random.percent(60) {
        story.then("presence.changed", &about("away"));
        story.then("presence.changed", &about("online"));
    }
    story.then("presence.disconnected", &about("offline"));
}

/// An instance tells how it does.
fn health(story: &mut Story<'_>) {
    story.envelope.instance_id = Some(story.place.instance.to_owned());
    story.envelope.priority = Some("LOW".to_owned());
    let (cpu, memory) = (story.random.within(3..85), story.random.within(300..1_900));
    let status = if cpu > 75 { "busy" } else { "ok" };
    story.then("system.health_check", &json!({"status": status}));
    story.then("health.snapshot", &json!({"status": status, "cpuPercent": cpu, "memoryMb": memory}));
    story.then("system.metrics_update", &json!({"cpu": cpu, "memory": memory}));
}

/// Commits are pushed, scanned and built.
fn push(story: &mut Story<'_>) {
    let (user, repository) = (story.user(), story.place.repository);
    story.envelope.subject = Some(repository.to_owned());
    let count = story.random.within(1..4);
    let mut head = String::new();
    for _ in 0..count {
        let message = story.random.one_of(&COMMITS);
        head = story.sha();
        let commit = json!({"id": head, "message": message, "author": user});
        story.then("repo.commit.created", &json!({"repository": repository, "commit": commit}));
    }
    let fields = json!({"repository": repository, "ref": "refs/heads/main", "head": head, "commits": count});
    story.then("repo.push.completed", &fields);
    story.then(
        "github.workflow.triggered",
        &json!({"repository": repository, "workflow": "ci", "head": head}),
    );
    let findings = if story.random.percent(15) { story.random.within(1..4) } else { 0 };
    story.then("repo.scan.completed", &json!({"repository": repository, "head": head, "findings": findings}));
}

/// An agent works in a Claude session.
fn session(story: &mut Story<'_>) {
    let agent = story.agent();
    let session = story.id("session");
    story.envelope.subject = Some(session.clone());
    story.then("claude.session.started", &json!({"session": session, "agent": agent}));
    let commands = story.random.within(1..4);
    for command in 1..=commands {
        let (text, milliseconds) = (story.random.one_of(&COMMANDS), story.random.within(80..20_000));
        let fields = json!({"session": session, "command": text, "exitCode": 0, "durationMs": milliseconds});
        story.then("claude.command.executed", &fields);
        let progress = 100 * command / (commands + 1);
        story.then("claude.agentRun.progress", &json!({"session": session, "progress": progress}));
    }
    if story.random.percent(15) {
        let error = story.random.one_of(&FAILURES);
        let fields = json!({"session": session, "error": error});
        return story.then_urgent("HIGH", "claude.session.failed", &fields);
    }
    story.then("claude.session.completed", &json!({"session": session, "commands": commands}));
}

/// A dashboard asks GraphQL, which asks GitHub; slow answers are noticed.
fn query(story: &mut Story<'_>) {
    story.user();
    story.envelope.priority = Some("LOW".to_owned());
    let (operation, repository) = ("RepositoryOverview", story.place.repository);
    let milliseconds = story.random.within(20..900);
    story.then("graphql.query.started", &json!({"operation": operation}));
    story.then("github.api.started", &json!({"repository": repository, "call": "GET /pulls"}));
    let fields =
        json!({"repository": repository, "call": "GET /pulls", "status": 200, "durationMs": milliseconds});
    story.then("github.api.completed", &fields);
    let total = milliseconds + 12;
    story.then("graphql.query.completed", &json!({"operation": operation, "durationMs": total}));
    if total > 600 {
        let fields = json!({"operation": operation, "durationMs": total, "limitMs": 600});
        story.then_urgent("HIGH", "performance.slowOperation.detected", &fields);
    }
}

/// Somebody changes a setting, and the state store says what it holds now.
fn upkeep(story: &mut Story<'_>) {
    let user = story.user();
    let (entity, name) = match story.random.within(0..4) {
        0 => ("organization", story.place.organization),
        1 => ("domain", story.place.domain),
        2 => ("user", user),
        _ => ("agent", story.agent()),
    };
    let fields = json!({"name": name, "changed": ["displayName"], "changedBy": user});
    story.then(&format!("{entity}.updated"), &fields);
    story.then("state.updated", &json!({"key": format!("{entity}/{name}"), "version": story.number}));
}
