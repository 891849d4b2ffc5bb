//! How long the sender waits before it tries again: twice as long each time, with jitter, so that many services of one
//! restarted server do not come back at once.

use std::time::Duration;

/// The first wait, and the least between two attempts however much somebody hurries.
pub(crate) const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The wait before the next attempt after so many failed ones in a row (1 for the first): between half and the whole of
/// a time that doubles up to 30 s.
pub(crate) fn delay(failures: u32, chance: Chance) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(0.5 + chance.0 / 2.0)
}

/// A number from 0 up to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance(f64);

impl Chance {
    /// Another one each time.
    pub(crate) fn draw() -> Self {
        // The last two bytes of a random id are random.
        let [.., high, low] = uuid::Uuid::new_v4().into_bytes();
        Chance(f64::from(u16::from_be_bytes([high, low])) / 65_536.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_jitter_takes_at_most_half() {
        let longest = |failures| delay(failures, Chance(1.0)).as_millis();
        assert_eq!([1, 2, 3, 7, 40, u32::MAX].map(longest), [500, 1_000, 2_000, 30_000, 30_000, 30_000]);
        assert_eq!(delay(1, Chance(0.0)).as_millis(), 250);
        assert!((0..1_000).map(|_| Chance::draw().0).all(|chance| (0.0..1.0).contains(&chance)));
    }
}
