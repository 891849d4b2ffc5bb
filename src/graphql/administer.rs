//! The fields for administrators, and what callers may know about themselves.
//!
//! Invariants: nothing of others is shown or ended for anybody but an administrator.

use super::{
    Administration, Connected, Following,
    error::graphql_error,
    principal,
    scalars::{Count, CursorText, JsonText, Time},
};
use crate::{
    auth::{Credential, Principal, Revocation, audit::Entry},
    error::{Code, Refusal},
};
use async_graphql::{Context, ID, Object, OneofObject, Result, SimpleObject};

/// The most connections of a page.
const CONNECTIONS_MAX: i32 = 1_000;

/// Who asks.
#[derive(Debug)]
pub(super) struct Caller(pub(super) Principal);

/// Who asks, and what that allows.
#[Object]
impl Caller {
    /// The name: the subject of the token.
    async fn subject(&self) -> &str {
        self.0.subject()
    }

    /// Was a credential sent?
    async fn signed_in(&self) -> bool {
        self.0.signed_in().is_some()
    }

    /// May this caller see and end what belongs to others?
    async fn admin(&self) -> bool {
        self.0.grant().is_admin()
    }

    /// What may be read, for people.
    async fn reads(&self) -> String {
        self.0.grant().to_string()
    }

    /// When the credential ends; null: never.
    async fn expires_at(&self) -> Option<Time> {
        self.0.expires_at().map(Time)
    }
}

/// Somebody who is connected by a WebSocket or a stream.
#[derive(Debug, SimpleObject)]
#[graphql(name = "ConnectedClient")]
pub(super) struct ConnectedObject {
    /// The connection's number on this server; never given twice until the server starts again.
    id: ID,
    /// What others call it: the `connectionId` of `presence`, and of events about it.
    connection_id: ID,
    /// Who it is; null until it has said so.
    subject: Option<String>,
    /// When its credential ends; null: never.
    expires_at: Option<Time>,
    /// Since when it is connected.
    since: Time,
    /// What it speaks: `graphql-transport-ws`, `json-rpc`, `graphql-sse` and the like.
    protocol: &'static str,
    /// The address and port of the peer.
    address: Option<String>,
}

impl From<Connected> for ConnectedObject {
    fn from(connected: Connected) -> Self {
        let Connected { id, name, principal, since, protocol, address } = connected;
        ConnectedObject {
            id: id.into(),
            connection_id: ID(name.to_string()),
            subject: principal.as_ref().map(|principal| principal.subject().to_owned()),
            expires_at: principal.as_ref().and_then(Principal::expires_at).map(Time),
            since: Time(since),
            protocol,
            address: address.map(|address| address.to_string()),
        }
    }
}

/// A page of connections.
#[derive(Debug, SimpleObject)]
pub(super) struct ConnectionList {
    /// The connections.
    nodes: Vec<ConnectedObject>,
    /// How many there are in all.
    total: Count,
    /// The id to go on after; null: there are no more.
    next: Option<ID>,
}

/// What a connection follows.
#[derive(Debug, SimpleObject)]
#[graphql(name = "ConnectedSubscription")]
pub(super) struct FollowingObject {
    /// The client's name for it: the id of its operation, or `gateway`.
    id: ID,
    /// In which form events are shown: a canonical GraphQL document, or the name of another form.
    form: String,
    /// The filter as it was asked for; the grant narrows it.
    filter: JsonText,
    /// Every matching event up to here has been given to the connection.
    position: CursorText,
    /// So many events of the log, matching or not, come after the position.
    lag: Count,
    /// So many bytes wait in the server for the connection.
    queued_bytes: Count,
}

impl From<Following> for FollowingObject {
    fn from(following: Following) -> Self {
        let Following { id, form, filter, position, lag, waiting_bytes } = following;
        FollowingObject {
            id: id.into(),
            form,
            filter: JsonText(filter),
            position: CursorText(position),
            lag: Count(lag),
            queued_bytes: Count(waiting_bytes as u64),
        }
    }
}

/// What is no longer accepted. Give one field.
#[derive(Debug, OneofObject)]
#[graphql(name = "Revocation")]
pub(super) enum RevocationInput {
    /// Every credential of this subject that was issued until now.
    Subject(String),
    /// The token of this id (claim `jti`).
    TokenId(String),
    /// The signing key or the API key of this id.
    KeyId(String),
}

