//! The faults: one file each; each gives one line of outcome, or fails.

pub(crate) mod descriptors;
pub(crate) mod disk_full;
pub(crate) mod half_open;
pub(crate) mod kill;
pub(crate) mod power_cut;
pub(crate) mod resources;
pub(crate) mod second_process;
pub(crate) mod simulated_cut;
pub(crate) mod stopped_reader;
pub(crate) mod sync;
pub(crate) mod syscalls;
pub(crate) mod terminate;
