//! Looking at what is kept: single resources, and pages of a kind with the position after which nothing of them is missed.

use super::{Kind, Resource, Resources, Which, event_types, shape::is_word};
use crate::{
    auth::Principal,
    error::{Code, Refusal},
    event::{Cursor, Event, EventFilter, Family, ScopeField, check_id},
    hub::{StateKey, StateRead},
};
use std::sync::Arc;

/// The most resources of one page.
pub const PAGE_MAX: u32 = 1_000;
const PAGE_DEFAULT: u32 = 50;
const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How often what is kept is read for one page: few of what was read may have the status that is asked for.
const READS_MAX: usize = 16;

/// Which resources of a kind, and how many.
#[derive(Clone, Debug)]
pub struct List {
    /// Of which kind.
    pub kind: Kind,
    /// Which of them, by their scope.
    pub filter: EventFilter,
    /// Only those that have one of these statuses.
    pub status: Option<Vec<String>>,
    /// So many, 1 to [`PAGE_MAX`]; 50 where it is left out.
    pub first: Option<i64>,
    /// Only those after this place, which an earlier page gave.
    pub after: Option<String>,
}

impl List {
    /// All of a kind.
    pub fn new(kind: Kind) -> Self {
        List { kind, filter: EventFilter::default(), status: None, first: None, after: None }
    }
}

/// A resource of a page.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The resource.
    pub resource: Resource,
    key: StateKey,
}

/// Resources of a kind, as they were at one moment, in an order that stays.
#[derive(Clone, Debug)]
pub struct Page {
    /// The resources.
    pub entries: Vec<Entry>,
    /// The place to go on after, where there may be more.
    pub next: Option<String>,
    /// The position of the page: whoever follows the log after it misses no change of what is in the page. Of several pages the
    /// first one's counts; then an event counts if its version is greater than that of the resource.
    pub as_of: Cursor,
}

impl Resources {
    /// The resource as the caller sees it; `None` where there is none that it may read. Fails with `BAD_REQUEST` where several
    /// organizations have one of this id, `FORBIDDEN`, and `UNAVAILABLE`.
    ///
    /// Cancel safety: yes.
    pub async fn get(&self, principal: &Principal, which: &Which) -> Result<Option<Resource>, Refusal> {
        let Which { kind, id, organization_id } = which;
        check_id(id, Code::BadRequest, "id")?;
        may_name(principal, *kind, organization_id.as_deref())?;
        let organization = match kind.declaration().own() {
            Some(ScopeField::Organization) => Some(id),
            Some(_) | None => organization_id.as_ref(),
        };
        let Some(organization) = organization else {
            return Ok(self.find(principal, *kind, id).await?.map(|(_, event)| Resource::new(*kind, event)));
        };
        let key = StateKey::new(kind.name(), Some(organization), id)?;
        let (event, _) = self.hub.kept_one(principal, &key).await?;
        Ok(event.map(|event| Resource::new(*kind, event)))
    }

    /// A page of resources. Fails with `BAD_REQUEST`, `CURSOR_INVALID` for a place that no list of the kind gave, `FORBIDDEN`
    /// where the grant has nothing of it or what is selected by is masked, and `UNAVAILABLE`.
    ///
    /// Cancel safety: yes.
    pub async fn list(&self, principal: &Principal, list: List) -> Result<Page, Refusal> {
        let List { kind, filter, status, first, after } = list;
        let count = count(first)?;
        if let Some(statuses) = &status {
            check_statuses(principal, kind, statuses)?;
        }
        let has_status = |event: &Arc<Event>| {
            status.as_ref().is_none_or(|statuses| {
                Resource::new(kind, Arc::clone(event)).status().is_some_and(|own| statuses.contains(&own))
            })
        };
        let after = after.map(|place| self.hub.open_place(kind.name(), &place));
        let after = after.transpose().map_err(|refusal| refusal.with("field", "after"))?;
        let mut read = StateRead {
            kind: kind.name().into(),
            organization: None,
            id: None,
            filter: Arc::new(filter.within(Family::of(kind.name()))),
            after,
            // One more than asked for tells whether there are more.
            events_max: if status.is_some() { PAGE_MAX as usize } else { count + 1 },
            bytes_max: PAGE_BYTES_MAX,
        };
        let (mut entries, mut as_of) = (Vec::new(), None);
        for _ in 0..READS_MAX {
            let page = self.hub.kept(principal, read.clone()).await?;
            as_of.get_or_insert(page.as_of);
            let kept = page.kept.into_iter().filter(|kept| has_status(&kept.event));
            entries
                .extend(kept.map(|kept| Entry { resource: Resource::new(kind, kept.event), key: kept.key }));
            read.after = page.next;
            if entries.len() > count || read.after.is_none() {
                break;
            }
        }
        if entries.len() > count {
            entries.truncate(count);
            read.after = entries.last().map(|last| last.key.clone());
        }
        let next = read.after.map(|key| self.hub.place(&key));
        let as_of = as_of.ok_or_else(|| Refusal::new(Code::Internal, "nothing was read"))?;
        Ok(Page { entries, next, as_of })
    }

