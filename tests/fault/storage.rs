//! A model of a disk and what a power cut may leave on it, fed with the storage calls that a server really made.
//!
//! Flow: strace's account of a run is read into calls; the calls up to a cut are played; the crash keeps what was synced and a
//! random legal part of the rest.
//! Invariants: what a sync covered stays whole; of what it did not, each write may be there, missing, or there in some of its
//! sectors only, whatever came after it; names come and go in order, and for good once their directory is synced. A call that
//! the model does not know is an error, never ignored.
//! Not here: which calls (`strace`), which cuts (`faults::simulated_cut`).

use crate::{chance::Chance, failure::Failure};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A storage call, of a file in the data directory by its name there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open { name: String, is_emptied: bool },
    Write { name: String, at: usize, bytes: Vec<u8> },
    Truncate { name: String, length: usize },
    Sync { name: String },
    SyncDirectory,
    Remove { name: String },
    Rename { name: String, to: String },
}

/// A call and when it began, in microseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Traced {
    pub(crate) at: u64,
    pub(crate) call: Call,
}

/// A line of a trace; calls at the position of a descriptor get their place only when all lines stand in order.
enum Step {
    Call(Call),
    Opened {
        descriptor: u32,
        call: Call,
    },
    /// Where the position is now.
    Sought {
        descriptor: u32,
        to: usize,
    },
    /// By how much the position has moved.
    Read {
        descriptor: u32,
        length: usize,
    },
    Wrote {
        descriptor: u32,
        name: String,
        bytes: Vec<u8>,
    },
}

