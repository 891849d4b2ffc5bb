//! Who may: a [`Principal`] has a [`Grant`], which says what it may publish and read, and a [`View`], which says what it sees.
//!
//! Flow: the edge gives a credential to the [`Authority`] and gets a principal; `hub` asks its grant; the sharing key of `fanout`
//! holds its view.
//! Invariants: a filter is only ever narrowed by a grant; resolvers and renderers see a view, never a principal.
//! Not here: how a credential travels (`server`), where settings come from (`config`).

pub mod audit;
mod authority;
mod grant;
mod principal;
mod view;

pub use audit::Audit;
pub use authority::{Authority, Revocation};
pub use grant::Grant;
pub use principal::{Credential, Principal};
pub use view::View;
