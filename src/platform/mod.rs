//! What an agent platform has beside its events: state that announces its changes, who is present, how the server does, what it
//! has to say about itself, and the sample feed that shows what events look like.

pub mod health;
pub mod presence;
pub mod resources;
pub mod sample;
pub mod self_events;
