//! Changing resources. Each field answers once the change and its event are on stable storage, in one commit.

use super::{
    inputs::{
        AgentUpdate, DomainUpdate, InstanceUpdate, NewAgent, NewDeployment, NewDomain, NewInstance,
        NewOrganization, NewTask, NewUser, OrganizationUpdate, TaskUpdate, UserUpdate, fields,
    },
    objects::{
        AgentChange, DeploymentChange, DomainChange, InstanceChange, OrganizationChange, TaskChange,
        UserChange,
    },
    query::which,
    resources,
};
use crate::{
    graphql::{
        error::graphql_error,
        principal,
        scalars::{Count, JsonText},
    },
    platform::resources::{Fields, Kind, Made, Verb, Which},
};
use async_graphql::{Context, ID, Object, Result};

/// What changes resources. The root of mutations shows its fields as its own; it is no type of the schema.
#[derive(Clone, Copy, Debug)]
pub(in crate::graphql) struct ResourceMutation;

async fn create<T: From<Made>>(ctx: &Context<'_>, kind: Kind, fields: impl Into<Fields>) -> Result<T> {
    let made = resources(ctx).create(&principal(ctx), kind, fields.into()).await;
    made.map(T::from).map_err(graphql_error)
}

async fn update<T: From<Made>>(
    ctx: &Context<'_>,
    which: Which,
    changes: impl Into<Fields>,
    expected_version: Option<Count>,
) -> Result<T> {
    let expected = expected_version.map(|count| count.0);
    let made = resources(ctx).update(&principal(ctx), &which, changes.into(), expected).await;
    made.map(T::from).map_err(graphql_error)
}

async fn transition<T: From<Made>>(
    ctx: &Context<'_>,
    which: Which,
    (verb, fields): (Verb, Fields),
    expected_version: Option<Count>,
) -> Result<T> {
    let expected = expected_version.map(|count| count.0);
    let made = resources(ctx).transition(&principal(ctx), &which, verb, fields, expected).await;
    made.map(T::from).map_err(graphql_error)
}

async fn delete<T: From<Made>>(
    ctx: &Context<'_>,
    which: Which,
    expected_version: Option<Count>,
) -> Result<T> {
    let expected = expected_version.map(|count| count.0);
    let made = resources(ctx).delete(&principal(ctx), &which, expected).await;
    made.map(T::from).map_err(graphql_error)
}

