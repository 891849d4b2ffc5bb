//! Writes a history while it happens.

use crate::{
    failure::Failure,
    history::{Line, Record},
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// One file of a history; all tasks of a run write to it.
#[derive(Debug)]
pub(crate) struct Recorder {
    file: Mutex<(BufWriter<File>, std::io::Result<()>)>,
}

impl Recorder {
    pub(crate) fn create(directory: &Path, name: &str) -> Result<Self, Failure> {
        let path = directory.join(name).with_extension("jsonl");
        let file = File::create(&path).map_err(Failure::during(format!("creating {}", path.display())))?;
        Ok(Recorder { file: Mutex::new((BufWriter::new(file), Ok(()))) })
    }

    /// Appends a record. A failure is kept for [`Recorder::flush`].
    pub(crate) fn record(&self, record: Record) {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = &mut *guard;
        if written.is_ok() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
            let line = Line { at: u64::try_from(now).unwrap_or_default(), record };
            let line = serde_json::to_string(&line).map_err(std::io::Error::other);
            *written = line.and_then(|line| writeln!(file, "{line}"));
        }
    }

    /// Brings all records to the file.
    pub(crate) fn flush(&self) -> Result<(), Failure> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = &mut *guard;
        std::mem::replace(written, Ok(()))
            .and_then(|()| file.flush())
            .map_err(Failure::during("writing the history"))
    }
}
