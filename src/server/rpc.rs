//! What a JSON-RPC call does where it needs no socket; the same over POST and over WebSocket.

use super::App;
use crate::{
    auth::Principal,
    error::Refusal,
    event::{Draft, NewEvent},
    hub::HistoryRequest,
    protocol::jsonrpc::{self, Method, Page, RpcError, write_history, write_published},
};

/// Executes a call and gives its result as JSON. Calls that need a socket are refused.
pub(super) async fn answer(
    app: &App,
    principal: &Principal,
    method: Method,
    name: &str,
) -> Result<String, RpcError> {
    let result = match method {
        Method::GatewayPublish { event } | Method::EventsPublish { event } => {
            publish(app, principal, *event).await
        }
        Method::EventsPublishAll { events } => publish_all(app, principal, events).await,
        Method::EventsHistory { filter, page } => {
            history(app, principal, HistoryRequest { filter: *filter, ..request(&page) }).await
        }
        Method::Discover => Ok(jsonrpc::OPENRPC.to_owned()),
        Method::GatewayAuthenticate { .. }
        | Method::GatewaySubscribe { .. }
        | Method::GatewayUnsubscribe
        | Method::GatewaySubscription
        | Method::EventsSubscribe { .. }
        | Method::EventsUnsubscribe { .. } => return Err(Method::needs_socket_error(name)),
    };
    result.map_err(|refusal| RpcError::from(&refusal))
}

async fn publish(app: &App, principal: &Principal, draft: Draft) -> Result<String, Refusal> {
    let event = NewEvent::new(draft, app.hub.limits())?;
    log(app, principal, vec![event]).await.map(|mut published| published.swap_remove(0))
}

async fn publish_all(app: &App, principal: &Principal, drafts: Vec<Draft>) -> Result<String, Refusal> {
    app.hub.limits().check_batch(drafts.len())?;
    let checked = drafts.into_iter().enumerate().map(|(at, draft)| {
        NewEvent::new(draft, app.hub.limits()).map_err(|refusal| refusal.with("index", at.to_string()))
    });
    let published = log(app, principal, checked.collect::<Result<_, _>>()?).await?;
    Ok(format!("[{}]", published.join(",")))
}

/// Publishes and gives one encoded answer for each event.
async fn log(app: &App, principal: &Principal, events: Vec<NewEvent>) -> Result<Vec<String>, Refusal> {
    let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
    let appended = app.hub.publish(principal, events).await?;
    let answers = ids.iter().zip(appended).map(|(id, appended)| {
        let mut text = String::new();
        write_published(id, &appended.cursor, appended.duplicate, &mut text);
        text
    });
    Ok(answers.collect())
}

fn request(page: &Page) -> HistoryRequest {
    match *page {
        Page::Forward { first, after } => {
            HistoryRequest { first: first.map(Into::into), after, ..HistoryRequest::default() }
        }
        Page::Backward { last, before } => {
            HistoryRequest { last: last.map(Into::into), before, ..HistoryRequest::default() }
        }
    }
}

async fn history(app: &App, principal: &Principal, request: HistoryRequest) -> Result<String, Refusal> {
    let page = app.hub.history(principal, request).await?;
    let mut text = String::new();
    write_history(page.events.iter().map(|event| &**event), page.has_next || page.has_previous, &mut text);
    Ok(text)
}
