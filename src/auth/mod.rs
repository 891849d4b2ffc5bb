//! Who may: a [`Principal`] has a [`Grant`], which says what it may publish and read, and a [`View`], which says what it sees.
//!
//! Flow: the edge gives a credential to the [`Authority`] and gets a principal; `hub` asks its grant; the sharing key of `fanout`
//! holds its view.
//! Invariants: a filter is only ever narrowed by a grant; resolvers and renderers see a view, never a principal.
//! Not here: how a credential travels (`server`), where settings come from (`config`).

mod authority;
mod grant;
pub mod limits;
mod principal;
mod view;

pub use authority::{Authority, Revocation};
pub use grant::Grant;
pub use principal::{Credential, Principal};
pub use view::View;
