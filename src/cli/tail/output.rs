//! Where a tail's events and its state go: events to stdout, state and progress to stderr.
//!
//! Invariants: events are flushed before the tail waits; a long replay is seen to advance.

use super::{
    super::terminal,
    print::{Style, line},
    protocol::Received,
};
use std::{
    fmt,
    io::{self, BufWriter, IsTerminal, Write},
    time::Duration,
};
use tokio::time::Instant;

/// A terminal's progress line is written anew at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Elsewhere every so many events get a line of their own.
const PROGRESS_EVENTS: u64 = 50_000;
/// A shorter replay is over before anybody asks how far it is.
const REPLAY_EVENTS_MIN: u64 = 1_000;

/// The two ways out.
pub(super) struct Output {
    events: BufWriter<Box<dyn Write + Send>>,
    style: Style,
    progress: Progress,
    replayed: Option<u64>,
}

#[derive(Debug)]
enum Progress {
    /// stdout is the terminal, so the events themselves show it.
    Events,
    /// One line of stderr, written over and over.
    InPlace { written: Instant },
    /// A line of stderr now and then.
    Lines,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("style", &self.style)
            .field("replayed", &self.replayed)
            .finish_non_exhaustive()
    }
}

impl Output {
    pub(super) fn new(is_json: bool, allows_colour: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let style = match (is_json, allows_colour && out.is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Coloured,
            (false, false) => Style::Plain,
        };
        let progress = match (out.is_terminal(), err.is_terminal()) {
            (true, _) => Progress::Events,
            (false, true) => Progress::InPlace { written: Instant::now() },
            (false, false) => Progress::Lines,
        };
        Output::to(Box::new(out), style, progress)
    }

    fn to(out: Box<dyn Write + Send>, style: Style, progress: Progress) -> Self {
        Output { events: BufWriter::with_capacity(64 * 1024, out), style, progress, replayed: None }
    }

    /// JSON lines into a writer, for tests.
    #[cfg(test)]
    pub(super) fn json_to(out: Box<dyn Write + Send>) -> Self {
        Output::to(out, Style::Json, Progress::Lines)
    }

    /// Events from here on are the past, until [`caught_up`](Self::caught_up).
    pub(super) fn replay_begins(&mut self) {
        self.replayed = Some(0);
    }

    /// Does a replay go on?
    pub(super) fn is_replaying(&self) -> bool {
        self.replayed.is_some()
    }

    /// No more of the past is coming.
    pub(super) fn caught_up(&mut self) {
        if let Some(replayed) = self.replayed.take().filter(|replayed| *replayed >= REPLAY_EVENTS_MIN) {
            self.say(&format!("caught up after {replayed} events"));
        }
    }

    /// Shows an event; [`flush`](Self::flush) makes it seen.
    pub(super) fn show(&mut self, event: &Received<'_>) -> io::Result<()> {
        self.events.write_all(line(event, self.style).as_bytes())?;
        if let Some(replayed) = &mut self.replayed {
            *replayed += 1;
            let replayed = *replayed;
            self.show_progress(replayed, &event.time);
        }
        Ok(())
    }

    fn show_progress(&mut self, replayed: u64, time: &str) {
        match &mut self.progress {
            Progress::InPlace { written }
                if replayed >= REPLAY_EVENTS_MIN && written.elapsed() >= PROGRESS_INTERVAL =>
            {
                *written = Instant::now();
                terminal::progress(&format!("replaying: {replayed} events, now at {time}"));
            }
            Progress::Lines if replayed.is_multiple_of(PROGRESS_EVENTS) => {
                terminal::say(&format!("replaying: {replayed} events, now at {time}"));
            }
            Progress::Events | Progress::InPlace { .. } | Progress::Lines => {}
        }
    }

    /// Makes every event seen.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.events.flush()
    }

    /// Tells the state.
    pub(super) fn say(&self, text: &str) {
        if matches!(self.progress, Progress::InPlace { .. }) {
            terminal::progress("");
        }
        terminal::say(text);
    }
}
