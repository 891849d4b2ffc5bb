//! Who is there: groups by (form, view), their members by filter, and the index that finds both for an event.
//!
//! Flow: the worker asks for the [`GroupPlan`]s of a step, has them rendered without the lock, and gives them back to be delivered.
//! Invariants: an event is delivered to a member exactly when its rank is above the member's `joined`, so whoever joins
//! between plan and delivery misses nothing and gets nothing twice. Lock order: subscription, registry, mailbox.

use super::{
    Form, Renderer, Run,
    mailbox::{Key, Mailbox, Pushed},
    plan::{GroupPlan, Picks, alike},
};
use crate::{
    auth::View,
    bus::{FilterId, Index},
    event::{Event, EventFilter, Offset, Rank},
    metrics::Metrics,
};
use slab::Slab;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub(super) type GroupId = u64;
pub(super) type CellId = u64;

/// What makes two subscriptions share their renderings: the whole text of the form, and the view.
type GroupKey = (Box<str>, View);

/// All groups and members.
#[derive(Debug)]
pub(super) struct Registry {
    index: Index,
    groups: HashMap<GroupId, Group>,
    group_ids: HashMap<GroupKey, GroupId>,
    cells: HashMap<CellId, Cell>,
    cells_of: HashMap<FilterId, Vec<CellId>>,
    /// By filter, what it meets of the step that is planned; empty in between.
    picks: Vec<Picks>,
    ids: u64,
    /// Every event up to here has been planned.
    routed: Rank,
    /// Every logged event up to here has been delivered.
    delivered: Offset,
    metrics: Metrics,
}

struct Group {
    key: GroupKey,
    form: Arc<dyn Form>,
    /// Away while the worker renders.
    renderer: Option<Box<dyn Renderer>>,
    /// One for each distinct filter.
    cells: BTreeMap<FilterId, CellId>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("form", &self.form).field("cells", &self.cells).finish_non_exhaustive()
    }
}

/// The members of one group with one filter.
#[derive(Debug)]
struct Cell {
    group: GroupId,
    filter: FilterId,
    members: Slab<Member>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    key: Key,
    mailbox: Arc<Mailbox>,
    joined: Rank,
}

/// Where a member sits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    cell: CellId,
    place: usize,
    member: u64,
}

/// Who wants to join.
#[derive(Debug)]
pub(super) struct Joining<'a> {
    pub(super) form: &'a Arc<dyn Form>,
    pub(super) view: &'a View,
    pub(super) filter: &'a Arc<EventFilter>,
    pub(super) key: Key,
    pub(super) mailbox: &'a Arc<Mailbox>,
}

impl Registry {
    pub(super) fn new(head: Offset, metrics: Metrics) -> Self {
        Registry {
            index: Index::default(),
            groups: HashMap::new(),
            group_ids: HashMap::new(),
            cells: HashMap::new(),
            cells_of: HashMap::new(),
            picks: Vec::new(),
            ids: 0,
            routed: Rank::logged(head),
            delivered: head,
            metrics,
        }
    }

    /// Every logged event up to here is in the mailboxes of its members.
    pub(super) fn delivered(&self) -> Offset {
        self.delivered
    }

    /// The plans of all events up to here have been delivered.
    pub(super) fn delivered_to(&mut self, offset: Offset) {
        self.delivered = offset;
    }

    /// The next event is the one after this offset, although not all before it were planned.
    pub(super) fn skip_to(&mut self, offset: Offset) {
        self.routed = Rank::logged(offset);
        self.delivered = offset;
    }

    /// Seats a member, which gets every matching event above the rank returned: the greater one of `after` and what has
    /// been routed.
    pub(super) fn join(&mut self, joining: &Joining<'_>, after: Rank) -> (Seat, Rank) {
        let joined = after.max(self.routed);
        let group = self.group(joining.form, joining.view);
        let filter = self.index.insert(joining.filter);
        let cell = self.cell(group, filter);
        let member = self.next_id();
        let member = Member { id: member, key: joining.key, mailbox: Arc::clone(joining.mailbox), joined };
        let id = member.id;
        let place = self.cells.get_mut(&cell).map_or(0, |cell| cell.members.insert(member));
        (Seat { cell, place, member: id }, joined)
    }

    /// Takes a member away; the last one ends its group at once. A seat that was lost already is left alone.
    pub(super) fn leave(&mut self, seat: Seat) {
        let Some(cell) = self.cells.get_mut(&seat.cell) else { return };
        if cell.members.get(seat.place).is_none_or(|member| member.id != seat.member) {
            return;
        }
        cell.members.remove(seat.place);
        self.index.remove(cell.filter);
        if cell.members.is_empty() {
            self.remove_cell(seat.cell);
        }
    }

