//! What a publisher has done so far, in numbers.

/// What became of the events of a publisher. At every moment `published` is `queued` and `acknowledged` and all that is lost
/// together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events that were given to the publisher.
    pub published: u64,
    /// Events that wait or are on their way.
    pub queued: usize,
    /// Bytes of them, as JSON.
    pub queued_bytes: usize,
    /// Events in requests; one that was sent again is counted again.
    pub sent: u64,
    /// Events that the server has on its disk.
    pub acknowledged: u64,
    /// Of these: events that it had already, because an earlier acknowledgement was lost on its way.
    pub duplicates: u64,
    /// Events that the publisher gave up, also where [`publish_durable`](crate::Publisher::publish_durable) said so.
    pub lost: Lost,
}

/// Events that the publisher gave up, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// The queue had no room for them.
    pub queue_full: u64,
    /// Nobody acknowledged them within `retry_window`. The server may have logged some all the same.
    pub expired: u64,
    /// The server refused them for good.
    pub refused: u64,
    /// They came after the publisher was closed, or were not acknowledged by the deadline of its closing. The server may
    /// have logged some of the latter all the same.
    pub closed: u64,
}

impl Lost {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.expired + self.refused + self.closed
    }
}
