//! What an agent platform has beside its events; for now the sample feed that shows what such events look like.

pub mod sample;
