//! Pages of the past, rendered: many who resume from about the same place share one reading and one rendering.
//!
//! Invariants: a page is what its key says, whoever asks: the form, the view, the filter and the position after which it
//! starts, all compared whole. Events never change, so a page never goes out of date; it only makes room for others.

use super::Run;
use crate::{
    auth::View,
    event::{EventFilter, Offset},
};
use quick_cache::{Weighter, sync::Cache};
use std::sync::Arc;

/// Pages with fewer events cost less to make than to keep.
const PAGE_EVENTS_MIN: usize = 32;

/// What a page shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shown {
    pub(super) form: Box<str>,
    pub(super) view: View,
    pub(super) filter: Arc<EventFilter>,
}

/// What a page shows, and the position after which it starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    pub(super) shown: Arc<Shown>,
    pub(super) after: Offset,
}

/// A rendered page of the past.
#[derive(Clone, Debug)]
pub(super) struct RenderedPage {
    /// `None` when nothing matched.
    pub(super) run: Option<Run>,
    /// Everything that matches between the start of the page and here is in the run.
    pub(super) through: Offset,
    /// Did the log end here when the page was read?
    pub(super) is_last: bool,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<PageKey, RenderedPage> for ByBytes {
    fn weight(&self, _key: &PageKey, page: &RenderedPage) -> u64 {
        1 + page.run.as_ref().map_or(0, |run| run.bytes() as u64)
    }
}

/// The rendered pages that were asked for lately.
#[derive(Debug)]
pub(super) struct PageCache(Cache<PageKey, RenderedPage, ByBytes>);

impl PageCache {
    /// Keeps pages of at most so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / (64 * 1024)).unwrap_or(usize::MAX).max(16);
        PageCache(Cache::with_weighter(entries, bytes_max, ByBytes))
    }

    /// The page of a key, or how to make it: of several who ask at once for a page that is missing one makes it, the others
    /// wait for it.
    ///
    /// Cancel safety: yes; if the maker gives up, one who waits makes the page.
    pub(super) async fn page<E>(
        &self,
        key: PageKey,
        make: impl Future<Output = Result<RenderedPage, E>>,
    ) -> Result<RenderedPage, E> {
        let guard = match self.0.get_value_or_guard_async(&key).await {
            Ok(page) => return Ok(page),
            Err(guard) => guard,
        };
        let page = make.await?;
        let events = page.run.as_ref().map_or(0, |run| run.payloads().len());
        // A page at the end of the log grows; it is worth keeping only if it spares much.
        if !page.is_last || events >= PAGE_EVENTS_MIN {
            // The error says that the entry was replaced meanwhile, by an equal one.
            let _ = guard.insert(RenderedPage { is_last: false, ..page.clone() });
        }
        Ok(page)
    }
}
