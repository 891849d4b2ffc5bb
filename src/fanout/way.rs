//! Work in bulk gives way: what thousands ask for at once, and what hostile peers cause, goes on in pieces while events are
//! delivered live, and between the pieces a thread lets go of its core.
//!
//! Invariants: only a thread whose owner tells when it wakes gives way, only after a whole piece without a rest, and only in a
//! process that has delivered something live a moment ago; so a server with time to spare never pauses, and neither does one
//! whose events nobody is waiting for.
//! Why not the system's priorities: with a lower one, bulk work waits behind other programs on the machine as well.

use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::time::Instant;

/// So long a thread works before it gives way: for about as long a live event waits at each thread that it passes. A system that
/// divides cores by slices would have it wait for a slice, some milliseconds.
const PIECE: Duration = Duration::from_micros(50);
/// A nap and not a yield: whoever yields is taken to have used up its slice, and would stand behind every other program. Linux
/// adds up to 50 us to it.
const NAP: Duration = Duration::from_micros(50);
/// For so long after a live delivery the next one is expected.
const EXPECTED: Duration = Duration::from_millis(250);

thread_local! {
    /// Since when this thread has worked without a rest; `None` where nobody tells. A fact about the thread, of whatever
    /// server.
    static BUSY_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// When something was last delivered live, by whatever server of this process: they share its cores.
static LIVE_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// The thread had nothing to do until now.
pub(crate) fn woke() {
    BUSY_SINCE.set(Some(Instant::now()));
}

/// Something is delivered live now.
pub(super) fn live() {
    *LIVE_AT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Lets others have the core if this thread has worked for a whole piece while events are delivered live: blocks it for a moment.
/// Says whether it did.
pub(crate) fn give_way() -> bool {
    let Some(since) = BUSY_SINCE.get() else { return false };
    let now = Instant::now();
    if now.duration_since(since) < PIECE {
        return false;
    }
    let live_at = *LIVE_AT.lock().unwrap_or_else(PoisonError::into_inner);
    let is_expected = live_at.is_some_and(|live_at| now.duration_since(live_at) < EXPECTED);
    if is_expected {
        thread::park_timeout(NAP);
        woke();
    }
    is_expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_gives_way_once_for_each_piece_of_work() {
        woke();
        live();
        assert!(!give_way(), "it has only begun");
        tokio::time::advance(PIECE).await;
        assert!(give_way());
        assert!(!give_way(), "the next piece has only begun");
        tokio::time::advance(PIECE - Duration::from_micros(1)).await;
        assert!(!give_way());
    }

    #[test]
    fn a_thread_of_which_nobody_tells_never_gives_way() {
        live();
        assert!(!thread::spawn(give_way).join().unwrap());
    }
}
