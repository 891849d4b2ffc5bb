//! What verified claims give: stands in for the policy of grants, roles and masks.

use super::{
    Grant, View,
    token::{ApiKey, Claims},
};
use crate::error::Refusal;

/// What a credential gives.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) grant: Grant,
    pub(super) view: View,
}

/// Who may do what.
#[derive(Debug)]
pub(super) struct Policy;

impl Policy {
    /// What the claims of a token give.
    pub(super) fn resolve(&self, _claims: &Claims) -> Result<Resolved, Refusal> {
        Ok(Resolved { grant: Grant::everything(), view: View::whole() })
    }

    /// What the roles and variables of an API key give.
    pub(super) fn resolve_api_key(&self, _key: &ApiKey) -> Result<Resolved, Refusal> {
        Ok(Resolved { grant: Grant::everything(), view: View::whole() })
    }

    /// What those without a credential may do; `None` when they are refused.
    pub(super) fn anonymous(&self) -> Option<Resolved> {
        None
    }
}
