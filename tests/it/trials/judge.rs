//! The judge: reads what a client was told against what was published, and names the first thing that is wrong.

use super::{
    client::{Start, Until, Visit},
    door::End,
    facts::{Wanted, is_transient},
    history::{Entry, Passed, Whole},
};
use chrono::{DateTime, Utc};
use fanfare::{event::Offset, log::Bounds};
use std::collections::{HashMap, HashSet};

/// The history as one client should have seen it.
pub(crate) struct Judge<'a> {
    history: &'a [Entry],
    passed: &'a HashMap<String, Passed>,
    wanted: &'a Wanted,
    /// The offsets of all events that it asked for, rising.
    matching: Vec<u64>,
    /// So many events may be gone already while the log shows its ends as they were before.
    vanishing: u64,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(whole: &'a Whole, wanted: &'a Wanted, vanishing: u64) -> Self {
        let Whole { entries: history, passed } = whole;
        let numbered = (1..).zip(history);
        let matching = numbered.filter(|(_, entry)| wanted.includes(&entry.fact)).map(|(at, _)| at).collect();
        Judge { history, passed, wanted, matching, vanishing }
    }

    /// Were all visits right, one by one and as a whole?
    pub(crate) fn judge(&self, visits: &[Visit]) -> Result<(), String> {
        for (at, visit) in visits.iter().enumerate() {
            self.visit(visit).map_err(|wrong| format!("visit {at}: {wrong}\n{visit:?}"))?;
        }
        let mut seen = HashSet::new();
        let all = visits.iter().flat_map(|visit| &visit.got).map(|(_, id)| id);
        if let Some(again) = all.filter(|id| is_transient(id)).find(|id| !seen.insert(*id)) {
            return Err(format!("{again} is not kept and came twice"));
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

    /// Is this every matching event after `start` up to `through`, once and in order, each as it was published? Those that are
    /// not kept may be missing, and what is there of them stands in its place.
    pub(crate) fn sequence(
        &self,
        got: &[(Offset, String)],
        start: Offset,
        through: Offset,
    ) -> Result<(), String> {
        order(got)?;
        let (passed, got): (Vec<_>, Vec<_>) = got.iter().cloned().partition(|(_, id)| is_transient(id));
        let is_as_published = |(offset, id): &(Offset, String)| {
            self.passed.get(id).is_some_and(|one| one.offset == *offset && self.wanted.includes(&one.fact))
        };
        if let Some(wrong) = passed.iter().find(|delivery| !is_as_published(delivery)) {
            return Err(format!("{wrong:?} was not published there, or not asked for"));
        }
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

/// Do offsets rise, with what is not kept behind the event at its offset, and the numbers of each publisher?
fn order(got: &[(Offset, String)]) -> Result<(), String> {
    let place = |(offset, id): &(Offset, String)| (*offset, is_transient(id));
    if let Some(two) = got.windows(2).find(|two| place(&two[0]) > place(&two[1])) {
        return Err(format!("{two:?} came in the wrong order"));
    }
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (_, id) in got {
        let Some((publisher, number)) = id.trim_end_matches('~').rsplit_once('-') else { continue };
        let number = number.parse().map_err(|error| format!("{id}: {error}"))?;
        if last.insert(publisher, number).is_some_and(|before| before >= number) {
            return Err(format!("{id} came after a later event of its publisher"));
        }
    }
    Ok(())
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