/// Each kind with its fields: to create, to update where that can be, to delete; then the transitions, with the fields
/// that each takes.
macro_rules! mutations {
    (
        kinds { $(
            $kind:ident: $change:ident {
                create { $(#[$create_doc:meta])* $create:ident($argument:ident: $new:ident) }
                $(update { $(#[$update_doc:meta])* $update:ident($updated:ident $(of $updated_of:ident)?) })?
                delete { $(#[$delete_doc:meta])* $delete:ident($(of $deleted_of:ident)?) }
            }
        )* }
        transitions {
            $(
                $(#[$verb_doc:meta])*
                $verb_field:ident($verb_kind:ident $verb:ident $($given_name:literal $given:ident: $given_kind:ty = $given_doc:literal),*)
                    -> $verb_change:ident;
            )*
        }
    ) => {
        /// What changes resources.
        #[Object]
        impl ResourceMutation {
            $(
                $(#[$create_doc])*
                async fn $create(
                    &self,
                    ctx: &Context<'_>,
                    #[graphql(desc = "What to create.")] $argument: $new,
                ) -> Result<$change> {
                    create(ctx, Kind::$kind, $argument).await
                }

                $(
                    $(#[$update_doc])*
                    async fn $update(
                        &self,
                        ctx: &Context<'_>,
                        #[graphql(desc = "Its id.")] id: ID,
                        $(
                            #[graphql(desc = "Its organization, where several have one of this id.")]
                            $updated_of: Option<ID>,
                        )?
                        #[graphql(desc = "The other values.")] changes: $updated,
                        #[graphql(desc = "Refuse with `CONFLICT` unless this is its version.")]
                        expected_version: Option<Count>,
                    ) -> Result<$change> {
                        let which = Which::new(Kind::$kind, id)$(.of($updated_of.map(|id| id.0)))?;
                        update(ctx, which, changes, expected_version).await
                    }
                )?

                $(#[$delete_doc])*
                async fn $delete(
                    &self,
                    ctx: &Context<'_>,
                    #[graphql(desc = "Its id.")] id: ID,
                    $(
                        #[graphql(desc = "Its organization, where several have one of this id.")]
                        $deleted_of: Option<ID>,
                    )?
                    #[graphql(desc = "Refuse with `CONFLICT` unless this is its version.")]
                    expected_version: Option<Count>,
                ) -> Result<$change> {
                    let which = Which::new(Kind::$kind, id)$(.of($deleted_of.map(|id| id.0)))?;
                    delete(ctx, which, expected_version).await
                }
            )*

            $(
                $(#[$verb_doc])*
                async fn $verb_field(
                    &self,
                    ctx: &Context<'_>,
                    #[graphql(desc = "Its id.")] id: ID,
                    #[graphql(desc = "Its organization, where several have one of this id.")]
                    organization_id: Option<ID>,
                    $(#[graphql(desc = $given_doc)] $given: $given_kind,)*
                    #[graphql(desc = "Refuse with `CONFLICT` unless this is its version.")]
                    expected_version: Option<Count>,
                ) -> Result<$verb_change> {
                    let given = fields! { $($given_name: $given,)* };
                    let which = which(Kind::$verb_kind, id, organization_id);
                    transition(ctx, which, (Verb::$verb, given), expected_version).await
                }
            )*
        }
    };
}

mutations! {
    kinds {
        Organization: OrganizationChange {
            create {
                /// Creates an organization: `organization.created`.
                create_organization(organization: NewOrganization)
            }
            update {
                /// Changes an organization: `organization.updated`.
                update_organization(OrganizationUpdate)
            }
            delete {
                /// Deletes an organization to which nothing belongs any more: `organization.deleted`.
                delete_organization()
            }
        }
        Domain: DomainChange {
            create {
                /// Creates a domain: `domain.created`.
                create_domain(domain: NewDomain)
            }
            update {
                /// Changes a domain: `domain.updated`.
                update_domain(DomainUpdate of organization_id)
            }
            delete {
                /// Deletes a domain to which nothing belongs any more: `domain.deleted`.
                delete_domain(of organization_id)
            }
        }
        Instance: InstanceChange {
            create {
                /// Creates an instance: `instance.created`.
                create_instance(instance: NewInstance)
            }
            update {
                /// Changes an instance: `instance.updated`.
                update_instance(InstanceUpdate of organization_id)
            }
            delete {
                /// Deletes an instance to which no deployment is on its way: `instance.deleted`.
                delete_instance(of organization_id)
            }
        }
        Agent: AgentChange {
            create {
                /// Creates an agent: `agent.created`.
                create_agent(agent: NewAgent)
            }
            update {
                /// Changes an agent: `agent.updated`.
                update_agent(AgentUpdate of organization_id)
            }
            delete {
                /// Deletes an agent that has no task which is not over: `agent.deleted`.
                delete_agent(of organization_id)
            }
        }
        Deployment: DeploymentChange {
            create {
                /// Starts a deployment: `deployment.started`.
                start_deployment(deployment: NewDeployment)
            }
            delete {
                /// Deletes a deployment: `deployment.deleted`.
                delete_deployment(of organization_id)
            }
        }
        User: UserChange {
            create {
                /// Creates a user: `user.created`.
                create_user(user: NewUser)
            }
            update {
                /// Changes a user: `user.updated`.
                update_user(UserUpdate of organization_id)
            }
            delete {
                /// Deletes a user who owns no task: `user.deleted`.
                delete_user(of organization_id)
            }
        }
        Task: TaskChange {
            create {
                /// Creates a task: `task.created`.
                create_task(task: NewTask)
            }
            update {
                /// Changes a task: `task.updated`.
                update_task(TaskUpdate of organization_id)
            }
            delete {
                /// Deletes a task: `task.deleted`.
                delete_task(of organization_id)
            }
        }
    }
    transitions {
        /// Gives an agent another status: `agent.status_changed`.
        set_agent_status(Agent SetStatus
            "status" status: String = "The status, a word such as `working`.",
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> AgentChange;
        /// Ends a deployment well: `deployment.completed`.
        complete_deployment(Deployment Complete
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> DeploymentChange;
        /// Ends a deployment badly: `deployment.failed`.
        fail_deployment(Deployment Fail
            "error" error: Option<String> = "Why; 4 KiB at most.",
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> DeploymentChange;
        /// Starts a task that was created: `task.started`.
        start_task(Task Start
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Says how far a task is that was started: `task.progress`.
        progress_task(Task Progress
            "progress" progress: f64 = "How far it is, as you count; 0 or more.",
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Lets a task wait that was started: `task.status`.
        pause_task(Task Pause
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Goes on with a task that was paused: `task.status`.
        resume_task(Task Resume
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Ends a task well that was started: `task.completed`.
        complete_task(Task Complete
            "result" result: Option<JsonText> = "What came of it; 64 KiB at most.",
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Ends a task badly that is not over: `task.failed`.
        fail_task(Task Fail
            "error" error: Option<String> = "Why; 4 KiB at most.",
            "message" message: Option<String> = "What to say with it; 4 KiB at most."
        ) -> TaskChange;
        /// Ends a task that is not over, because nobody wants it any more: `task.cancelled`.
        cancel_task(Task Cancel
            "message" message: Option<String> = "Why; 4 KiB at most."
        ) -> TaskChange;
    }
}