    /// The place of an entry in its list.
    pub fn place(&self, entry: &Entry) -> String {
        self.hub.place(&entry.key)
    }

    /// The one resource of this id that the caller may read, in whichever organization. Fails with `BAD_REQUEST` where there are
    /// several.
    pub(super) async fn find(
        &self,
        principal: &Principal,
        kind: Kind,
        id: &str,
    ) -> Result<Option<(StateKey, Arc<Event>)>, Refusal> {
        let mut read = StateRead {
            kind: kind.name().into(),
            organization: None,
            id: Some(id.into()),
            filter: Arc::new(EventFilter::default().within(Family::of(kind.name()))),
            after: None,
            events_max: 2,
            bytes_max: PAGE_BYTES_MAX,
        };
        let mut found = Vec::new();
        for _ in 0..READS_MAX {
            let page = self.hub.kept(principal, read.clone()).await?;
            found.extend(page.kept.into_iter().map(|kept| (kept.key, kept.event)));
            read.after = page.next;
            if found.len() > 1 || read.after.is_none() {
                break;
            }
        }
        match found.len() {
            0 | 1 if read.after.is_none() => Ok(found.pop()),
            _ => {
                let allowed =
                    format!("the organization whose {} is meant; several have one of this id", kind.name());
                Err(Refusal::field(Code::BadRequest, ScopeField::Organization.camel(), "nothing", allowed))
            }
        }
    }
}

/// Fails with `FORBIDDEN` where the ids by which a resource is named are masked.
pub(super) fn may_name(principal: &Principal, kind: Kind, organization: Option<&str>) -> Result<(), Refusal> {
    let view = principal.view();
    if view.is_whole() {
        return Ok(());
    }
    let mut asked = EventFilter::default().within(Family::of(kind.name()));
    let organization = organization.map(|id| (ScopeField::Organization, id));
    let own = kind.declaration().own().map(|own| (own, "any"));
    for (field, id) in organization.into_iter().chain(own) {
        asked = asked.with_scope(field, id)?;
    }
    view.check(&asked)?;
    view.check_member(&event_types(kind), "id")
}

fn count(first: Option<i64>) -> Result<usize, Refusal> {
    let given = first.unwrap_or(i64::from(PAGE_DEFAULT));
    match u32::try_from(given) {
        Ok(count @ 1..=PAGE_MAX) => Ok(count as usize),
        Ok(_) | Err(_) => {
            let allowed = format!("1 to {PAGE_MAX}");
            Err(Refusal::field(Code::BadRequest, "first", &given.to_string(), allowed))
        }
    }
}

fn check_statuses(principal: &Principal, kind: Kind, statuses: &[String]) -> Result<(), Refusal> {
    principal.view().check_member(&event_types(kind), "status")?;
    let refused = |given: &str, allowed: String| Refusal::field(Code::BadRequest, "status", given, allowed);
    if statuses.is_empty() {
        return Err(refused("[]", "at least one status, or none at all for every one".to_owned()));
    }
    let known = kind.declaration().statuses();
    let is_known = |status: &&String| match &known {
        Some(known) => known.contains(&status.as_str()),
        None => is_word(status),
    };
    match statuses.iter().find(|status| !is_known(status)) {
        None => Ok(()),
        Some(unknown) => {
            let allowed = known.as_ref().map_or_else(|| "a word".to_owned(), |known| known.join(", "));
            Err(refused(unknown, allowed))
        }
    }
}
