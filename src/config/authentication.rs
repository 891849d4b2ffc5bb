//! The settings of authentication: what they make of the room's options, and whether they fit together.

use super::{Config, Store, table::Setting};
use crate::{
    auth::{
        Keeping, Options,
        token::{FetchTimes, KeyDraft, TimeRules},
    },
    metrics::Metrics,
};

/// The file of revocations in the data directory.
const REVOCATIONS: &str = "revocations.jsonl";

impl Config {
    /// Who may prove to be somebody, and how.
    pub fn auth_options(&self, metrics: Metrics) -> Options {
        let revocations = match self.store {
            Store::Memory => Keeping::InMemory,
            Store::Sqlite => Keeping::InFile(self.data_dir.join(REVOCATIONS)),
        };
        Options {
            policy: self.policy.clone(),
            keys: self.keys(),
            times: TimeRules { leeway: self.jwt_leeway, lifetime_max: self.jwt_lifetime_max },
            fetches: FetchTimes::default(),
            revocations,
            metrics,
            ..Options::default()
        }
    }

    /// One key for each setting that gives one; issuer, audience and algorithms are those of all.
    fn keys(&self) -> Vec<KeyDraft> {
        let mut base = KeyDraft::default();
        base.issuer.clone_from(&self.jwt_issuer);
        base.audience.clone_from(&self.jwt_audience);
        base.algorithms.clone_from(&self.jwt_algorithms);
        let mut keys = Vec::new();
        let mut add = |change: &dyn Fn(&mut KeyDraft)| {
            let mut key = base.clone();
            change(&mut key);
            keys.push(key);
        };
        if let Some(secret) = &self.jwt_secret {
            add(&|key| key.secret = Some(secret.expose().into()));
        }
        if let Some(url) = &self.jwks_url {
            add(&|key| key.jwks_url = Some(url.clone()));
        }
        if let Some(file) = &self.jwks_file {
            add(&|key| key.jwks_file = Some(file.clone()));
        }
        keys
    }

    /// Is there anything by which somebody could be known?
    pub fn has_authentication(&self) -> bool {
        self.policy.is_some() || self.has_key()
    }

    fn has_key(&self) -> bool {
        self.jwt_secret.is_some() || self.jwks_url.is_some() || self.jwks_file.is_some()
    }

    /// What is wrong with the settings of authentication and with the policy: each with its setting.
    pub(super) fn authentication_problems(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<(&'static str, String)> {
        let problems = self.auth_options(Metrics::new()).check(environment);
        let told = problems.into_iter().map(|problem| match Setting::find(&problem.at) {
            Some(setting) => (setting.name, problem.rule),
            None => ("policy", problem.to_string()),
        });
        let rules = [
            ("jwt_issuer", self.jwt_issuer.is_some()),
            ("jwt_audience", self.jwt_audience.is_some()),
            ("jwt_algorithms", !self.jwt_algorithms.is_empty()),
        ];
        let idle = rules.into_iter().filter(|(_, is_set)| *is_set && !self.has_key()).map(|(name, _)| {
            let rule = "does nothing by itself; set jwt_secret, jwks_url or jwks_file too, or write it into [[keys]] of the policy";
            (name, rule.to_owned())
        });
        told.chain(idle).collect()
    }
}
