//! One object a kind: a resource as its latest event tells it, with the page and the change that it comes in.
//!
//! Invariants: what is masked for the reader is null, so no field is promised.

use crate::{
    event::{self, ScopeField},
    graphql::{
        event::Shared,
        query::PageInfo,
        scalars::{Count, CursorText, JsonText, Time},
    },
    platform::resources::{Entry, Made, Page, Resources},
};
use async_graphql::{ID, Object, SimpleObject};
use std::sync::Arc;

/// Each kind with its object; each scope field with its name in the scope, each field with its type, the way it is read, and
/// its name in the data.
macro_rules! resources {
    ($(
        $(#[$doc:meta])*
        $object:ident ($field:ident: $connection:ident, $edge:ident, $change:ident) {
            $($(#[$scope_doc:meta])* $scope:ident: $scope_field:ident;)*
            {
                $($(#[$member_doc:meta])* $member:ident: $kind:ident = $read:ident $names:tt;)*
            }
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

            $(#[$doc])*
            #[Object]
            impl $object {
                /// Its id; unique within its kind and organization.
                async fn id(&self) -> Option<ID> {
                    self.0.members().id(&["id"]).map(ID::from)
                }

                /// How often it was changed: 1 for one that was only created. `expectedVersion` of a mutation is compared with it.
                async fn version(&self) -> Option<Count> {
                    self.0.members().count(&["version"])
                }

                $(
                    $(#[$scope_doc])*
                    async fn $scope(&self) -> Option<ID> {
                        self.0.scope(ScopeField::$scope_field)
                    }
                )*

                $(
                    $(#[$member_doc])*
                    async fn $member(&self) -> Option<$kind> {
                        self.0.members().$read(&$names).map($kind::from)
                    }
                )*

                /// Whatever the application keeps with it.
                async fn metadata(&self) -> Option<JsonText> {
                    self.0.members().json(&["metadata"])
                }

                /// When it was created.
                async fn created_at(&self) -> Option<Time> {
                    self.0.members().time(&["createdAt"])
                }

                /// When it was changed last.
                async fn updated_at(&self) -> Option<Time> {
                    self.0.members().time(&["updatedAt"])
                }

                /// The place of its latest change in the log.
                async fn cursor(&self) -> CursorText {
                    self.0.place()
                }
            }

            /// A resource of a page, with its place.
            #[derive(Debug, SimpleObject)]
            pub(in crate::graphql) struct $edge {
                /// The place in the list, for `after`.
                cursor: CursorText,
                /// The resource.
                node: $object,
            }

            /// A page of resources as they were at one moment (a connection as Relay defines it), in an order that stays.
            #[derive(Debug)]
            pub(in crate::graphql) struct $connection(Listed);

            impl From<Listed> for $connection {
                fn from(listed: Listed) -> Self {
                    $connection(listed)
                }
            }

            /// A page of resources as they were at one moment (a connection as Relay defines it), in an order that stays.
            #[Object]
            impl $connection {
                /// The resources with their places in the list.
                async fn edges(&self) -> Vec<$edge> {
                    let edge = |entry: &Entry| $edge {
                        cursor: self.0.cursor(entry),
                        node: Arc::clone(entry.resource.event()).into(),
                    };
                    self.0.page.entries.iter().map(edge).collect()
                }

                /// The resources.
                async fn nodes(&self) -> Vec<$object> {
                    self.0.page.entries.iter().map(|entry| Arc::clone(entry.resource.event()).into()).collect()
                }

                /// What is around the page. Its cursors are places in this list, for `after`, and no positions in the log.
                async fn page_info(&self) -> PageInfo {
                    self.0.page_info()
                }

                /// The position of the page in the log: whoever subscribes with `start: {after: asOf}` misses no change of what is in
                /// the page. Of several pages take the first one's; then apply an event if the version of its resource is
                /// greater than the one that you have.
                async fn as_of(&self) -> CursorText {
                    self.0.page.as_of.into()
                }
            }

            /// A change that is on stable storage, and so is its event.
            #[derive(Debug, SimpleObject)]
            pub(in crate::graphql) struct $change {
                /// What was changed, as it is now; of a deleted one, what it was. Null where you may not read it.
                $field: Option<$object>,
                /// The place of the event in the log.
                cursor: CursorText,
            }

            impl From<Made> for $change {
                fn from(made: Made) -> Self {
                    let event = made.resource.map(|resource| Arc::clone(resource.event()));
                    $change { $field: event.map($object::from), cursor: made.cursor.into() }
                }
            }
        )*
    };
}

/// A page, and what seals the places in it.
#[derive(Debug)]
pub(in crate::graphql) struct Listed {
    pub(super) resources: Resources,
    pub(super) page: Page,
}

impl Listed {
    fn cursor(&self, entry: &Entry) -> CursorText {
        CursorText(self.resources.place(entry))
    }

    fn page_info(&self) -> PageInfo {
        let entries = &self.page.entries;
        let end = self.page.next.clone().map(CursorText);
        PageInfo {
            has_next_page: end.is_some(),
            has_previous_page: false,
            start_cursor: entries.first().map(|entry| self.cursor(entry)),
            end_cursor: end.or_else(|| entries.last().map(|entry| self.cursor(entry))),
        }
    }
}

resources! {
    /// A tenant of the platform; everything else belongs to one. What is masked for you is null.
    Organization (organization: OrganizationConnection, OrganizationEdge, OrganizationChange) {
        {
            /// Its name.
            name: String = text["name"];
            /// The name to show.
            display_name: String = text["displayName"];
            /// What it is, for people.
            description: String = text["description"];
            /// Its status, any word.
            status: String = text["status"];
        }
    }
    /// A part of an organization. What is masked for you is null.
    Domain (domain: DomainConnection, DomainEdge, DomainChange) {
        /// Its organization.
        organization_id: Organization;
        {
            /// Its name.
            name: String = text["name"];
            /// The name to show.
            display_name: String = text["displayName"];
            /// What it is, for people.
            description: String = text["description"];
            /// Its status, any word.
            status: String = text["status"];
        }
    }
    /// Something that runs, such as a server process. What is masked for you is null.
    Instance (instance: InstanceConnection, InstanceEdge, InstanceChange) {
        /// Its organization.
        organization_id: Organization;
        /// Its domain.
        domain_id: Domain;
        {
            /// Its name.
            name: String = text["name"];
            /// Its status, any word.
            status: String = text["status"];
            /// What it runs, such as `1.4.2`.
            release: String = text["release"];
        }
    }
    /// An agent. What is masked for you is null.
    Agent (agent: AgentConnection, AgentEdge, AgentChange) {
        /// Its organization.
        organization_id: Organization;
        /// Its domain.
        domain_id: Domain;
        {
            /// Its name.
            name: String = text["name"];
            /// The name to show.
            display_name: String = text["displayName"];
            /// What it is, for people.
            description: String = text["description"];
            /// Its status, any word; `idle` at first.
            status: String = text["status"];
            /// What was said with its latest status.
            message: String = text["message"];
        }
    }
    /// A release on its way to where it runs. What is masked for you is null.
    Deployment (deployment: DeploymentConnection, DeploymentEdge, DeploymentChange) {
        /// Its organization.
        organization_id: Organization;
        /// Its domain.
        domain_id: Domain;
        /// The instance that it goes to.
        instance_id: Instance;
        {
            /// What is deployed, such as `1.4.2`.
            release: String = text["release"];
            /// Where to, such as `production`.
            environment: String = text["environment"];
            /// `started`, `completed` or `failed`.
            status: String = text["status"];
            /// What was said with its latest status.
            message: String = text["message"];
            /// Why it failed.
            error: String = text["error"];
        }
    }
    /// Somebody who uses the platform. What is masked for you is null.
    User (user: UserConnection, UserEdge, UserChange) {
        /// The organization.
        organization_id: Organization;
        {
            /// The name.
            name: String = text["name"];
            /// The name to show.
            display_name: String = text["displayName"];
            /// Where mail goes.
            email: String = text["email"];
            /// The status, any word.
            status: String = text["status"];
        }
    }
    /// Something that an agent is asked to do. What is masked for you is null.
    Task (task: TaskConnection, TaskEdge, TaskChange) {
        /// Its organization.
        organization_id: Organization;
        /// Its domain.
        domain_id: Domain;
        /// Its owner, in whose room its events are.
        user_id: User;
        /// The agent that works on it.
        agent_id: Agent;
        {
            /// Its name or title.
            name: String = text["name"];
            /// What is asked for, for people.
            description: String = text["description"];
            /// `created`, `started`, `paused`, `completed`, `failed` or `cancelled`.
            status: String = text["status"];
            /// How far it is, as whoever works on it counts.
            progress: f64 = number["progress"];
            /// What was said with its latest status or progress.
            message: String = text["message"];
            /// What came of it.
            result: JsonText = json["result"];
            /// Why it failed.
            error: String = text["error"];
        }
    }
}
