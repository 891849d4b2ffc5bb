//! Who is there: what queries, counts and events say of it, and who sees whom.

mod crowd;
mod ends;
mod readers;
mod stories;
mod watch;
