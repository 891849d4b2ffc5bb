//! The scope flags of `publish` (one id each) and `tail` (any number of ids each).

use clap::Args;
use fanfare::event::{Draft, ScopeField};
use serde_json::{Map, Value};

macro_rules! scope_arguments {
    ($($(#[$doc:meta])* $flag:ident $field:ident;)*) => {
        /// The ids of one event.
        #[derive(Debug, Args)]
        pub(super) struct ScopeOfEvent {
            $($(#[$doc])* #[arg(long, value_name = "ID", help_heading = "Scope")] $flag: Option<String>,)*
        }

        /// The ids that an event may have; each flag may be repeated.
        #[derive(Debug, Default, Args)]
        pub(super) struct ScopeOfFilter {
            $($(#[$doc])* #[arg(long, value_name = "ID", help_heading = "Scope")] pub(super) $flag: Vec<String>,)*
        }

        impl ScopeOfEvent {
            /// Puts the ids into a draft.
            pub(super) fn fill(self, draft: &mut Draft) {
                $(*draft.scope_mut(ScopeField::$field) = self.$flag;)*
            }
        }

        impl ScopeOfFilter {
            /// Puts the lists of ids into a filter.
            pub(super) fn fill(self, filter: &mut Map<String, Value>) {
                $(if !self.$flag.is_empty() {
                    filter.insert(ScopeField::$field.camel().to_owned(), self.$flag.into());
                })*
            }
        }
    };
}

scope_arguments! {
    /// Organization it concerns.
    org Organization;
    /// Domain it concerns.
    domain Domain;
    /// Instance it concerns.
    instance Instance;
    /// Agent it concerns.
    agent Agent;
    /// Task it concerns.
    task Task;
    /// Workflow it concerns.
    workflow Workflow;
    /// User it concerns.
    user User;
    /// Room it concerns.
    room Room;
}

/// The flag of a scope field without its dashes: how the human output names ids, too.
pub(super) fn short_name(field: ScopeField) -> &'static str {
    match field {
        ScopeField::Organization => "org",
        ScopeField::Domain => "domain",
        ScopeField::Instance => "instance",
        ScopeField::Agent => "agent",
        ScopeField::Task => "task",
        ScopeField::Workflow => "workflow",
        ScopeField::User => "user",
        ScopeField::Room => "room",
    }
}
