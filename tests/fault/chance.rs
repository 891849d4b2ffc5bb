//! Random choices from a seed, so that a run can be repeated as far as the machine allows.

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough for choosing.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// Another stream of choices for a part of the run, so that parts do not disturb each other.
    pub(crate) fn branch(&self, part: u64) -> Self {
        let mut branch = Chance(self.0 ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Chance(branch.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// A number from `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so many times out of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of a list.
    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let index = self.below(list.len() as u64);
        usize::try_from(index).ok().and_then(|index| list.get(index)).copied()
    }
}
