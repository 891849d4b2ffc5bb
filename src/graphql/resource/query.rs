//! Looking at resources: one by its id, and pages of a kind.

use super::{
    objects::{
        Agent, AgentConnection, Deployment, DeploymentConnection, Domain, DomainConnection, Instance,
        InstanceConnection, Listed, Organization, OrganizationConnection, Task, TaskConnection, User,
        UserConnection,
    },
    resources,
};
use crate::{
    event::{self, EventFilter, FilterDraft},
    graphql::{error::graphql_error, filter::ids, principal, scalars::CursorText},
    platform::resources::{Kind, List, Which},
};
use async_graphql::{Context, ID, Object, Result};
use std::sync::Arc;

/// What can be asked about resources. The root of queries shows its fields as its own; it is no type of the schema.
#[derive(Clone, Copy, Debug)]
pub(in crate::graphql) struct ResourceQuery;

/// What the pages of all kinds have in common.
struct Asked {
    organization_id: Option<Vec<ID>>,
    domain_id: Option<Vec<ID>>,
    status: Option<Vec<String>>,
    first: Option<i32>,
    after: Option<CursorText>,
}

/// The resource, or why not. This way round a refusal makes the field null; `Result<Option<_>>` would make null of its parent and
/// so of all fields beside it (async-graphql 8.0.0-rc.5).
async fn one<T: From<Arc<event::Event>>>(ctx: &Context<'_>, which: Which) -> Option<Result<T>> {
    let found = resources(ctx).get(&principal(ctx), &which).await.map_err(graphql_error).transpose()?;
    Some(found.map(|resource| Arc::clone(resource.event()).into()))
}

async fn page<T: From<Listed>>(
    ctx: &Context<'_>,
    kind: Kind,
    asked: Asked,
    further: FilterDraft,
) -> Result<T> {
    let Asked { organization_id, domain_id, status, first, after } = asked;
    let draft = FilterDraft { organization_id: ids(organization_id), domain_id: ids(domain_id), ..further };
    let listed = async {
        let (filter, resources) = (EventFilter::new(draft)?, resources(ctx));
        let (first, after) = (first.map(i64::from), after.map(|place| place.0));
        let page = resources.list(&principal(ctx), List { kind, filter, status, first, after }).await?;
        Ok(Listed { resources, page })
    };
    listed.await.map(T::from).map_err(graphql_error)
}

/// What can be asked about resources.
#[Object]
impl ResourceQuery {
    /// An organization; null where there is none that you may read.
    async fn organization(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Option<Result<Organization>> {
        one(ctx, Which::new(Kind::Organization, id)).await
    }

    /// Organizations, in the order of their ids.
    // A fixed factor: read here, an argument whose variable is left out would be an error (async-graphql 8.0.0-rc.5).
    #[graphql(complexity = "10 * child_complexity")]
    async fn organizations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<OrganizationConnection> {
        let asked = Asked { organization_id: None, domain_id: None, status, first, after };
        page(ctx, Kind::Organization, asked, FilterDraft::default()).await
    }

    /// A domain; null where there is none that you may read.
    async fn domain(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Its organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<Domain>> {
        one(ctx, which(Kind::Domain, id, organization_id)).await
    }

    /// Domains, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    async fn domains(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<DomainConnection> {
        let asked = Asked { organization_id, domain_id: None, status, first, after };
        page(ctx, Kind::Domain, asked, FilterDraft::default()).await
    }

    /// An instance; null where there is none that you may read.
    async fn instance(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Its organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<Instance>> {
        one(ctx, which(Kind::Instance, id, organization_id)).await
    }

    /// Instances, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    async fn instances(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only of these domains.")] domain_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<InstanceConnection> {
        let asked = Asked { organization_id, domain_id, status, first, after };
        page(ctx, Kind::Instance, asked, FilterDraft::default()).await
    }

    /// An agent; null where there is none that you may read.
    async fn agent(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Its organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<Agent>> {
        one(ctx, which(Kind::Agent, id, organization_id)).await
    }

    /// Agents, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    async fn agents(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only of these domains.")] domain_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<AgentConnection> {
        let asked = Asked { organization_id, domain_id, status, first, after };
        page(ctx, Kind::Agent, asked, FilterDraft::default()).await
    }

    /// A deployment; null where there is none that you may read.
    async fn deployment(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Its organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<Deployment>> {
        one(ctx, which(Kind::Deployment, id, organization_id)).await
    }

    /// Deployments, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn deployments(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only of these domains.")] domain_id: Option<Vec<ID>>,
        #[graphql(desc = "Only to these instances.")] instance_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<DeploymentConnection> {
        let asked = Asked { organization_id, domain_id, status, first, after };
        let further = FilterDraft { instance_id: ids(instance_id), ..FilterDraft::default() };
        page(ctx, Kind::Deployment, asked, further).await
    }

    /// A user; null where there is none that you may read.
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id.")] id: ID,
        #[graphql(desc = "The organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<User>> {
        one(ctx, which(Kind::User, id, organization_id)).await
    }

    /// Users, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<UserConnection> {
        let asked = Asked { organization_id, domain_id: None, status, first, after };
        page(ctx, Kind::User, asked, FilterDraft::default()).await
    }

    /// A task; null where there is none that you may read.
    async fn task(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
        #[graphql(desc = "Its organization, where several have one of this id.")] organization_id: Option<ID>,
    ) -> Option<Result<Task>> {
        one(ctx, which(Kind::Task, id, organization_id)).await
    }

    /// Tasks, in the order of their organizations and ids.
    #[graphql(complexity = "10 * child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn tasks(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only of these organizations.")] organization_id: Option<Vec<ID>>,
        #[graphql(desc = "Only of these domains.")] domain_id: Option<Vec<ID>>,
        #[graphql(desc = "Only of these owners.")] user_id: Option<Vec<ID>>,
        #[graphql(
            desc = "Only those on which these agents work. A task that is given to another agent is not told to those who follow the \
                    one before."
        )]
        agent_id: Option<Vec<ID>>,
        #[graphql(desc = "Only with one of these statuses.")] status: Option<Vec<String>>,
        #[graphql(desc = "So many, 1 to 1,000; 50 where it is left out.")] first: Option<i32>,
        #[graphql(desc = "Only those after this place in the list.")] after: Option<CursorText>,
    ) -> Result<TaskConnection> {
        let asked = Asked { organization_id, domain_id, status, first, after };
        let further =
            FilterDraft { user_id: ids(user_id), agent_id: ids(agent_id), ..FilterDraft::default() };
        page(ctx, Kind::Task, asked, further).await
    }
}

/// The resource that the arguments of a field name.
pub(super) fn which(kind: Kind, id: ID, organization_id: Option<ID>) -> Which {
    Which::new(kind, id).of(organization_id.map(|id| id.0))
}
