//! The judge: reads what a client was told against what was published, and names the first thing that is wrong.

use super::{
    client::{Start, Until, Visit},
    door::End,
    facts::Wanted,
    history::Entry,
};
use chrono::{DateTime, Utc};
use fanfare::{event::Offset, log::Bounds};

/// The history as one client should have seen it.
pub(crate) struct Judge<'a> {
    history: &'a [Entry],
    /// The offsets of all events that it asked for, rising.
    matching: Vec<u64>,
    /// So many events may be gone already while the log shows its ends as they were before.
    vanishing: u64,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(history: &'a [Entry], wanted: &Wanted, vanishing: u64) -> Self {
        let numbered = (1..).zip(history);
        let matching = numbered.filter(|(_, entry)| wanted.includes(&entry.fact)).map(|(at, _)| at).collect();
        Judge { history, matching, vanishing }
    }

    /// Were all visits right, one by one and as a whole?
    pub(crate) fn judge(&self, visits: &[Visit]) -> Result<(), String> {
        for (at, visit) in visits.iter().enumerate() {
            self.visit(visit).map_err(|wrong| format!("visit {at}: {wrong}\n{visit:?}"))?;
        }
        match visits.last().map(|visit| &visit.until) {
            Some(Until::Fence) => Ok(()),
            other => Err(format!("the last visit ended by {other:?}")),
        }
    }

    fn visit(&self, visit: &Visit) -> Result<(), String> {
        let Some(start) = visit.start else {
            let Until::Refused(end, bounds) = &visit.until else { return Err("not opened".to_owned()) };
            let Start::After(after) = visit.asked else {
                return Err(format!("{:?} was refused: {end:?}", visit.asked));
            };
            if end.earliest <= Some(after) {
                return Err(format!("the event after {after:?} was there: {end:?}"));
            }
            return expired(end, visit.bounds.0, *bounds);
        };
        self.start(visit, start)?;
        let through = match &visit.until {
            Until::Fence => Offset::new(self.history.len() as u64),
            Until::Left(through) => *through,
            Until::Gone => visit.got.last().map_or(start, |(offset, _)| *offset),
            Until::Refused(end, bounds) => {
                let through = end.cursor.ok_or("the error does not say where it stopped")?;
                expired(end, visit.bounds.0, *bounds)?;
                if end.earliest <= Some(through) {
                    return Err("overtaken for nothing".into());
                }
                through
            }
        };
        self.sequence(&visit.got, start, through)
    }

    /// Is this every matching event after `start` up to `through`, once and in order, each as it was published?
    pub(crate) fn sequence(
        &self,
        got: &[(Offset, String)],
        start: Offset,
        through: Offset,
    ) -> Result<(), String> {
        let expected = self.between(start.get(), through.get());
        let offsets: Vec<u64> = got.iter().map(|(offset, _)| offset.get()).collect();
        if offsets != expected {
            let at = offsets.iter().zip(expected).take_while(|(own, other)| own == other).count();
            return Err(format!(
                "after {start:?} through {through:?}, delivery {at}: got {:?}, expected {:?}",
                offsets.get(at),
                expected.get(at)
            ));
        }
        let is_as_published = |(offset, id): &(Offset, String)| self.entry(offset.get()).fact.id == *id;
        match got.iter().find(|delivery| !is_as_published(delivery)) {
            Some(wrong) => Err(format!("{wrong:?} was never published")),
            None => Ok(()),
        }
    }

    /// Is this where the subscription had to start?
    fn start(&self, visit: &Visit, start: Offset) -> Result<(), String> {
        let (before, after) = visit.bounds;
        let start = start.get();
        let heads = before.head.get()..=after.head.get();
        let earliest = before.earliest.get()..=after.earliest.get();
        let is_earliest = earliest.contains(&(start + 1));
        let is_right = match visit.asked {
            Start::After(offset) => start == offset.get(),
            Start::Live => heads.contains(&start),
            Start::Earliest => is_earliest,
            Start::Last(count) => {
                // So many matching events are after it, by some head that was seen meanwhile; or fewer were kept.
                let counted = self.count(start, *heads.start())..=self.count(start, *heads.end());
                let is_matching = self.matching.binary_search(&(start + 1)).is_ok();
                let were_few = self.count(earliest.end() - 1 + self.vanishing, *heads.start()) < count;
                (counted.contains(&count) && is_matching && start + 1 >= *earliest.start())
                    || (is_earliest && were_few)
            }
            Start::Time(time) => {
                let is_earliest =
                    (*earliest.start()..=earliest.end() + self.vanishing).contains(&(start + 1));
                self.is_before(time, start, is_earliest) && start <= *heads.end()
            }
        };
        if is_right { Ok(()) } else { Err(format!("asked for {:?} it started after {start}", visit.asked)) }
    }

    /// May all events up to `start` have been logged before a time, unless they are gone, and the next one at it or later?
    fn is_before(&self, time: DateTime<Utc>, start: u64, is_earliest: bool) -> bool {
        let logged = self.history.iter().take(usize::try_from(start).unwrap());
        let next = self.history.get(usize::try_from(start).unwrap());
        let all_before = logged
            .map(|entry| entry.asked_at.timestamp_millis())
            .max()
            .is_none_or(|asked| millis(time) > asked);
        let next_is_not = next.is_none_or(|entry| entry.acknowledged_at >= time);
        (all_before || is_earliest) && next_is_not
    }

    fn entry(&self, offset: u64) -> &Entry {
        &self.history[usize::try_from(offset).unwrap() - 1]
    }

    fn between(&self, after: u64, through: u64) -> &[u64] {
        let place = |offset: u64| self.matching.partition_point(|own| *own <= offset);
        &self.matching[place(after).min(place(through))..place(through)]
    }

    fn count(&self, after: u64, through: u64) -> usize {
        self.between(after, through).len()
    }
}

/// The first whole millisecond that is not before a time; the log keeps whole ones.
fn millis(time: DateTime<Utc>) -> i64 {
    let whole = time.timestamp_millis();
    whole + i64::from(!time.timestamp_subsec_nanos().is_multiple_of(1_000_000))
}

/// Is this the error of retention, and does it name the cursor before the earliest event left?
fn expired(end: &End, before: Bounds, now: Bounds) -> Result<(), String> {
    let possible = Some(before.earliest.previous())..=Some(now.earliest.previous());
    match end.code == "CURSOR_EXPIRED" && possible.contains(&end.earliest) {
        true => Ok(()),
        false => Err(format!("{end:?} although the log had {before:?} and then {now:?}")),
    }
}
