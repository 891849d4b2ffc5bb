//! Pages of what is kept, from one snapshot.
//!
//! How: one organization, or each of a few, is a range of its own in the index of keys, and so is a domain in its index; with
//! nothing known all keys of the kind are one range. What an index names is checked again by the page.

use super::{
    super::{Kept, StateKey, StatePage, StateRead, page::StatePageBuilder},
    damage::LoadError,
    pages::Snapshot,
    state::{self, StateRecord},
};
use rusqlite::{ToSql, named_params};
use std::sync::Arc;

/// A range of keys in order.
#[derive(Clone, Copy)]
struct Range<'a> {
    /// Of one organization, or of all.
    organization: Option<&'a str>,
    domain: Option<&'a str>,
    id: Option<&'a str>,
    /// After this organization and id.
    after: (&'a str, &'a str),
}

impl Range<'_> {
    fn sql(self) -> String {
        let (index, id) = match (self.id, self.organization, self.domain) {
            (Some(_), Some(_), _) => ("state_by_key", " AND id = :id"),
            (Some(_), None, _) => ("state_by_id", " AND id = :id"),
            (None, _, Some(_)) => ("state_by_domain", ""),
            (None, _, None) => ("state_by_key", ""),
        };
        let domain = if index == "state_by_domain" { " AND domain = :domain" } else { "" };
        let organization = match self.organization {
            Some(_) => " AND organization = :organization AND id > :after_id",
            None => {
                " AND organization >= :after_organization
                 AND (organization, id) > (:after_organization, :after_id)"
            }
        };
        format!(
            "SELECT organization, id, offset, record FROM state INDEXED BY {index}
             WHERE kind = :kind{id}{domain}{organization} ORDER BY organization, id LIMIT :rows"
        )
    }
}

impl Snapshot<'_> {
    /// One page that looks at so many rows.
    pub(super) fn state_page(&self, read: &StateRead, rows_max: usize) -> Result<StatePage, LoadError> {
        let mut page = StatePageBuilder::new(read, rows_max);
        let after = read.after.as_ref().map_or(("", ""), |key| (key.organization(), key.id()));
        let (domain, id) = (read.domain(), read.id.as_deref());
        let Some(organizations) = read.organizations() else {
            let all = Range { organization: None, domain, id, after };
            let is_last = self.state_range(&mut page, read, all)?;
            return Ok(page.finish(self.committed(), is_last));
        };
        for organization in organizations.range(after.0..).copied() {
            let after = if organization == after.0 { after } else { (organization, "") };
            let own = Range { organization: Some(organization), domain, id, after };
            if !self.state_range(&mut page, read, own)? {
                return Ok(page.finish(self.committed(), false));
            }
        }
        Ok(page.finish(self.committed(), true))
    }

    /// Shows the rows of a range to a page. False: the page is full.
    fn state_range(
        &self,
        page: &mut StatePageBuilder<'_>,
        read: &StateRead,
        range: Range<'_>,
    ) -> Result<bool, LoadError> {
        let mut statement = self.transaction().prepare_cached(&range.sql())?;
        let rows = i64::try_from(page.keys_left()).unwrap_or(i64::MAX);
        let given: &[(&str, &dyn ToSql)] = named_params! {
            ":kind": &*read.kind, ":id": range.id, ":domain": range.domain, ":organization": range.organization,
            ":after_organization": range.after.0, ":after_id": range.after.1, ":rows": rows,
        };
        for (name, value) in given {
            if let Some(index) = statement.parameter_index(name)? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let key = StateKey::stored(&read.kind, state::text(row, 0)?, state::text(row, 1)?);
            let found = StateRecord::of_row(row, (2, 3), &key)?;
            let damaged = |reason| state::damaged(&key, &reason);
            let goes_on = match found.record.may_match(&read.filter).map_err(damaged)? {
                true => {
                    let event = Arc::new(found.event(self.epoch()).map_err(damaged)?);
                    page.offer(Kept { key: key.clone(), event })
                }
                false => page.pass(&key),
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