/// Fails with `FORBIDDEN`, or `UNAUTHENTICATED` where nobody is signed in.
pub(super) fn only_admin(ctx: &Context<'_>) -> Result<()> {
    let principal = principal(ctx);
    if principal.grant().is_admin() {
        return Ok(());
    }
    let code = match principal.credential() {
        Credential::None => Code::Unauthenticated,
        Credential::Token { .. } | Credential::ApiKey { .. } => Code::Forbidden,
    };
    Err(graphql_error(Refusal::new(code, "this is for administrators")))
}

fn administration<'a>(ctx: &Context<'a>) -> Result<&'a Administration> {
    only_admin(ctx)?;
    let missing = || graphql_error(Refusal::new(Code::Unavailable, "nobody is connected to this schema"));
    ctx.data_opt::<Administration>().ok_or_else(missing)
}

/// A connection's number. What is none names no connection.
fn number(id: &str) -> Result<u64> {
    let unknown = || Refusal::field(Code::NotFound, "connectionId", id, "the id of a connection");
    id.parse().map_err(|_| graphql_error(unknown()))
}

/// Records that an administrator looks at what belongs to others.
pub(super) fn record_read(ctx: &Context<'_>, what: &str) {
    let principal = principal(ctx);
    principal.record(Entry::admin_read(&principal, what));
}

/// Records what an administrator decided. Fails with `UNAVAILABLE`: then it is not done.
async fn commit(ctx: &Context<'_>, entry: impl FnOnce(&Principal) -> Entry) -> Result<()> {
    let principal = principal(ctx);
    principal.commit(entry(&principal)).await.map_err(graphql_error)
}

pub(super) fn connections(ctx: &Context<'_>, first: i32, after: Option<ID>) -> Result<ConnectionList> {
    let administration = administration(ctx)?;
    record_read(ctx, "connections");
    let wrong = || {
        let allowed = format!("1 to {CONNECTIONS_MAX}");
        graphql_error(Refusal::field(Code::BadRequest, "first", &first.to_string(), allowed))
    };
    let count =
        usize::try_from(first).ok().filter(|_| (1..=CONNECTIONS_MAX).contains(&first)).ok_or_else(wrong)?;
    let after = after.map(|id| number(&id)).transpose()?;
    // One more than asked for tells whether there are more.
    let mut page = administration.connections.page(count + 1, after);
    let has_more = page.len() > count;
    page.truncate(count);
    let next = page.last().filter(|_| has_more).map(|last| last.id.into());
    let total = Count(administration.connections.count() as u64);
    Ok(ConnectionList { nodes: page.into_iter().map(ConnectedObject::from).collect(), total, next })
}

pub(super) async fn subscriptions(ctx: &Context<'_>, connection: &str) -> Result<Vec<FollowingObject>> {
    let administration = administration(ctx)?;
    record_read(ctx, "subscriptions");
    let found = administration.connections.subscriptions(number(connection)?).await;
    Ok(found.map_err(graphql_error)?.into_iter().map(FollowingObject::from).collect())
}

pub(super) async fn disconnect(ctx: &Context<'_>, connection: &str) -> Result<bool> {
    let connections = &administration(ctx)?.connections;
    let number = number(connection)?;
    let Some(connected) = connections.find(number) else { return Ok(false) };
    let subject = connected.principal.as_ref().map_or("", Principal::subject).to_owned();
    commit(ctx, |admin| Entry::disconnected(admin, connection, &subject)).await?;
    Ok(connections.disconnect(number))
}

pub(super) async fn unsubscribe(ctx: &Context<'_>, connection: &str, subscription: &str) -> Result<bool> {
    let connections = &administration(ctx)?.connections;
    let number = number(connection)?;
    if connections.find(number).is_some() {
        commit(ctx, |admin| Entry::unsubscribed(admin, connection, subscription)).await?;
    }
    connections.unsubscribe(number, subscription).await.map_err(graphql_error)
}

pub(super) async fn revoke(ctx: &Context<'_>, what: RevocationInput) -> Result<bool> {
    let what = match what {
        RevocationInput::Subject(subject) => Revocation::Subject(subject.into()),
        RevocationInput::TokenId(id) => Revocation::Token(id.into()),
        RevocationInput::KeyId(id) => Revocation::Key(id.into()),
    };
    let authority = &administration(ctx)?.authority;
    commit(ctx, |admin| Entry::revoked(admin, &what)).await?;
    authority.revoke(what).await.map_err(graphql_error)?;
    Ok(true)
}

pub(super) async fn reload_policy(ctx: &Context<'_>) -> Result<bool> {
    administration(ctx)?.authority.reload(Some(&principal(ctx))).await.map_err(graphql_error)?;
    Ok(true)
}
