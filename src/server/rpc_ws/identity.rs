//! Who a JSON-RPC client is: said in the handshake, or by `gateway.authenticate`, which also renews it.
//!
//! Invariants: a refused credential leaves the connection as it was; the gateway's events begin when it is known who gets them.

use super::{Done, Outcome, RpcSpeaker, Speaker, Turn};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    fanout::Key,
    protocol::{Token, jsonrpc::RpcError},
    server::caller::Change,
};
use chrono::SecondsFormat;
use serde_json::json;
use std::sync::Arc;

/// The answer to a call of a client that has not said who it is.
pub(super) fn unknown() -> RpcError {
    RpcError::from(&Refusal::new(Code::Unauthenticated, "call gateway.authenticate first"))
}

impl RpcSpeaker {
    /// Who speaks, and the generation of its grant and view.
    pub(super) fn speaks(&self, turn: &mut Turn<'_, Done>) -> (Principal, u32) {
        let generation = turn.caller().generation();
        let principal = turn.caller().principal().cloned();
        (principal.expect("nothing begins before it is known who speaks"), generation)
    }

    /// The socket is open: finds out who is there, as far as the handshake tells.
    pub(super) fn introduce(&mut self, turn: &mut Turn<'_, Done>) {
        let known = match self.visit.introduced() {
            Some(introduced) => {
                turn.caller().sit(introduced.seat);
                Some(introduced.principal)
            }
            None => self.app.authority.is_open().then(|| self.app.everybody(&self.visit.origin)),
        };
        match known {
            None => self.ask_without(turn),
            Some(principal) => {
                if let Err(refusal) = self.adopt(&principal, turn) {
                    self.expelled(&refusal, turn);
                }
            }
        }
    }

    /// Asks whether somebody without a credential may stay; otherwise it is waited for.
    fn ask_without(&self, turn: &mut Turn<'_, Done>) {
        let (app, origin) = (self.app.clone(), Arc::clone(&self.visit.origin));
        let generation = turn.caller().generation();
        let job = async move {
            let principal = app.without_credential(&origin).await;
            Done { message: None, generation, outcome: Outcome::Authenticated(principal) }
        };
        turn.jobs().start(Key::default(), Box::pin(job));
    }

    /// Asks whose token this is.
    pub(super) fn ask(&mut self, message: Key, token: Token, turn: &mut Turn<'_, Done>) {
        let (app, origin) = (self.app.clone(), Arc::clone(&self.visit.origin));
        let generation = turn.caller().generation();
        let job = async move {
            let principal = app.authenticate(&origin, Some(&token)).await;
            Done { message: Some(message), generation, outcome: Outcome::Authenticated(principal) }
        };
        turn.jobs().start(message, Box::pin(job));
    }

    /// It is known whose credential it is; gives the result of the call.
    pub(super) fn authenticated(
        &mut self,
        principal: Result<Principal, Refusal>,
        turn: &mut Turn<'_, Done>,
    ) -> Result<String, RpcError> {
        let adopted = principal.and_then(|principal| {
            self.adopt(&principal, turn)?;
            Ok(principal)
        });
        let principal = adopted.map_err(|refusal| RpcError::from(&refusal))?;
        let expires = principal.expires_at().map(|end| end.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        Ok(json!({ "subject": principal.subject(), "expires": expires }).to_string())
    }

    fn adopt(&mut self, principal: &Principal, turn: &mut Turn<'_, Done>) -> Result<(), Refusal> {
        let change = turn.caller().adopt(&self.app.authority, principal)?;
        if !self.is_known {
            self.is_known = true;
            if let Some(filter) = self.session.gateway().cloned() {
                self.gateway_subscribe(None, filter, turn);
            }
        } else if change == Change::Readmit {
            self.readmit(turn);
        }
        Ok(())
    }
}
