//! The work of one step: which group renders which events, and which of its cells get which of them.

use super::{
    Form, Payload, Renderer, Run,
    registry::{CellId, GroupId},
};
use crate::{auth::View, event::Event};
use std::{ops::Range, sync::Arc};

/// Events of a step, as ranges of their places in it, rising.
pub(super) type Picks = Vec<Range<usize>>;

/// The work of one group for one step.
pub(super) struct GroupPlan {
    pub(super) group: GroupId,
    pub(super) form: Arc<dyn Form>,
    pub(super) view: View,
    pub(super) renderer: Option<Box<dyn Renderer>>,
    /// For each event of the step: does the group render it?
    wanted: Vec<bool>,
    /// What came of those, in their order.
    rendered: Vec<Payload>,
    /// Which events each cell gets.
    cells: Vec<(CellId, Picks)>,
}

impl GroupPlan {
    /// Nothing to do yet in a step of so many events.
    pub(super) fn new(
        group: GroupId,
        (form, view): (&Arc<dyn Form>, &View),
        renderer: Option<Box<dyn Renderer>>,
        events: usize,
    ) -> Self {
        GroupPlan {
            group,
            form: Arc::clone(form),
            view: view.clone(),
            renderer,
            wanted: vec![false; events],
            rendered: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// A cell gets these events.
    pub(super) fn add(&mut self, cell: CellId, picks: &Picks) {
        for range in picks {
            self.wanted.get_mut(range.clone()).unwrap_or_default().fill(true);
        }
        self.cells.push((cell, picks.clone()));
    }

    /// The places of the events to render, in order; each one's payload is given back by [`GroupPlan::rendered`].
    pub(super) fn wanted(&self) -> Vec<usize> {
        self.wanted.iter().enumerate().filter(|(_, wanted)| **wanted).map(|(place, _)| place).collect()
    }

    /// What came of the next wanted event.
    pub(super) fn rendered(&mut self, payload: Payload) {
        self.rendered.push(payload);
    }

    /// What each cell gets; cells that get all share one run.
    pub(super) fn runs(&mut self) -> impl Iterator<Item = (CellId, Run)> {
        let all = Run::new(std::mem::take(&mut self.rendered));
        // The place of an event among the rendered ones.
        let mut places = Vec::with_capacity(self.wanted.len() + 1);
        let mut rendered = 0;
        places.push(0);
        for wanted in &self.wanted {
            rendered += usize::from(*wanted);
            places.push(rendered);
        }
        std::mem::take(&mut self.cells).into_iter().map(move |(cell, picks)| {
            let place = |at: usize| places.get(at).copied().unwrap_or(rendered);
            let parts = picks.iter().map(|range| place(range.start)..place(range.end));
            (cell, all.parts(parts))
        })
    }
}

/// The next events that meet the same filters, as a range that starts at `from`.
pub(super) fn alike(events: &[Arc<Event>], from: usize) -> Range<usize> {
    let mut rest = events.iter().skip(from);
    let Some(first) = rest.next() else { return from..from };
    from..from + 1 + rest.take_while(|event| event.routes_like(first)).count()
}
