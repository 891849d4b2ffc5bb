//! What is seen while a run goes on: a bar on a terminal's stderr, a line for each stage elsewhere, nothing when quiet.

use super::{
    super::terminal,
    report::{decimal, thousands},
    tally::Tally,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal},
    time::Duration,
};
use tokio::time::Instant;

/// How often it moves.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// How often a line is written where there is no bar.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{prefix:<12} [{bar:24}] {percent:>3}%  {msg}";

/// What a stage advances towards.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    Time(Duration),
    /// So many of what it names.
    Count(u64, &'static str),
}

/// The display.
#[derive(Debug)]
pub(super) struct Progress {
    shown: Shown,
    stage: &'static str,
    goal: Goal,
    began: Instant,
    /// Deliveries and acknowledgements at the last move.
    last: (Instant, u64, u64),
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    pub(super) fn new(is_quiet: bool) -> Self {
        let shown = match (is_quiet, io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                // A template that cannot be read leaves the default one.
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    bar.set_style(style.progress_chars("=> "));
                }
                Shown::Bar(bar)
            }
            (false, false) => Shown::Lines,
        };
        let now = Instant::now();
        Progress { shown, stage: "", goal: Goal::Count(0, ""), began: now, last: (now, 0, 0) }
    }

    /// Another stage begins.
    pub(super) fn begin(&mut self, stage: &'static str, goal: Goal, tally: &Tally) {
        let now = Instant::now();
        (self.stage, self.goal, self.began) = (stage, goal, now);
        self.last = (now, tally.deliveries(), tally.acknowledged().sum());
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_prefix(stage);
                bar.set_message("");
                bar.set_length(length(goal));
                bar.set_position(0);
            }
            Shown::Lines => terminal::say(&match goal {
                Goal::Time(time) => format!("{stage}: {} s", time.as_secs_f64()),
                Goal::Count(count, what) => format!("{stage}: {} {what}", thousands(count)),
            }),
            Shown::Nothing => {}
        }
    }

    /// Shows how far the stage is; `count` matters for a stage that counts.
    pub(super) fn advance(&mut self, count: u64, tally: &Tally) {
        let (at, deliveries, published) = self.last;
        let interval = match self.shown {
            Shown::Bar(_) => Duration::ZERO,
            Shown::Lines => LINE_INTERVAL,
            Shown::Nothing => return,
        };
        let now = (Instant::now(), tally.deliveries(), tally.acknowledged().sum::<u64>());
        let passed = now.0.saturating_duration_since(at);
        if passed < interval {
            return;
        }
        self.last = now;
        let rate = |before: u64, now: u64| {
            decimal(now.saturating_sub(before) as f64 / passed.as_secs_f64().max(0.001))
        };
        let rates = format!(
            "{} published/s, {} delivered/s, {} delivered",
            rate(published, now.2),
            rate(deliveries, now.1),
            thousands(now.1),
        );
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(match self.goal {
                    Goal::Time(_) => millis(self.began.elapsed()),
                    Goal::Count(_, _) => count,
                });
                bar.set_message(rates);
            }
            Shown::Lines => terminal::say(&format!("{}: {rates}", self.stage)),
            Shown::Nothing => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn length(goal: Goal) -> u64 {
    match goal {
        Goal::Time(time) => millis(time),
        Goal::Count(count, _) => count,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
