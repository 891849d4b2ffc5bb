//! One object a family: the shared fields, and those members of the data that the family's events usually have.

use super::{
    Leaf, Priority, Shared,
    leaves::{SHARED, find},
};
use crate::{
    event::{self, Family},
    graphql::{
        resource::{Agent, Deployment, Domain, Instance, Organization, Task, User},
        scalars::{CursorText, JsonText, Time, WriteJson},
    },
};
use async_graphql::{ID, Interface, Object};
use std::{ops::Deref, sync::Arc};

/// A list of texts as a field has it.
type Texts = Vec<String>;

/// Each family with its object; each typed field with its type, the way it is read, and its names in the data.
macro_rules! families {
    ($(
        $(#[$doc:meta])*
        $family:ident => $object:ident $(($resource:ident: $state:ident))? {
            $($(#[$field_doc:meta])* $field:ident: $kind:ident = $read:ident $names:tt;)*
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(in crate::graphql) struct $object(Shared);

            impl From<Arc<event::Event>> for $object {
                fn from(event: Arc<event::Event>) -> Self {
                    $object(Shared::new(event))
                }
            }

            impl Deref for $object {
                type Target = Shared;

                fn deref(&self) -> &Shared {
                    &self.0
                }
            }

            $(#[$doc])*
            #[Object]
            impl $object {
                #[graphql(flatten)]
                async fn shared(&self) -> &Shared {
                    &self.0
                }

                $(
                    /// What the event tells of, as it left it; of a deleted one, what it was. Null where no change of a resource
                    /// of this server made the event.
                    async fn $resource(&self) -> Option<$state> {
                        self.state()
                    }

                    /// The fields that have another value, or that only the change named; null where no change of a resource
                    /// made the event.
                    async fn changed(&self) -> Option<Vec<String>> {
                        self.members().texts(&["changed"])
                    }
                )?

                $(
                    $(#[$field_doc])*
                    async fn $field(&self) -> Option<$kind> {
                        self.members().$read(&$names).map($kind::from)
                    }
                )*
            }
        )*

        /// What happened, in order. Each family of types has its own object with more fields; the data of an unknown
        /// type is read whole, as `CustomEvent`.
        #[derive(Debug, Interface)]
        #[graphql(
            name = "Event",
            field(name = "id", ty = "ID", desc = "The producer's id; unique within the source."),
            field(name = "type", method = "event_type", ty = "&str", desc = "What happened, such as `task.created`."),
            field(name = "action", ty = "&str", desc = "The type without its first segment, such as `created`."),
            field(name = "time", ty = "Time", desc = "When it happened, by the producer's clock."),
            field(name = "source", ty = "&str", desc = "Who published it, a URI reference."),
            field(name = "subject", ty = "Option<&str>", desc = "What it is about inside the source."),
            field(name = "organization_id", ty = "Option<ID>", desc = "The organization it concerns."),
            field(name = "domain_id", ty = "Option<ID>", desc = "The domain it concerns."),
            field(name = "instance_id", ty = "Option<ID>", desc = "The instance it concerns."),
            field(name = "agent_id", ty = "Option<ID>", desc = "The agent it concerns."),
            field(name = "task_id", ty = "Option<ID>", desc = "The task it concerns."),
            field(name = "workflow_id", ty = "Option<ID>", desc = "The workflow it concerns."),
            field(name = "user_id", ty = "Option<ID>", desc = "The user it concerns."),
            field(name = "room_id", ty = "Option<ID>", desc = "The room it concerns."),
            field(name = "correlation_id", ty = "Option<&str>", desc = "The request it belongs to."),
            field(name = "priority", ty = "Priority", desc = "How urgent it is."),
            field(
                name = "persist",
                ty = "bool",
                desc = "Is it in the log? One that is not was published with `persist: false`, and is delivered once at most."
            ),
            field(
                name = "cursor",
                ty = "CursorText",
                desc = "Its place in the log; of one that is not in the log, the place behind which it came."
            ),
            field(
                name = "data",
                ty = "Option<JsonText>",
                desc = "What the producer has to say, whole; null where it said nothing or sent binary data."
            ),
            field(name = "dataBase64", method = "data_base64", ty = "Option<&str>", desc = "Binary data as base64."),
            field(
                name = "attributes",
                ty = "Option<JsonText>",
                desc = "CloudEvents attributes without a field of their own, an object; null where there are none."
            )
        )]
        pub(in crate::graphql) enum AnyEvent {
            $(#[doc = concat!("An event of the object ", stringify!($object), ".")] $family($object),)*
        }

        /// The object of a family.
        pub(in crate::graphql) const fn object(family: Family) -> &'static str {
            match family {
                $(Family::$family => stringify!($object),)*
            }
        }

        /// A field of the object of a family, if it can be read straight from an event.
        pub(in crate::graphql) fn leaf(family: Family, field: &str) -> Option<Leaf> {
            let own: &[(&str, Leaf)] = match family {
                $(Family::$family => {
                    const OWN: &[(&str, Leaf)] = &[
                        $((stringify!($field), |event, out| {
                            event.members().$read(&$names).map($kind::from).write_json(out)
                        }),)*
                    ];
                    OWN
                })*
            };
            find(own, field).or_else(|| find(SHARED, field))
        }

        impl From<Arc<event::Event>> for AnyEvent {
            fn from(event: Arc<event::Event>) -> Self {
                match event.event_type().family() {
                    $(Family::$family => AnyEvent::$family(event.into()),)*
                }
            }
        }
    };
}

families! {
    /// Somebody connected, left, or changed their status: `presence.*`.
    Presence => PresenceEvent {
        /// The connection.
        connection_id: ID = id["connectionId", "connection_id", "connId", "conn_id"];
        /// The status, such as `online`; `offline` for whoever has left.
        status: String = text["status"];
        /// What the connection speaks.
        protocol: String = text["protocol"];
        /// The rooms of its subscriptions, such as `task:t1`.
        rooms: Texts = texts["rooms"];
        /// Since when it is connected.
        since: Time = time["since"];
    }
    /// How the platform does: `health.*`.
    Health => HealthEvent {
        /// The status, such as `healthy`.
        status: String = text["status"];
        /// The measurements.
        snapshot: JsonText = json["snapshot"];
    }
    /// The life of an agent and of its runs: `agent.*`.
    Agent => AgentEvent (agent: Agent) {
        /// The agent's name.
        name: String = text["name"];
        /// The name to show.
        display_name: String = text["displayName", "display_name"];
        /// The status it has now.
        status: String = text["status"];
        /// The status it had before.
        previous_status: String = text["previousStatus", "previous_status", "oldStatus", "old_status"];
        /// A line for people, such as that of a log.
        message: String = text["message"];
        /// The level of a log line.
        level: String = text["level"];
        /// The name of a metric.
        metric: String = text["metric"];
        /// The value of a metric.
        metric_value: f64 = number["value", "metricValue", "metric_value"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// The life of an organization: `organization.*`.
    Organization => OrganizationEvent (organization: Organization) {
        /// The organization's name.
        name: String = text["name"];
        /// The name to show.
        display_name: String = text["displayName", "display_name"];
        /// Its status.
        status: String = text["status"];
    }
    /// The life of a domain: `domain.*`.
    Domain => DomainEvent (domain: Domain) {
        /// The domain's name.
        name: String = text["name"];
        /// The name to show.
        display_name: String = text["displayName", "display_name"];
        /// Its status.
        status: String = text["status"];
    }
    /// The life of an instance: `instance.*`.
    Instance => InstanceEvent (instance: Instance) {
        /// The instance's name.
        name: String = text["name"];
        /// Its status.
        status: String = text["status"];
        /// The version it runs.
        version: String = text["release", "version"];
    }
    /// A deployment: `deployment.*`.
    Deployment => DeploymentEvent (deployment: Deployment) {
        /// The version that is deployed.
        version: String = text["release", "version"];
        /// Where to, such as `production`.
        environment: String = text["environment"];
        /// Its status.
        status: String = text["status"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// The life of a user: `user.*`.
    User => UserEvent (user: User) {
        /// The user's name.
        name: String = text["name"];
        /// The name to show.
        display_name: String = text["displayName", "display_name"];
        /// The status.
        status: String = text["status"];
    }
    /// A task that an agent works on: `task.*`.
    Task => TaskEvent (task: Task) {
        /// The task's name or title.
        name: String = text["name", "title"];
        /// Its status.
        status: String = text["status"];
        /// How far it is, as the producer counts.
        progress: f64 = number["progress"];
        /// A line for people.
        message: String = text["message"];
        /// What came of it.
        result: JsonText = json["result"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// A workflow of several steps: `workflow.*`.
    Workflow => WorkflowEvent {
        /// The workflow's name.
        name: String = text["name"];
        /// The step.
        step: String = id["step", "stepName", "step_name"];
        /// Its status.
        status: String = text["status"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// The platform's own processes: `system.*`.
    System => SystemEvent {
        /// The part of the platform.
        component: String = text["component"];
        /// Its status.
        status: String = text["status"];
        /// A line for people.
        message: String = text["message"];
        /// The measurements.
        metrics: JsonText = json["metrics"];
        /// What went wrong.
        error: String = text["error"];
    }
    /// An entry of a state store: `state.*`.
    State => StateEvent {
        /// The entry's key.
        key: String = id["key"];
        /// What it holds now.
        value: JsonText = json["value", "newValue", "new_value"];
        /// What it held before.
        previous: JsonText = json["previous", "oldValue", "old_value"];
    }
    /// Something is said in a room, or somebody is typing there: `chat.*`. The room is `roomId`.
    Chat => ChatEvent {
        /// The message as the producer sent it.
        message: JsonText = json["message"];
        /// Its text.
        content: String = text["content", "text", "message"];
        /// Who wrote it.
        sender: String = name["sender", "senderId", "sender_id", "from"];
        /// In `chat.typing`: has the sender begun to type, or ended?
        is_typing: bool = flag["isTyping", "is_typing"];
    }
    /// A session with a coding model: `claude.*`.
    Claude => ClaudeEvent {
        /// The session.
        session_id: ID = id["sessionId", "session_id"];
        /// The run of an agent inside it.
        run_id: ID = id["runId", "run_id", "agentRunId", "agent_run_id"];
        /// The command that was executed.
        command: String = text["command"];
        /// How far it is, as the producer counts.
        progress: f64 = number["progress"];
        /// A line for people.
        message: String = text["message"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// A source repository: `repo.*`.
    Repository => RepositoryEvent {
        /// The repository's name.
        repository: String = name["repository", "repo", "name"];
        /// The branch or tag, such as `refs/heads/main`.
        r#ref: String = text["ref", "branch"];
        /// The commit's hash.
        commit: String = text["commit", "sha", "hash", "after"];
        /// The commit's message.
        message: String = text["message"];
        /// The commit's author.
        author: String = name["author"];
    }
    /// GitHub, its API and its webhooks: `github.*`.
    Github => GithubEvent {
        /// The webhook's event, such as `workflow_run`.
        event: String = text["event"];
        /// The repository's full name, such as `octocat/hello-world`.
        repository: String = name["repository", "repo"];
        /// The login of whoever caused it.
        sender: String = name["sender"];
        /// What the API was asked.
        operation: String = text["operation", "endpoint"];
        /// How long it took, in milliseconds.
        duration_ms: f64 = number["durationMs", "duration_ms", "duration"];
    }
    /// A GraphQL operation somewhere on the platform: `graphql.*`.
    Graphql => GraphqlEvent {
        /// The operation's name.
        operation_name: String = text["operationName", "operation_name", "operation"];
        /// How long it took, in milliseconds.
        duration_ms: f64 = number["durationMs", "duration_ms", "duration"];
        /// Why it failed.
        error: String = text["error"];
    }
    /// A measurement that crossed a limit: `performance.*`.
    Performance => PerformanceEvent {
        /// What was slow.
        operation: String = text["operation", "operationName", "operation_name"];
        /// How long it took, in milliseconds.
        duration_ms: f64 = number["durationMs", "duration_ms", "duration"];
        /// How long it may take, in milliseconds.
        threshold_ms: f64 = number["thresholdMs", "threshold_ms", "threshold"];
    }
    /// An event whose type belongs to none of the families: any other type is welcome.
    Custom => CustomEvent {
        /// A name, where the data has one.
        name: String = text["name"];
        /// A status, where the data has one.
        status: String = text["status"];
        /// A line for people, where the data has one.
        message: String = text["message"];
    }
}
