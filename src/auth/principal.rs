//! Who speaks.

use super::{
    Grant, Origin, View,
    limits::Account,
    policy::Resolved,
    token::{ApiKey, Verified},
};
use crate::{
    error::Refusal,
    event::{EventFilter, NewEvent, Scope, ScopeField},
};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// Who speaks: travels from the edge to `hub` with every request. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Parts>);

#[derive(Clone, Debug)]
pub(super) struct Parts {
    subject: Box<str>,
    roles: Box<[Box<str>]>,
    credential: Credential,
    grant: Grant,
    view: View,
    expires_at: Option<DateTime<Utc>>,
    proof: Proof,
    /// Where it speaks from.
    pub(super) origin: Option<Arc<Origin>>,
    /// Whom its use is charged to.
    pub(super) account: Option<Arc<Account>>,
}

/// What is kept of a credential, so that a review needs it no more.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// There was none.
    None,
    /// None is needed: the server itself, or everybody on a server without authentication.
    Trusted,
    /// A token's verified claims.
    Token(Verified),
    /// An API key.
    ApiKey(Arc<ApiKey>),
}

/// What a principal proved itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// Nothing.
    None,
    /// A signed token.
    Token {
        /// Its id (claim `jti`).
        id: Option<Box<str>>,
        /// The key that signed it.
        key: Box<str>,
    },
    /// An API key.
    ApiKey {
        /// Its public id.
        id: Box<str>,
    },
}

/// The name of whoever has none.
const ANONYMOUS: &str = "anonymous";

impl Principal {
    /// A principal with what it may do and see, until its credential expires. No review ever changes it.
    pub fn new(
        subject: &str,
        credential: Credential,
        grant: Grant,
        view: View,
        expires_at: Option<DateTime<Utc>>,
    ) -> Self {
        let proof = Proof::Trusted;
        let (subject, roles) = (subject.into(), Box::default());
        let (origin, account) = (None, None);
        Principal(Arc::new(Parts {
            subject,
            roles,
            credential,
            grant,
            view,
            expires_at,
            proof,
            origin,
            account,
        }))
    }

    /// Whoever has shown this, with what that gives.
    pub(super) fn of(proof: Proof, resolved: Resolved) -> Self {
        let (credential, expires_at) = match &proof {
            Proof::None | Proof::Trusted => (Credential::None, None),
            Proof::Token(token) => {
                let credential =
                    Credential::Token { id: token.id().map(Into::into), key: token.key().into() };
                (credential, Some(token.expires_at()))
            }
            Proof::ApiKey(key) => (Credential::ApiKey { id: key.id().into() }, key.expires_at()),
        };
        let Resolved { subject, roles, grant, view, .. } = resolved;
        let roles = roles.into();
        let (origin, account) = (None, None);
        Principal(Arc::new(Parts {
            subject,
            roles,
            credential,
            grant,
            view,
            expires_at,
            proof,
            origin,
            account,
        }))
    }

    /// The same, speaking from there, with its use charged to this account.
    #[must_use]
    pub fn at(mut self, origin: Arc<Origin>, account: Option<Arc<Account>>) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        (parts.origin, parts.account) = (Some(origin), account);
        self
    }

    /// The same on the connection of this number.
    #[must_use]
    pub fn on_connection(self, number: u64) -> Self {
        let Some(origin) = self.origin().map(|origin| Origin::clone(origin).on_connection(number)) else {
            return self;
        };
        let account = self.0.account.clone();
        self.at(Arc::new(origin), account)
    }

    /// The same, from where another one speaks.
    pub(super) fn in_place_of(mut self, other: &Principal) -> Self {
        let parts = Arc::make_mut(&mut self.0);
        (parts.origin, parts.account) = (other.0.origin.clone(), other.0.account.clone());
        self
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.0
    }

    pub(super) fn proof(&self) -> &Proof {
        &self.0.proof
    }

    /// Nobody in particular, who may do everything: everybody on a server without authentication, and the server itself.
    pub fn anonymous() -> Self {
        Principal::new(ANONYMOUS, Credential::None, Grant::everything(), View::whole(), None)
    }

    /// Its name: the token's subject.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The name of whoever has shown a credential; without one nobody is signed in.
    pub fn signed_in(&self) -> Option<&str> {
        (self.0.credential != Credential::None).then(|| self.subject())
    }

    /// The names of its roles, sorted, those included that the policy does not know.
    pub fn roles(&self) -> &[Box<str>] {
        &self.0.roles
    }

    /// What it proved itself with.
    pub fn credential(&self) -> &Credential {
        &self.0.credential
    }

    /// What it may do.
    pub fn grant(&self) -> &Grant {
        &self.0.grant
    }

    /// What it sees of an event that it may read.
    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// Whom an event about it concerns: the ids that its grant fixes, and its subject as the user if it has shown a credential.
    /// So whoever may read what happens in its organization alone reads of it, and nobody whose grant is limited otherwise.
    pub fn scope(&self) -> Scope {
        let mut scope = self.grant().fixed_scope();
        if *self.credential() != Credential::None {
            // A subject that is no id, such as one with spaces, cannot be asked for.
            let _ = scope.set(ScopeField::User, self.subject());
        }
        scope
    }

    /// When its credential ends: the moment of `exp` itself. A token that is accepted for one request in the leeway after it
    /// opens nothing that lasts.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.0.expires_at
    }

    /// The part of a filter that it may read. Fails with `FORBIDDEN` when that is provably nothing, or when the filter asks
    /// about a field that is masked for it.
    pub fn narrow(&self, filter: EventFilter) -> Result<EventFilter, Refusal> {
        self.view().check(&filter)?;
        self.grant().narrow(filter)
    }

    /// The event as it may publish it: with the scope that its grant fixes. Fails with `FORBIDDEN`.
    pub fn admit(&self, event: NewEvent) -> Result<NewEvent, Refusal> {
        self.grant().admit(event)
    }
}
