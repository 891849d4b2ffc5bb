//! Where the reader of a list stands: a key, sealed, because keys tell what masks may hide.

use super::Hub;
use crate::{error::Refusal, event::Cursor, log::StateKey};

/// Stands between the parts of a key, none of which can have it.
const BETWEEN: char = ' ';

impl Hub {
    /// A key as the reader of a list may keep it.
    pub fn place(&self, key: &StateKey) -> String {
        let (kind, organization, id) = (key.kind(), key.organization(), key.id());
        self.epoch().seal_text(&format!("{kind}{BETWEEN}{organization}{BETWEEN}{id}"))
    }

    /// The key of a place in a list of this kind. Fails with `CURSOR_INVALID`.
    pub fn open_place(&self, kind: &str, place: &str) -> Result<StateKey, Refusal> {
        let opened = self.epoch().open_text(place);
        let mut parts = opened.as_deref().into_iter().flat_map(|text| text.split(BETWEEN));
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some(own), Some(organization), Some(id), None) = parts else {
            return Err(Cursor::invalid(place));
        };
        if own != kind {
            return Err(Cursor::invalid(place));
        }
        let organization = Some(organization).filter(|organization| !organization.is_empty());
        StateKey::new(own, organization, id)
    }
}
