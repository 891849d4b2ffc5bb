//! Documents that passed the guard, kept by their text: clients send the same few again and again.
//!
//! Invariants: the text is compared whole; a refused document is not kept; what is kept is bounded in bytes. Nothing here
//! depends on who asks or on variables.

use super::guard::{self, GuardOptions};
use crate::error::Refusal;
use async_graphql::parser::types::ExecutableDocument;
use quick_cache::{Weighter, sync::Cache};
use std::{fmt, sync::Arc};

/// So many bytes of documents are kept.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What a parsed document takes for a byte of its text, on the safe side: a field of one letter and a space becomes a node of
/// about a hundred bytes with its position, name and empty lists.
const BYTES_FOR_A_BYTE: u64 = 64;

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Box<str>, Arc<ExecutableDocument>> for ByBytes {
    fn weight(&self, text: &Box<str>, _document: &Arc<ExecutableDocument>) -> u64 {
        1_024 + text.len() as u64 * BYTES_FOR_A_BYTE
    }
}

/// The door of the executor for documents. Cloning shares what is kept.
#[derive(Clone)]
pub struct Documents {
    kept: Arc<Cache<Box<str>, Arc<ExecutableDocument>, ByBytes>>,
    options: GuardOptions,
}

impl Documents {
    /// With the guard's bounds.
    pub fn new(options: GuardOptions) -> Self {
        Documents { kept: Arc::new(Cache::with_weighter(512, BYTES_MAX, ByBytes)), options }
    }

    /// Lets a document in, or not. Fails as [`guard::admit`] does.
    pub fn admit(&self, text: &str) -> Result<Arc<ExecutableDocument>, Refusal> {
        if let Some(document) = self.kept.get(text) {
            return Ok(document);
        }
        let document = Arc::new(guard::admit(text, &self.options)?);
        self.kept.insert(text.into(), Arc::clone(&document));
        Ok(document)
    }

    /// The guard's bounds.
    pub fn options(&self) -> &GuardOptions {
        &self.options
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_parsed_once_and_a_refused_one_is_refused_again() {
        let documents = Documents::new(GuardOptions::default());
        let first = documents.admit("{ stats { head } }").unwrap();
        assert!(Arc::ptr_eq(&first, &documents.admit("{ stats { head } }").unwrap()));
        assert!(!Arc::ptr_eq(&first, &documents.admit("{ stats { head }  }").unwrap()));
        for _ in 0..2 {
            assert!(documents.admit("{ stats { head }").is_err());
        }
        assert_eq!(documents.kept.len(), 2);
    }

    #[test]
    fn ever_new_documents_do_not_fill_the_memory() {
        let documents = Documents::new(GuardOptions::default());
        for number in 0..20_000 {
            documents.admit(&format!("{{ a{number}: stats {{ head }} }}")).unwrap();
        }
        assert!(documents.kept.weight() <= BYTES_MAX);
    }
}
