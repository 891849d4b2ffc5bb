//! [`Access`]: a server that asks who is there, and tokens for it. What a token is and how a policy says what it allows stands
//! in this file only.

use super::TestServer;
use chrono::{DateTime, Utc};
use fanfare::{
    auth::{Authority, Credential, Grant, Principal, Revocation, View},
    config::Config,
};
use std::{sync::Mutex, time::Duration};

/// What somebody may read and publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Everything, and the administration of the server.
    All,
    /// The events of one organization.
    Organization(&'static str),
}

#[derive(Clone, Debug)]
struct Issued {
    token: String,
    subject: String,
    may: May,
    expires_at: Option<DateTime<Utc>>,
}

/// The callers of a server.
#[derive(Debug)]
pub(crate) struct Access {
    authority: Authority,
    issued: Mutex<Vec<Issued>>,
}

impl Access {
    /// Nobody is accepted yet.
    pub(crate) fn new() -> Self {
        Access { authority: Authority::fixed([]), issued: Mutex::default() }
    }

    /// A server for these callers.
    pub(crate) fn server(&self) -> TestServer {
        self.server_with(|_| ())
    }

    /// The same with other settings.
    pub(crate) fn server_with(&self, change: impl FnOnce(&mut Config)) -> TestServer {
        TestServer::guarded(self.authority.clone(), change)
    }

    /// A token for somebody, who may this from now on; it is called `secret…`, so that a leak is found.
    pub(crate) fn token(&self, subject: &str, may: May, lifetime: Option<Duration>) -> String {
        let mut issued = self.issued.lock().unwrap();
        let token = format!("secret-{}", issued.len());
        let expires_at = lifetime.map(|lifetime| Utc::now() + lifetime);
        issued.push(Issued { token: token.clone(), subject: subject.to_owned(), may, expires_at });
        self.enact(&issued);
        token
    }

    /// Callers without a token are let in as this.
    pub(crate) fn let_in_anonymous(&self, may: May) {
        let mut issued = self.issued.lock().unwrap();
        issued.push(Issued { token: String::new(), subject: "anonymous".to_owned(), may, expires_at: None });
        self.enact(&issued);
    }

    /// Another policy: what somebody may, whatever the token.
    pub(crate) fn change(&self, subject: &str, may: May) {
        let mut issued = self.issued.lock().unwrap();
        issued.iter_mut().filter(|one| one.subject == subject).for_each(|one| one.may = may);
        self.enact(&issued);
    }

    /// Accepts every token of somebody no more.
    pub(crate) async fn revoke(&self, subject: &str) {
        self.authority.revoke(Revocation::Subject(subject.into())).await.unwrap();
    }

    fn enact(&self, issued: &[Issued]) {
        let principals = issued.iter().map(|one| {
            let credential = match one.token.as_str() {
                "" => Credential::None,
                id => Credential::Token { id: Some(id.into()), key: "key".into() },
            };
            let grant = match one.may {
                May::All => Grant::everything(),
                May::Organization(id) => Grant::of_organization(id),
            };
            let principal = Principal::new(&one.subject, credential, grant, View::whole(), one.expires_at);
            (one.token.as_str().into(), principal)
        });
        self.authority.replace(principals);
    }
}
