//! A sample feed: the events of a small, busy agent platform that does not exist, for `serve --demo`.
//!
//! Flow: [`SampleFeed::next`] tells how long to wait and which draft to publish then; `--demo` does both.
//! Invariants: the same seed gives the same feed; every draft has source [`SOURCE`], no id and no time, so the server
//! gives both; what belongs together shares ids and a correlation id, and stands in the order in which it happens.
//! Not here: timers and publishing (the roof), what the platform is made of (`cast`), what happens in it (`stories`).

mod cast;
mod random;
mod stories;

use crate::event::Draft;
use random::Random;
use std::{collections::VecDeque, time::Duration};

/// The source of every sample event.
pub const SOURCE: &str = "/sample-feed";

/// How many stories are told at the same time.
const STORIES_AT_ONCE: usize = 6;
/// The pause before an event, in milliseconds: 0.7 s on average, 1.4 events a second.
const PAUSE_MILLISECONDS: std::ops::Range<u64> = 150..1_250;

/// An endless sequence of believable events.
#[derive(Debug)]
pub struct SampleFeed {
    random: Random,
    stories: Vec<VecDeque<Draft>>,
    author: stories::Author,
}

impl SampleFeed {
    /// A feed; equal seeds give equal feeds.
    pub fn new(seed: u64) -> Self {
        SampleFeed { random: Random::new(seed), stories: Vec::new(), author: stories::Author::default() }
    }

    /// The next event and the pause before it.
    // Not an Iterator: the feed never ends, and an Option that is never None would hide that.
    #[expect(clippy::should_implement_trait)]
    pub fn next(&mut self) -> (Duration, Draft) {
        let pause = Duration::from_millis(self.random.within(PAUSE_MILLISECONDS));
        loop {
            while self.stories.len() < STORIES_AT_ONCE {
                self.stories.push(self.author.write(&mut self.random));
            }
            let chosen = self.random.index(self.stories.len());
            match self.stories.get_mut(chosen).and_then(VecDeque::pop_front) {
                Some(draft) => return (pause, draft),
                None => drop(self.stories.swap_remove(chosen)),
            }
        }
    }
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
