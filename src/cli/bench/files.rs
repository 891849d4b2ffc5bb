//! The limit on open files, since each connection is one.

use super::super::Failure;

/// What the tester opens beside its connections: terminal, runtime, libraries.
const OTHERS: u64 = 32;

/// Raises the limit as far as this process may; an error says what to do when it is too low for so many sockets.
#[cfg(unix)]
pub(super) fn allow(sockets: usize) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is known: `None` is infinity.
    let Some(soft) = current else { return Ok(()) };
    let needed = sockets as u64 + OTHERS;
    if needed <= soft {
        return Ok(());
    }
    let hard = maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed.min(hard)), maximum };
    match needed <= hard && setrlimit(Resource::Nofile, raised).is_ok() {
        true => Ok(()),
        false => Err(too_low(sockets, needed, soft.max(hard))),
    }
}

#[cfg(not(unix))]
pub(super) fn allow(_sockets: usize) -> Result<(), Failure> {
    Ok(())
}

#[cfg_attr(not(unix), allow(dead_code, reason = "the limit is one of Unix"))]
fn too_low(sockets: usize, needed: u64, limit: u64) -> Failure {
    Failure::usage(format!(
        "{sockets} connections and publishers need {needed} open files and this process may have {limit}; \
         raise the limit (`ulimit -n {needed}`, as root or in limits.conf beyond the hard limit) or use fewer --connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_sockets_are_allowed_and_more_than_there_can_be_are_refused_with_what_to_do() {
        assert!(allow(1).is_ok());
        let Err(Failure::Usage(told)) = allow(usize::MAX / 2) else { panic!("allowed") };
        assert!(told.contains("ulimit -n"), "{told}");
    }
}
