//! The faults: one file each, one line of outcome each.

pub(crate) mod kill;
