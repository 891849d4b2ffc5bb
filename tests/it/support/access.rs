//! [`Access`]: a server that asks who is there, its policy file, and tokens for it.

use super::TestServer;
use chrono::{DateTime, TimeDelta, Utc};
use fanfare::{
    auth::{Authority, Revocation, token::sign},
    config::Config,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{runtime, time::Instant};

const SECRET: &str = "w8KfZ3qTn1vXsY5uRb7cGd2eHj4kLm6P";
const ISSUER: &str = "https://login.test";
const AUDIENCE: &str = "fanfare";
/// The role of those without a token.
const NOBODY: &str = "nobody";

/// What somebody may read and publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum May {
    /// Everything, and the administration of the server.
    All,
    /// The events of one organization.
    Organization(&'static str),
}

impl May {
    fn rules(self) -> String {
        let rule = match self {
            May::All => "{ types = ['*'] }".to_owned(),
            May::Organization(id) => format!("{{ types = ['*'], organizationId = '{id}' }}"),
        };
        format!("read = [{rule}]\npublish = [{rule}]\nadmin = {}\n", self == May::All)
    }
}

/// The callers of a server: each subject has a role of its own name.
#[derive(Debug)]
pub(crate) struct Access {
    dir: TempDir,
    roles: Mutex<BTreeMap<String, May>>,
    /// What else stands in the policy.
    more: Mutex<String>,
    issued: Mutex<HashMap<String, DateTime<Utc>>>,
    servers: Mutex<Vec<Authority>>,
}

impl Access {
    /// Nobody is accepted yet.
    pub(crate) fn new() -> Self {
        Self::with_policy("")
    }

    /// The same, with further sections in the policy.
    pub(crate) fn with_policy(more: &str) -> Self {
        let access = Access {
            dir: tempfile::tempdir().unwrap(),
            roles: Mutex::default(),
            more: Mutex::new(more.to_owned()),
            issued: Mutex::default(),
            servers: Mutex::default(),
        };
        fs::write(access.dir.path().join("secret"), SECRET).unwrap();
        access.write(&access.roles.lock().unwrap());
        access
    }

    /// A server for these callers.
    pub(crate) fn server(&self) -> TestServer {
        self.server_with(|_| ())
    }

    /// The same with other settings.
    pub(crate) fn server_with(&self, change: impl FnOnce(&mut Config)) -> TestServer {
        let server = TestServer::with(|config| {
            config.policy = Some(self.policy());
            // What is kept there: the audit file, each server's own.
            config.data_dir = self.dir.path().join(self.servers().len().to_string());
            change(config);
        });
        self.servers.lock().unwrap().push(server.authority.clone());
        server
    }

    /// A token for somebody, who may this from now on. It ends with the first whole second after its lifetime.
    pub(crate) fn token(&self, subject: &str, may: May, lifetime: Option<Duration>) -> String {
        self.change(subject, may);
        self.signed(subject, &[subject], lifetime)
    }

    /// A token of somebody with these roles.
    pub(crate) fn signed(&self, subject: &str, roles: &[&str], lifetime: Option<Duration>) -> String {
        self.signed_with(subject, roles, lifetime, &json!({}))
    }

    /// The same with further claims.
    pub(crate) fn signed_with(
        &self,
        subject: &str,
        roles: &[&str],
        lifetime: Option<Duration>,
        further: &Value,
    ) -> String {
        let lifetime = lifetime.map_or(TimeDelta::days(1), |lifetime| TimeDelta::from_std(lifetime).unwrap());
        let ends = DateTime::from_timestamp((Utc::now() + lifetime).timestamp() + 1, 0).unwrap();
        let mut issued = self.issued.lock().unwrap();
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": ends.timestamp(), "roles": roles,
            "jti": format!("token-{}", issued.len()), "iat": Utc::now().timestamp() - 60,
        });
        claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        let token = sign(SECRET, None, claims.as_object().unwrap()).unwrap();
        issued.insert(token.clone(), ends);
        token
    }

    /// When a token ends.
    pub(crate) fn ends(&self, token: &str) -> Instant {
        let ends = *self.issued.lock().unwrap().get(token).unwrap();
        Instant::now() + (ends - Utc::now()).to_std().unwrap_or_default()
    }

    /// Callers without a token are let in as this.
    pub(crate) fn let_in_anonymous(&self, may: May) {
        self.change(NOBODY, may);
    }

    /// Another policy: what somebody may, whatever the token.
    pub(crate) fn change(&self, subject: &str, may: May) {
        let mut roles = self.roles.lock().unwrap();
        if roles.insert(subject.to_owned(), may) != Some(may) {
            self.write(&roles);
            self.reload();
        }
    }

    /// Another policy: what else stands in it.
    pub(crate) fn change_policy(&self, more: &str) {
        more.clone_into(&mut self.more.lock().unwrap());
        self.write(&self.roles.lock().unwrap());
        self.reload();
    }

    /// Accepts every token of somebody no more.
    pub(crate) async fn revoke(&self, subject: &str) {
        let servers = self.servers().clone();
        for authority in servers {
            authority.revoke(Revocation::Subject(subject.into())).await.unwrap();
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Authority>> {
        self.servers.lock().unwrap()
    }

    /// The policy file.
    pub(crate) fn policy(&self) -> PathBuf {
        self.dir.path().join("policy.toml")
    }

    fn write(&self, roles: &BTreeMap<String, May>) {
        let mut text = format!(
            "[[keys]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\nalgorithms = ['HS256']\nsecret_file = 'secret'\n"
        );
        if roles.contains_key(NOBODY) {
            text += &format!("[anonymous]\nroles = ['{NOBODY}']\n");
        }
        for (name, may) in roles {
            text += &format!("[roles.{name}]\n{}", may.rules());
        }
        fs::write(self.policy(), text + &self.more.lock().unwrap()).unwrap();
    }

    /// On a thread of its own, so that tests need not wait for it by name.
    fn reload(&self) {
        let servers = self.servers();
        let reload = || {
            let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for authority in servers.iter() {
                runtime.block_on(authority.reload(None)).unwrap();
            }
        };
        thread::scope(|scope| scope.spawn(reload).join().unwrap());
    }
}