    /// Which groups render which events of a step. The renderers go along; [`Registry::deliver`] brings them back.
    pub(super) fn plan(&mut self, events: &[Arc<Event>]) -> Vec<GroupPlan> {
        let touched = self.pick(events);
        let mut plans: BTreeMap<GroupId, GroupPlan> = BTreeMap::new();
        for filter in touched {
            let Some(picks) = self.picks.get_mut(filter) else { continue };
            for cell_id in self.cells_of.get(&filter).into_iter().flatten() {
                let Some(cell) = self.cells.get(cell_id) else { continue };
                let Some(group) = self.groups.get_mut(&cell.group) else { continue };
                let plan = plans.entry(cell.group).or_insert_with(|| {
                    let shown = (&group.form, &group.key.1);
                    GroupPlan::new(cell.group, shown, group.renderer.take(), events.len())
                });
                plan.add(*cell_id, picks);
            }
            picks.clear();
        }
        self.routed = events.last().map_or(self.routed, |last| last.rank());
        plans.into_values().collect()
    }

    /// Notes for each filter which events meet it, and gives the filters that any event meets.
    fn pick(&mut self, events: &[Arc<Event>]) -> Vec<FilterId> {
        let (mut met, mut touched) = (Vec::new(), Vec::new());
        let mut from = 0;
        // Events come in bursts of a kind: what the first one meets the others meet too.
        while let Some(first) = events.get(from) {
            let range = alike(events, from);
            met.clear();
            self.index.matches(first, &mut met);
            for filter in &met {
                if self.picks.len() <= *filter {
                    self.picks.resize_with(filter + 1, Vec::new);
                }
                let Some(picks) = self.picks.get_mut(*filter) else { continue };
                match picks.last_mut() {
                    None => {
                        touched.push(*filter);
                        picks.push(range.clone());
                    }
                    Some(last) if last.end == range.start => last.end = range.end,
                    Some(_) => picks.push(range.clone()),
                }
            }
            from = range.end;
        }
        touched
    }

    /// Copies what was rendered to the members.
    pub(super) fn deliver(&mut self, mut plan: GroupPlan) {
        if let Some(group) = self.groups.get_mut(&plan.group) {
            group.renderer = plan.renderer.take();
        }
        for (cell, run) in plan.runs() {
            self.deliver_to(cell, &run);
        }
    }

    fn deliver_to(&mut self, cell_id: CellId, run: &Run) {
        let Some(cell) = self.cells.get_mut(&cell_id) else { return };
        let (mut delivered, mut dropped, mut lost) = (0, 0, Vec::new());
        for (place, member) in &cell.members {
            let Some(new) = run.above(member.joined) else { continue };
            let count = new.payloads().len();
            match member.mailbox.push_live(member.key, new) {
                Pushed::Taken => delivered += count,
                Pushed::Dropped => dropped += count,
                Pushed::Refused => lost.push(Seat { cell: cell_id, place, member: member.id }),
            }
        }
        self.metrics.events_delivered.inc_by(delivered as u64);
        self.metrics.transients_dropped.inc_by(dropped as u64);
        self.metrics.mailbox_lagged.inc_by(lost.len() as u64);
        lost.into_iter().for_each(|seat| self.leave(seat));
    }

    /// Sends every member back to the log, each from where it stands: the worker could not go on.
    pub(super) fn lag_all(&mut self) {
        for cell in self.cells.values() {
            for (_, member) in &cell.members {
                member.mailbox.lag(member.key, self.delivered);
                self.metrics.mailbox_lagged.inc();
            }
        }
        let cells: Vec<CellId> = self.cells.keys().copied().collect();
        for cell in cells {
            let holders = self.cells.get(&cell).map_or((0, 0), |cell| (cell.filter, cell.members.len()));
            (0..holders.1).for_each(|_| self.index.remove(holders.0));
            self.remove_cell(cell);
        }
    }

    fn group(&mut self, form: &Arc<dyn Form>, view: &View) -> GroupId {
        let key: GroupKey = (form.key().into(), view.clone());
        if let Some(id) = self.group_ids.get(&key) {
            return *id;
        }
        let id = self.next_id();
        self.group_ids.insert(key.clone(), id);
        self.groups.insert(id, Group { key, form: Arc::clone(form), renderer: None, cells: BTreeMap::new() });
        self.metrics.groups_open.inc();
        id
    }

    fn cell(&mut self, group: GroupId, filter: FilterId) -> CellId {
        let new = self.next_id();
        let Some(entry) = self.groups.get_mut(&group) else { return new };
        let cell = *entry.cells.entry(filter).or_insert(new);
        if cell == new {
            self.cells.insert(cell, Cell { group, filter, members: Slab::new() });
            self.cells_of.entry(filter).or_default().push(cell);
        }
        cell
    }

    fn remove_cell(&mut self, id: CellId) {
        let Some(cell) = self.cells.remove(&id) else { return };
        if let Some(cells) = self.cells_of.get_mut(&cell.filter) {
            cells.retain(|other| *other != id);
            if cells.is_empty() {
                self.cells_of.remove(&cell.filter);
            }
        }
        let Some(group) = self.groups.get_mut(&cell.group) else { return };
        group.cells.remove(&cell.filter);
        if group.cells.is_empty() {
            self.group_ids.remove(&group.key);
            self.groups.remove(&cell.group);
            self.metrics.groups_open.dec();
        }
    }

    fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Groups and members, for tests and for the check that nothing is left.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.groups.len(), self.cells.values().map(|cell| cell.members.len()).sum())
    }
}