/// Reads what `strace -ff -ttt -y -xx` wrote about a directory: one file a thread, merged by time.
pub(crate) fn read_trace(traces: &Path, directory: &Path) -> Result<Vec<Traced>, Failure> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(traces).map_err(Failure::during("reading a trace"))? {
        let path = entry.map_err(Failure::during("reading a trace"))?.path();
        let text = std::fs::read_to_string(&path).map_err(Failure::during("reading a trace"))?;
        for line in text.lines() {
            let unknown = || {
                let begin: String = line.chars().take(400).collect();
                Failure::broken(format!("the model of a disk does not know: {begin}"))
            };
            let Some(read) = read_line(line, directory) else { continue };
            steps.push(read.ok_or_else(unknown)?);
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    let mut positions = HashMap::new();
    let placed =
        steps.into_iter().filter_map(|(at, step)| Some(Traced { at, call: place(step, &mut positions)? }));
    Ok(placed.collect())
}

/// Gives calls at a descriptor's position their place.
fn place(step: Step, positions: &mut HashMap<u32, usize>) -> Option<Call> {
    match step {
        Step::Call(call) => Some(call),
        Step::Opened { descriptor, call } => {
            positions.insert(descriptor, 0);
            Some(call)
        }
        Step::Sought { descriptor, to } => {
            positions.insert(descriptor, to);
            None
        }
        Step::Read { descriptor, length } => {
            *positions.entry(descriptor).or_default() += length;
            None
        }
        Step::Wrote { descriptor, name, bytes } => {
            let position = positions.entry(descriptor).or_default();
            let at = *position;
            *position += bytes.len();
            Some(Call::Write { name, at, bytes })
        }
    }
}

/// One line: none if it is of no interest, an inner none if it should be known and is not.
fn read_line(line: &str, directory: &Path) -> Option<Option<(u64, Step)>> {
    let (time, rest) = line.split_once(' ')?;
    let (call, rest) = rest.split_once('(')?;
    // A call that never ended was cut off by the end of the process.
    let (arguments, result) = rest.rsplit_once(") = ")?;
    if result.starts_with('-') || result.starts_with('?') {
        return None;
    }
    let path = match call {
        "rename" => return renamed(time, arguments, directory),
        "openat" | "unlink" => quoted(arguments)?,
        "lseek" | "read" | "write" | "pwrite64" | "fsync" | "fdatasync" | "ftruncate" => {
            of_descriptor(arguments)?
        }
        // Whatever it does to the directory, the model does not know it.
        _ => return arguments.contains(&escape(directory)).then_some(None),
    };
    let path = String::from_utf8(path).ok()?;
    let path = Path::new(&path);
    let name = path.strip_prefix(directory).ok()?.to_str()?.to_owned();
    if !is_kept(&name) || (call == "openat" && name.is_empty()) {
        return None;
    }
    Some(micros(time).zip(read_step(call, name, arguments, result)))
}

/// A file of the directory that gets another name there.
fn renamed(time: &str, arguments: &str, directory: &Path) -> Option<Option<(u64, Step)>> {
    let name = |path: &str| {
        let path = String::from_utf8(quoted(path)?).ok()?;
        Some(Path::new(&path).strip_prefix(directory).ok()?.to_str()?.to_owned())
    };
    let names = arguments.split_once(", ").and_then(|(from, to)| name(from).zip(name(to)));
    match names {
        Some((name, to)) => Some(micros(time).map(|at| (at, Step::Call(Call::Rename { name, to })))),
        None => arguments.contains(&escape(directory)).then_some(None),
    }
}

/// The index of the journal is rebuilt at each start, and the lock file is empty.
fn is_kept(name: &str) -> bool {
    !name.ends_with("-shm") && name != "lock"
}

fn read_step(call: &str, name: String, arguments: &str, result: &str) -> Option<Step> {
    let mut from_end = arguments.rsplit(", ").map(str::trim);
    let descriptor = || number(arguments)?.try_into().ok();
    match call {
        "openat" if arguments.contains("O_APPEND") => None,
        "openat" => {
            let call = Call::Open { name, is_emptied: arguments.contains("O_TRUNC") };
            Some(Step::Opened { descriptor: number(result)?.try_into().ok()?, call })
        }
        "lseek" => Some(Step::Sought { descriptor: descriptor()?, to: number(result)? }),
        "read" => Some(Step::Read { descriptor: descriptor()?, length: number(result)? }),
        "write" => {
            let bytes = quoted(arguments).filter(|bytes| Some(bytes.len()) == number(result))?;
            Some(Step::Wrote { descriptor: descriptor()?, name, bytes })
        }
        "pwrite64" => {
            let at = number(from_end.next()?)?;
            let bytes = quoted(arguments).filter(|bytes| Some(bytes.len()) == number(result))?;
            Some(Step::Call(Call::Write { name, at, bytes }))
        }
        "unlink" => Some(Step::Call(Call::Remove { name })),
        "fsync" | "fdatasync" if name.is_empty() => Some(Step::Call(Call::SyncDirectory)),
        "fsync" | "fdatasync" => Some(Step::Call(Call::Sync { name })),
        "ftruncate" => Some(Step::Call(Call::Truncate { name, length: number(from_end.next()?)? })),
        _ => None,
    }
}

/// The number at the beginning of a text.
fn number(text: &str) -> Option<usize> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

/// Microseconds of `1795231565.243183`.
fn micros(time: &str) -> Option<u64> {
    let (seconds, micros) = time.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?)
}

/// The bytes of the first string.
fn quoted(arguments: &str) -> Option<Vec<u8>> {
    let (_, after) = arguments.split_once('"')?;
    unescape(after.split_once('"')?.0)
}

/// The path of the first descriptor: `13<\x2f…>`.
fn of_descriptor(arguments: &str) -> Option<Vec<u8>> {
    let (_, after) = arguments.split_once('<')?;
    unescape(after.split_once('>')?.0)
}

