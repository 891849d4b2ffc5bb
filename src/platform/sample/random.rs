//! Chance that repeats: SplitMix64 (Steele, Lea and Flood, 2014). Good enough for a story, nothing else.

use std::ops::Range;

/// A sequence of numbers that its seed decides.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of the range; its start if the range is empty.
    pub(super) fn within(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        range.start + self.bits().checked_rem(width).unwrap_or(0)
    }

    /// An index into a list of that length; 0 for an empty one.
    pub(super) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.within(0..length as u64)).unwrap_or(0)
    }

    /// One of several, which cannot be none.
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        const { assert!(N > 0, "a choice needs something to choose") };
        let chosen = self.index(N);
        *choices.get(chosen).expect("an index below N")
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.within(0..100) < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_reference() {
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn every_number_stays_inside_its_range() {
        let mut random = Random::new(1);
        let drawn: Vec<u64> = (0..1_000).map(|_| random.within(3..7)).collect();
        assert!((3..7).all(|number| drawn.contains(&number)));
        assert!(drawn.iter().all(|number| (3..7).contains(number)));
        assert_eq!(random.within(5..5), 5);
    }
}
