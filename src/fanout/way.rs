//! Work in bulk gives way: what thousands ask for at once, and what hostile peers cause, goes on in pieces, between which a
//! thread lets go of its core.
//!
//! Invariants: only a thread whose runtime tells when it wakes gives way, and only after a whole piece without a rest, so a
//! server with time to spare never pauses.
//! Why not the system's priorities: with a lower one, bulk work waits behind other programs on the machine as well.

use std::{cell::Cell, thread, time::Duration};
use tokio::time::Instant;

/// So long a thread works before it gives way: for about as long a live event waits at each thread that it passes. A system that
/// divides cores by slices would have it wait for a slice, some milliseconds.
const PIECE: Duration = Duration::from_micros(300);
/// A nap and not a yield: whoever yields is taken to have used up its slice, and would stand behind every other program.
const NAP: Duration = Duration::from_micros(100);

thread_local! {
    /// Since when this thread has worked without a rest; `None` where nobody tells. A fact about the thread, of whatever
    /// server.
    static BUSY_SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The thread had nothing to do until now.
pub(crate) fn woke() {
    BUSY_SINCE.set(Some(Instant::now()));
}

/// Lets others have the core if this thread has worked for a whole piece: blocks it for a moment. Says whether it did.
pub(crate) fn give_way() -> bool {
    let has_worked = BUSY_SINCE.get().is_some_and(|since| since.elapsed() >= PIECE);
    if has_worked {
        thread::park_timeout(NAP);
        woke();
    }
    has_worked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thread_gives_way_once_for_each_piece_of_work() {
        woke();
        assert!(!give_way(), "it has only begun");
        tokio::time::advance(PIECE).await;
        assert!(give_way());
        assert!(!give_way(), "the next piece has only begun");
        tokio::time::advance(PIECE - Duration::from_micros(1)).await;
        assert!(!give_way());
    }

    #[test]
    fn a_thread_of_which_nobody_tells_never_gives_way() {
        assert!(!thread::spawn(give_way).join().unwrap());
    }
}
