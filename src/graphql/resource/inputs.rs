//! The fields of resources as clients write them.
//!
//! Not here: which of them a kind has and how long they may be (`platform`), which refuses what is wrong.

use crate::{graphql::scalars::JsonText, platform::resources::Fields};
use async_graphql::{ID, InputObject, MaybeUndefined};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// A value of a field, given or not.
trait Given {
    fn give(self, name: &str, fields: Fields) -> Fields;
}

impl Given for String {
    fn give(self, name: &str, fields: Fields) -> Fields {
        fields.with(name, self)
    }
}

impl Given for ID {
    fn give(self, name: &str, fields: Fields) -> Fields {
        fields.with(name, self.0)
    }
}

impl Given for f64 {
    fn give(self, name: &str, fields: Fields) -> Fields {
        fields.with(name, self)
    }
}

impl Given for JsonText {
    fn give(self, name: &str, fields: Fields) -> Fields {
        let value = RawValue::from_string(self.0).or_else(|_| to_raw_value(&()));
        fields.with_raw(name, value.expect("null is JSON"))
    }
}

impl<T: Given> Given for Option<T> {
    fn give(self, name: &str, fields: Fields) -> Fields {
        match self {
            Some(value) => value.give(name, fields),
            None => fields,
        }
    }
}

impl<T: Given> Given for MaybeUndefined<T> {
    fn give(self, name: &str, fields: Fields) -> Fields {
        match self {
            MaybeUndefined::Undefined => fields,
            MaybeUndefined::Null => fields.with(name, Value::Null),
            MaybeUndefined::Value(value) => value.give(name, fields),
        }
    }
}

/// The fields that a transition takes.
macro_rules! fields {
    ($($name:literal: $value:expr),* $(,)?) => {{
        let fields = $crate::platform::resources::Fields::new();
        $(let fields = $crate::graphql::resource::inputs::give($value, $name, fields);)*
        fields
    }};
}
pub(super) use fields;

/// A value in its place.
#[expect(private_bounds)]
pub(super) fn give(value: impl Given, name: &str, fields: Fields) -> Fields {
    value.give(name, fields)
}

macro_rules! inputs {
    ($(
        $(#[$doc:meta])*
        $input:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $name:literal;)* }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, InputObject)]
            pub(in crate::graphql) struct $input {
                $($(#[$field_doc])* $field: $kind,)*
            }

            impl From<$input> for Fields {
                fn from(given: $input) -> Self {
                    let fields = Fields::new();
                    $(let fields = given.$field.give($name, fields);)*
                    fields
                }
            }
        )*
    };
}

