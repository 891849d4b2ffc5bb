//! Who gets what: events are rendered once for each distinct (form, view) and copied to everybody who matches.
//!
//! Flow: takes events from a `hub::Tail`, asks the `bus::Index` which filters they meet, has each concerned group render each
//! event once, and puts the [`Payload`]s into the [`Mailbox`]es of the members, from which connections take them.
//! Invariants: a group lives exactly as long as it has members; members of a group differ in their filters only; a member
//! that cannot keep up goes back to the log and nothing is dropped.
//! Not here: what a payload looks like (a [`Form`], made by `graphql` or the edge), frames and sockets (`server`).

mod form;

pub use form::{EventForm, Form, Payload, RenderFuture, Renderer};
