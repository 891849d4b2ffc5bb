//! Who may: a [`Principal`] has a [`Grant`], which says what it may publish and read, and a [`View`], which says what it sees.
//!
//! Flow: the edge gives a credential to the [`Authority`] and gets a principal; `hub` asks its grant; the sharing key of `fanout`
//! holds its view.
//! Invariants: a filter is only ever narrowed by a grant; resolvers and renderers see a view, never a principal.
//! Not here: how a credential travels (`server`), where settings come from (`config`).

pub mod audit;
mod authority;
mod explain;
mod grant;
pub mod limits;
mod mask;
mod options;
mod origin;
mod policy;
mod principal;
mod revocations;
mod sections;
pub mod token;
mod view;

pub use audit::Audit;
pub use authority::{Authority, Revocation, Setup};
pub use explain::Explanation;
pub use grant::Grant;
pub use mask::{
    Action, MASKS_MAX, Mask, MaskDraft, MaskKey, MaskProblem, MaskProblems, Masks, PATH_SEGMENTS_MAX,
    PATTERNS_MAX,
};
pub use options::{AuthorityError, Options};
pub use origin::{Origin, Refusals, Trial};
pub use policy::{Claims, Policy, PolicyProblem, PolicyProblems, Resolved, Section, Variables};
pub use principal::{Credential, Principal};
pub use revocations::{Keeping, RevocationsError};
pub use view::View;
