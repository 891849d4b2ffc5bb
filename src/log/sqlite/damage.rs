//! What goes wrong while a database is read: SQLite's own errors, and bytes that are not what was written.

use super::{
    super::{ReadError, store::StoreError},
    directory::{Directory, OpenError},
};
use crate::event::Offset;
use rusqlite::ErrorCode;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// SQLite said so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The bytes are not those that were written.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// Where they are, for people.
        what: String,
        /// The event that cannot be given, if it is one.
        offset: Option<Offset>,
        /// How it shows.
        reason: String,
    },
}

impl LoadError {
    /// Damage of the event at an offset.
    pub(super) fn event(offset: u64, reason: &impl ToString) -> Self {
        let what = format!("the event at offset {offset}");
        LoadError::Damaged { what, offset: Some(Offset::new(offset)), reason: reason.to_string() }
    }

    /// Damage elsewhere.
    pub(super) fn part(what: impl Into<String>, reason: &impl ToString) -> Self {
        LoadError::Damaged { what: what.into(), offset: None, reason: reason.to_string() }
    }

    /// The same for whoever opens the log.
    pub(super) fn on_open(self, directory: &Directory) -> OpenError {
        match self {
            LoadError::Sqlite(error) => directory.failed()(error),
            LoadError::Damaged { .. } => directory.damaged(&self),
        }
    }
}

/// Does SQLite say that the file is not what it wrote?
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::QueryReturnedNoRows
        )
}

/// Names the event that was looked for when SQLite found damage.
pub(super) fn at(offset: u64) -> impl Fn(rusqlite::Error) -> LoadError {
    move |error| match is_damage(&error) {
        true => LoadError::event(offset, &error),
        false => LoadError::Sqlite(error),
    }
}

impl From<LoadError> for ReadError {
    fn from(error: LoadError) -> Self {
        let reason = error.to_string();
        match error {
            LoadError::Damaged { offset, .. } => ReadError::Damaged { offset, reason },
            LoadError::Sqlite(error) if is_damage(&error) => ReadError::Damaged { offset: None, reason },
            LoadError::Sqlite(_) => ReadError::Failed { reason },
        }
    }
}

impl From<LoadError> for StoreError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Sqlite(error) => error.into(),
            LoadError::Damaged { .. } => StoreError::Failed { reason: error.to_string() },
        }
    }
}