fn escape(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte.get(..2)?, 16).ok()).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Truncate { length } => content.resize(*length, 0),
            Change::Write { at, bytes } => {
                if content.len() < at + bytes.len() {
                    content.resize(at + bytes.len(), 0);
                }
                content.iter_mut().skip(*at).zip(bytes).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Some of the sectors of a write.
    fn torn(&self, chance: &mut Chance) -> Vec<Change> {
        let Change::Write { at, bytes } = self else { return vec![self.clone()] };
        // Sectors are those of the disk, wherever the write begins.
        let (first, _) = bytes.split_at(bytes.len().min((SECTOR_BYTES - at % SECTOR_BYTES) % SECTOR_BYTES));
        let starts = std::iter::once(0).chain((first.len()..bytes.len()).step_by(SECTOR_BYTES));
        let ends = (first.len()..bytes.len()).step_by(SECTOR_BYTES).chain([bytes.len()]);
        let sectors = starts.zip(ends).filter(|(start, end)| start < end);
        let kept = sectors.filter(|_| chance.percent(50));
        kept.filter_map(|(start, end)| {
            Some(Change::Write { at: at + start, bytes: bytes.get(start..end)?.to_vec() })
        })
        .collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

/// The disk while calls are played.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    contents: Vec<Content>,
    /// As programs see them.
    names: BTreeMap<String, usize>,
    /// As the disk has them, and the changes that it does not have yet: a name with its content, or without.
    synced_names: BTreeMap<String, usize>,
    pending_names: Vec<(String, Option<usize>)>,
    /// Syncs say that they are done and do nothing.
    pub(crate) is_lying: bool,
}

impl Disk {
    /// A disk that holds the files of a directory.
    pub(crate) fn holding(directory: &Path) -> std::io::Result<Self> {
        let mut disk = Disk::default();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if is_kept(&name) {
                disk.content(&name).synced = std::fs::read(&path)?;
            }
        }
        disk.play(&Call::SyncDirectory);
        Ok(disk)
    }

    /// Plays one call.
    pub(crate) fn play(&mut self, call: &Call) {
        match call {
            Call::Open { name, is_emptied } => {
                let content = self.content(name);
                if *is_emptied {
                    content.pending.push(Change::Truncate { length: 0 });
                }
            }
            Call::Write { name, at, bytes } => {
                let bytes = bytes.clone();
                self.content(name).pending.push(Change::Write { at: *at, bytes });
            }
            Call::Truncate { name, length } => {
                self.content(name).pending.push(Change::Truncate { length: *length });
            }
            Call::Sync { .. } | Call::SyncDirectory if self.is_lying => {}
            Call::Sync { name } => {
                let Content { synced, pending } = self.content(name);
                pending.drain(..).for_each(|change| change.apply(synced));
            }
            Call::SyncDirectory => {
                let pending = std::mem::take(&mut self.pending_names);
                pending.into_iter().for_each(|change| rename(&mut self.synced_names, change));
            }
            Call::Remove { name } => {
                self.names.remove(name);
                self.pending_names.push((name.clone(), None));
            }
            Call::Rename { name, to } => {
                if let Some(index) = self.names.remove(name) {
                    self.names.insert(to.clone(), index);
                    // A cut between the two leaves both names, as some file systems do.
                    self.pending_names.push((to.clone(), Some(index)));
                    self.pending_names.push((name.clone(), None));
                }
            }
        }
    }

    /// What stands under a name; made when it is not there.
    fn content(&mut self, name: &str) -> &mut Content {
        let new = self.contents.len();
        let index = *self.names.entry(name.to_owned()).or_insert(new);
        if index == new {
            self.contents.push(Content::default());
            self.pending_names.push((name.to_owned(), Some(index)));
        }
        &mut self.contents[index]
    }

    /// The files after a power cut.
    pub(crate) fn crash(&self, chance: &mut Chance) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.synced_names.clone();
        let kept = usize::try_from(chance.below(self.pending_names.len() as u64 + 1)).unwrap_or_default();
        self.pending_names.iter().take(kept).cloned().for_each(|change| rename(&mut names, change));
        // From nothing kept to everything kept, and all between.
        let percent = chance.one_of(&[0, 10, 50, 90, 100]).unwrap_or_default();
        let after = |index: &usize, chance: &mut Chance| {
            let content = self.contents.get(*index).cloned().unwrap_or_default();
            let mut kept = content.synced;
            for change in &content.pending {
                match chance.percent(percent) {
                    true => change.apply(&mut kept),
                    false if chance.percent(30) => {
                        change.torn(chance).iter().for_each(|sector| sector.apply(&mut kept));
                    }
                    false => {}
                }
            }
            kept
        };
        names.into_iter().map(|(name, index)| (name, after(&index, chance))).collect()
    }
}

fn rename(names: &mut BTreeMap<String, usize>, (name, content): (String, Option<usize>)) {
    match content {
        Some(index) => drop(names.insert(name, index)),
        None => drop(names.remove(&name)),
    }
}
