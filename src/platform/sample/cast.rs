//! Who and what the sample platform is made of.

/// A corner of the platform in which a story happens; its people and agents work for one organization.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) organization: &'static str,
    pub(super) domain: &'static str,
    pub(super) instance: &'static str,
    pub(super) repository: &'static str,
    pub(super) agents: [&'static str; 3],
    pub(super) users: [&'static str; 3],
}

pub(super) const PLACES: [Place; 4] = [
    Place {
        organization: "quant",
        domain: "research",
        instance: "quant-research-1",
        repository: "quant/signals",
        agents: ["scout", "analyst", "reviewer"],
        users: ["ada", "grace", "linus"],
    },
    Place {
        organization: "quant",
        domain: "trading",
        instance: "quant-trading-1",
        repository: "quant/execution",
        agents: ["trader", "risk-guard", "reconciler"],
        users: ["ada", "barbara", "ken"],
    },
    Place {
        organization: "acme",
        domain: "support",
        instance: "acme-support-1",
        repository: "acme/helpdesk",
        agents: ["triage", "responder", "translator"],
        users: ["wile", "mary", "joan"],
    },
    Place {
        organization: "acme",
        domain: "web",
        instance: "acme-web-2",
        repository: "acme/storefront",
        agents: ["coder", "tester", "release-bot"],
        users: ["mary", "tim", "radia"],
    },
];

/// What an agent can be asked for, and the steps in which it goes about it.
pub(super) const JOBS: [(&str, [&str; 4]); 6] = [
    ("Summarise the overnight news", ["reading 42 articles", "grouping topics", "writing", "checking facts"]),
    (
        "Fix the flaky checkout test",
        ["reproducing", "reading the trace", "editing 3 files", "running the tests"],
    ),
    ("Answer ticket 8812", ["reading the thread", "searching the handbook", "drafting", "polishing"]),
    ("Reconcile yesterday's fills", ["loading fills", "matching orders", "explaining 7 breaks", "reporting"]),
    ("Upgrade the HTTP client", ["reading the changelog", "editing", "compiling", "running the tests"]),
    (
        "Translate the release notes",
        ["reading", "translating to French", "translating to Japanese", "proofreading"],
    ),
];

pub(super) const FAILURES: [&str; 4] = [
    "the model's answer did not pass the checks",
    "the tool call timed out after 60 s",
    "the budget of 40 steps is used up",
    "two tests still fail",
];

pub(super) const WORKFLOWS: [(&str, [&str; 4]); 3] = [
    ("nightly-report", ["collect", "analyse", "write", "send"]),
    ("release", ["build", "test", "stage", "announce"]),
    ("incident-review", ["gather-logs", "find-cause", "propose-fix", "file-report"]),
];

/// What a person says, and what an agent says to it.
pub(super) const TALKS: [(&str, &str); 5] = [
    ("How far are you?", "Half way: two of four steps are done."),
    (
        "Please keep the old API working.",
        "Understood. I add the new one beside it and mark the old one deprecated.",
    ),
    ("Why did the last run fail?", "The tool call timed out. I have started it again with a longer limit."),
    (
        "Can this go out today?",
        "Yes: all checks are green, and staging has run for an hour without an error.",
    ),
    ("Which sources did you use?", "The filing of last Thursday and the two notes in this room."),
];

pub(super) const COMMITS: [&str; 5] = [
    "Retry the order feed with jitter",
    "Cache exchange calendars for a day",
    "Fix a race in the checkout test",
    "Say which ticket a reply belongs to",
    "Remove the old HTTP client",
];

pub(super) const COMMANDS: [&str; 4] =
    ["cargo test --workspace", "git diff --stat", "npm run build", "rg 'TODO' src"];
