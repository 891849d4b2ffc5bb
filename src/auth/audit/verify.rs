//! Is an audit file what was written? Every line is looked at, in the file and in the older ones that it goes on from.
//!
//! Invariants: nothing is changed. Each finding names the file and the line. What a crash leaves and the next start repairs is told
//! as a note; a line that was synced and is not there is a finding, then and ever after.

use super::{
    chain::{self, Head},
    line::{self, Anchor, Hash, LINE_BYTES_MAX, Line},
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// The most findings that are told one by one.
const FINDINGS_MAX: usize = 100;

/// What looking at an audit file has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Verification {
    /// Lines that were looked at.
    pub lines: u64,
    /// The number of the first one.
    pub first: u64,
    /// The last one: keep it elsewhere, and a later look can tell that nothing up to it has changed.
    pub last: Option<Anchor>,
    /// What is wrong, the first hundred of it, each a sentence.
    pub findings: Vec<String>,
    /// How much is wrong beyond those.
    pub more_findings: u64,
    /// What is no breach, but worth knowing.
    pub notes: Vec<String>,
}

impl Verification {
    /// Is nothing wrong?
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    fn found(&mut self, finding: String) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(finding),
            false => self.more_findings += 1,
        }
    }
}

/// Looks at an audit file, the older ones that it goes on from, and its head. An anchor that was kept elsewhere must be one of
/// their lines; with one, a missing head is only a note. Fails when a file cannot be read.
pub fn verify(file: &Path, anchor: Option<Anchor>) -> io::Result<Verification> {
    let mut look = Look { report: Verification::default(), last: None, anchors: Vec::new() };
    let head = chain::read_head(file)?;
    match head {
        Head::At(head) => look.anchors.push(("its head", head, false)),
        Head::Missing | Head::Unusable => {
            let what = if head == Head::Missing { "missing" } else { "unusable" };
            let path = chain::head_of(file);
            let text = format!("{} is {what}: lines cut off at the end cannot be told", path.display());
            match anchor {
                Some(_) => look.report.notes.push(text),
                None => look.report.found(text),
            }
        }
    }
    look.anchors.extend(anchor.map(|anchor| ("the anchor", anchor, false)));
    let older = chain::older(file)?;
    for (first, path) in &older {
        look.file(path, Some(*first))?;
    }
    // Between the two steps of a rotation there is none.
    if older.is_empty() || file.exists() {
        look.file(file, None)?;
    }
    Ok(look.ended())
}

/// A look that goes on from file to file.
struct Look {
    report: Verification,
    /// The last line, and its hash if that is known.
    last: Option<(u64, Option<Hash>)>,
    /// Lines that must be there, and whether they were seen.
    anchors: Vec<(&'static str, Anchor, bool)>,
}

impl Look {
    fn file(&mut self, path: &Path, first: Option<u64>) -> io::Result<()> {
        let mut lines = BufReader::new(File::open(path)?);
        let (mut number, mut bytes) = (0_u64, Vec::new());
        loop {
            bytes.clear();
            let read = (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            let place = Place { path: path.to_owned(), number };
            let Some((b'\n', text)) = bytes.split_last() else {
                self.wrong(&place, "it is cut; the server's next start repairs what a crash has cut");
                continue;
            };
            match line::read(text) {
                Ok(line) => self.line(&place, &line, first.filter(|_| number == 1)),
                Err(reason) => self.wrong(&place, &reason),
            }
        }
    }

    /// A line that cannot be read: the next one is judged by its number alone.
    fn wrong(&mut self, place: &Place, reason: &str) {
        self.report.lines += 1;
        self.report.found(format!("{place}: {reason}"));
        self.last = self.last.map(|(last, _)| (last + 1, None));
    }

    fn line(&mut self, place: &Place, line: &Line, named: Option<u64>) {
        let seq = line.anchor.seq;
        self.report.lines += 1;
        if self.report.first == 0 {
            self.report.first = seq;
        }
        match self.last {
            Some((last, hash)) => self.follows(place, line, last, hash),
            None => self.begins(place, line),
        }
        if named.is_some_and(|named| named != seq) {
            self.report.found(format!("{place}: the file's name says another first line than {seq}"));
        }
        if place.number == 1 && seq != 1 && line.kind != "continued" {
            self.report.found(format!("{place}: lines in front of it were removed"));
        }
        if line.kind == "recovered" {
            self.recovered(place, line);
        }
        for (_, anchor, is_seen) in &mut self.anchors {
            *is_seen |= *anchor == line.anchor;
        }
        self.last = Some((seq, Some(line.anchor.hash)));
        self.report.last = Some(line.anchor);
    }

    fn begins(&mut self, place: &Place, line: &Line) {
        let seq = line.anchor.seq;
        if seq == 1 && line.prev != Hash::ZERO {
            self.report.found(format!("{place}: it is the first line, but names one before it"));
        }
        if seq != 1 && place.number == 1 {
            self.report
                .notes
                .push(format!("lines 1 to {} are in files that are not here", seq.saturating_sub(1)));
        }
    }

    fn follows(&mut self, place: &Place, line: &Line, last: u64, hash: Option<Hash>) {
        let (seq, due) = (line.anchor.seq, last + 1);
        if seq > due {
            self.report
                .found(format!("{place}: it has the number {seq}; lines {due} to {} are missing", seq - 1));
        } else if seq < due {
            self.report.found(format!(
                "{place}: it has the number {seq} where {due} is due: repeated, moved or inserted"
            ));
        } else if hash.is_some_and(|hash| hash != line.prev) {
            self.report
                .found(format!("{place}: the line before it is not the one that it was written after"));
        }
    }

    fn recovered(&mut self, place: &Place, line: &Line) {
        let detail = |name: &str| line.details.get(name).map_or("?", String::as_str);
        let (torn, found, head) = (detail("torn_bytes"), detail("found"), detail("head"));
        match detail("lost") == "true" {
            true => self.report.found(format!(
                "{place}: when the server started, lines were missing: the file ended at {found}, its head was {head}"
            )),
            false => self.report.notes.push(format!("{place}: a crash left {torn} bytes of a line, which were removed")),
        }
    }

    fn ended(mut self) -> Verification {
        let last = self.report.last.map_or(0, |last| last.seq);
        for (name, anchor, is_seen) in std::mem::take(&mut self.anchors) {
            if is_seen || anchor == Anchor::START {
                continue;
            }
            let finding = match anchor.seq {
                seq if seq > last => {
                    format!("lines {} to {seq} are missing at the end: {name} is {anchor}", last + 1)
                }
                seq if seq < self.report.first => {
                    format!("line {seq}, {name}, is in a file that is not here")
                }
                seq => format!("line {seq} is not the one of {name}: the file was written anew"),
            };
            self.report.found(finding);
        }
        self.report
    }
}

struct Place {
    path: PathBuf,
    number: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} line {}", self.path.display(), self.number)
    }
}
