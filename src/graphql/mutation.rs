//! Publishing.

use super::{
    administer::{self, RevocationInput},
    chat::ChatMutation,
    draft::{NewEventInput, at_index},
    error::graphql_error,
    hub,
    notifications::NotificationMutation,
    presence::{self, PresenceStatus},
    principal,
    resource::ResourceMutation,
    scalars::{Count, CursorText},
};
use crate::{
    error::{Code, Refusal},
    event::NewEvent,
    hub::Hub,
    log::Appended,
};
use async_graphql::{Context, ID, Object, Result, SimpleObject};

/// The answer to one published event: it is on stable storage, or, with `persist: false`, on its way to those who follow.
#[derive(Debug, SimpleObject)]
pub(super) struct Published {
    /// The event's id.
    id: ID,
    /// Its place in the log; for a repeat, where the first one stands; with `persist: false`, the place behind which it came.
    cursor: CursorText,
    /// Was the same event (source, id and body) in the log already? Never with `persist: false`.
    duplicate: bool,
}

impl Published {
    fn new(id: ID, appended: Appended) -> Self {
        Published { id, cursor: appended.cursor.into(), duplicate: appended.duplicate }
    }
}

/// What changes something.
#[derive(Clone, Copy, Debug)]
pub struct Mutation;

/// What changes something.
#[Object]
impl Mutation {
    #[graphql(flatten)]
    async fn notifications(&self) -> NotificationMutation {
        NotificationMutation
    }

    #[graphql(flatten)]
    async fn chat(&self) -> ChatMutation {
        ChatMutation
    }

    #[graphql(flatten)]
    async fn resources(&self) -> ResourceMutation {
        ResourceMutation
    }

    /// Publishes an event and answers once it is on stable storage.
    async fn publish(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The event.")] event: NewEventInput,
    ) -> Result<Published> {
        let event = event.check(hub(ctx).limits()).map_err(graphql_error)?;
        publish_one(ctx, event).await.map_err(graphql_error)
    }

    /// Says what you do, and answers for how many of your connections that holds: over a WebSocket for this one, over HTTP for all
    /// of the signed-in user. `presence.changed` tells the others.
    async fn set_presence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What you do.")] status: PresenceStatus,
        #[graphql(desc = "Only for this connection, which must be yours.")] connection_id: Option<ID>,
    ) -> Result<Count> {
        presence::set(ctx, status, connection_id)
    }

    /// Ends a connection; true if there was one of this id. For administrators.
    async fn disconnect(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
    ) -> Result<bool> {
        administer::disconnect(ctx, &connection_id).await
    }

    /// Ends a subscription, which is told where it stopped; true if there was one of this id. For administrators.
    async fn unsubscribe(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The connection.")] connection_id: ID,
        #[graphql(desc = "The subscription, as the connection's client names it.")] subscription_id: ID,
    ) -> Result<bool> {
        administer::unsubscribe(ctx, &connection_id, &subscription_id).await
    }

    /// Accepts something no more, from now on and after a restart; whoever is connected by it is disconnected within a second.
    /// For administrators.
    async fn revoke(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What is no longer accepted.")] what: RevocationInput,
    ) -> Result<bool> {
        administer::revoke(ctx, what).await
    }

    /// Reads the policy again; connections stay and go on under the new one. One that is wrong changes nothing. For
    /// administrators.
    async fn reload_policy(&self, ctx: &Context<'_>) -> Result<bool> {
        administer::reload_policy(ctx).await
    }

    /// Publishes events in their order, all or none, and answers once they are on stable storage. At most as many as the setting `batch_max` says.
    async fn publish_all(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The events, in order.")] events: Vec<NewEventInput>,
    ) -> Result<Vec<Published>> {
        let hub = hub(ctx);
        hub.limits().check_batch(events.len()).map_err(graphql_error)?;
        let checked = events.into_iter().enumerate().map(|(index, event)| {
            event.check(hub.limits()).map_err(|refusal| graphql_error(at_index(refusal, index)))
        });
        let checked = checked.collect::<Result<Vec<_>>>()?;
        append(ctx, hub, checked).await.map_err(|refusal| {
            let index = refusal.detail("index").and_then(|index| index.parse().ok());
            graphql_error(match index {
                Some(index) => at_index(refusal, index),
                None => refusal,
            })
        })
    }
}

/// Publishes an event for the caller. Fails as [`Hub::publish`] does.
pub(super) async fn publish_one(ctx: &Context<'_>, event: NewEvent) -> Result<Published, Refusal> {
    let mut published = append(ctx, hub(ctx), vec![event]).await?;
    published.pop().ok_or_else(|| Refusal::new(Code::Internal, "the log gave no answer for the event"))
}

async fn append(ctx: &Context<'_>, hub: &Hub, events: Vec<NewEvent>) -> Result<Vec<Published>, Refusal> {
    let ids: Vec<_> = events.iter().map(|event| ID::from(event.id())).collect();
    let appended = hub.publish(&principal(ctx), events).await?;
    Ok(ids.into_iter().zip(appended).map(|(id, appended)| Published::new(id, appended)).collect())
}