inputs! {
    /// An organization to create.
    NewOrganization {
        /// Its id, which no other organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its name, 256 bytes at most.
        name: String = "name";
        /// The name to show, 256 bytes at most.
        display_name: Option<String> = "displayName";
        /// What it is, for people; 16 KiB at most.
        description: Option<String> = "description";
        /// Its status, a word.
        status: Option<String> = "status";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of an organization: null clears, what is absent stays.
    OrganizationUpdate {
        /// Its name.
        name: MaybeUndefined<String> = "name";
        /// The name to show.
        display_name: MaybeUndefined<String> = "displayName";
        /// What it is, for people.
        description: MaybeUndefined<String> = "description";
        /// Its status, a word.
        status: MaybeUndefined<String> = "status";
        /// Whatever the application keeps with it.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
    /// A domain to create.
    NewDomain {
        /// Its id, which no other domain of the organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its organization; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// Its name, 256 bytes at most.
        name: String = "name";
        /// The name to show, 256 bytes at most.
        display_name: Option<String> = "displayName";
        /// What it is, for people; 16 KiB at most.
        description: Option<String> = "description";
        /// Its status, a word.
        status: Option<String> = "status";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of a domain: null clears, what is absent stays.
    DomainUpdate {
        /// Its name.
        name: MaybeUndefined<String> = "name";
        /// The name to show.
        display_name: MaybeUndefined<String> = "displayName";
        /// What it is, for people.
        description: MaybeUndefined<String> = "description";
        /// Its status, a word.
        status: MaybeUndefined<String> = "status";
        /// Whatever the application keeps with it.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
    /// An instance to create.
    NewInstance {
        /// Its id, which no other instance of the organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its organization; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// Its domain.
        domain_id: Option<ID> = "domainId";
        /// Its name, 256 bytes at most.
        name: String = "name";
        /// Its status, a word.
        status: Option<String> = "status";
        /// What it runs, such as `1.4.2`; 128 bytes at most.
        release: Option<String> = "release";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of an instance: null clears, what is absent stays.
    InstanceUpdate {
        /// Its name.
        name: MaybeUndefined<String> = "name";
        /// Its status, a word.
        status: MaybeUndefined<String> = "status";
        /// What it runs.
        release: MaybeUndefined<String> = "release";
        /// Whatever the application keeps with it.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
    /// An agent to create.
    NewAgent {
        /// Its id, which no other agent of the organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its organization; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// Its domain.
        domain_id: Option<ID> = "domainId";
        /// Its name, 256 bytes at most.
        name: String = "name";
        /// The name to show, 256 bytes at most.
        display_name: Option<String> = "displayName";
        /// What it is, for people; 16 KiB at most.
        description: Option<String> = "description";
        /// Its status, a word; `idle` where it is left out.
        status: Option<String> = "status";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of an agent: null clears, what is absent stays. Its status is changed by `setAgentStatus`.
    AgentUpdate {
        /// Its name.
        name: MaybeUndefined<String> = "name";
        /// The name to show.
        display_name: MaybeUndefined<String> = "displayName";
        /// What it is, for people.
        description: MaybeUndefined<String> = "description";
        /// Whatever the application keeps with it.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
    /// A deployment to start.
    NewDeployment {
        /// Its id, which no other deployment of the organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its organization; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// Its domain.
        domain_id: Option<ID> = "domainId";
        /// The instance that it goes to.
        instance_id: Option<ID> = "instanceId";
        /// What is deployed, such as `1.4.2`; 128 bytes at most.
        release: String = "release";
        /// Where to, such as `production`; 128 bytes at most.
        environment: Option<String> = "environment";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// A user to create.
    NewUser {
        /// The id, which no other user of the organization has; a UUIDv7 where it is left out. Whoever signs in under it gets the
        /// events that name it as `notifications`.
        id: Option<ID> = "id";
        /// The organization, where users belong to one; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// The name, 256 bytes at most.
        name: String = "name";
        /// The name to show, 256 bytes at most.
        display_name: Option<String> = "displayName";
        /// Where mail goes; 320 bytes at most.
        email: Option<String> = "email";
        /// The status, a word.
        status: Option<String> = "status";
        /// Whatever the application keeps with the user; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of a user: null clears, what is absent stays.
    UserUpdate {
        /// The name.
        name: MaybeUndefined<String> = "name";
        /// The name to show.
        display_name: MaybeUndefined<String> = "displayName";
        /// Where mail goes.
        email: MaybeUndefined<String> = "email";
        /// The status, a word.
        status: MaybeUndefined<String> = "status";
        /// Whatever the application keeps with the user.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
    /// A task to create.
    NewTask {
        /// Its id, which no other task of the organization has; a UUIDv7 where it is left out.
        id: Option<ID> = "id";
        /// Its organization, where tasks belong to one; may be left out where your grant fixes it.
        organization_id: Option<ID> = "organizationId";
        /// Its domain.
        domain_id: Option<ID> = "domainId";
        /// Its owner, in whose room its events are.
        user_id: Option<ID> = "userId";
        /// The agent that works on it.
        agent_id: Option<ID> = "agentId";
        /// Its name or title, 256 bytes at most.
        name: String = "name";
        /// What is asked for, for people; 16 KiB at most.
        description: Option<String> = "description";
        /// Whatever the application keeps with it; 64 KiB at most.
        metadata: Option<JsonText> = "metadata";
    }
    /// Other values of a task: null clears, what is absent stays. Its status is changed by `startTask` and the like.
    TaskUpdate {
        /// Its name or title.
        name: MaybeUndefined<String> = "name";
        /// What is asked for, for people.
        description: MaybeUndefined<String> = "description";
        /// The agent that works on it. Who follows the tasks of the one before is not told.
        agent_id: MaybeUndefined<ID> = "agentId";
        /// Whatever the application keeps with it.
        metadata: MaybeUndefined<JsonText> = "metadata";
    }
}
