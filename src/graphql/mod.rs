//! How it is asked: the schema, its resolvers and the guard in front of the parser.

pub mod guard;
pub mod selection;
