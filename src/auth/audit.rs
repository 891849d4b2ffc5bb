//! What happened to whom, for whoever has to answer for it: an append-only file of JSON lines in which each line holds the hash of
//! the one before it.
//!
//! Flow: the edge makes an [`Entry`] and gives it to [`Audit`]; one thread writes what waits, syncs it and moves the head.
//! Invariants: recording never blocks and never fails a caller; what cannot be kept is counted, in the file as well once it can be
//! written again. What an admin decides waits for its line ([`Audit::commit`]) and is refused without it. A flood cannot fill
//! the disk: each kind and caller has so many lines a second, the rest is counted.
//! Limits: whoever can write the file can write all of it anew; an [`Anchor`] that is kept elsewhere tells.
//! Not here: who is told what (`server`).

mod chain;
mod entry;
mod line;
mod sampler;
mod verify;

pub use chain::AuditError;
pub use entry::{Entry, Kind};
pub use line::Anchor;
pub use verify::{Verification, verify};

use crate::{
    error::{Code, Refusal},
    metrics::Metrics,
};
use chain::Chain;
use sampler::Sampler;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// Entries that wait for the disk; beyond them they are lost and counted.
const QUEUE_MAX: usize = 4_096;
/// The most entries of one sync.
const BATCH_MAX: usize = 1_024;
/// For so long a decision waits for its line.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the thread looks whether something was left out.
const TICK: Duration = Duration::from_secs(1);

/// How an audit file is written.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The file. Its head, its lock and older files stand beside it.
    pub file: PathBuf,
    /// The file is continued in another one before it grows beyond this.
    pub bytes_max: u64,
}

/// The record of what happened. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Audit(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Message>,
    sampler: Mutex<Sampler>,
    state: Arc<State>,
    metrics: Metrics,
}

/// What the thread tells.
#[derive(Debug)]
struct State {
    is_writing: AtomicBool,
    /// Entries that were lost and that no line tells of yet.
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Record(Box<Entry>),
    /// To be answered once it is on stable storage, or could not be put there.
    Commit(Box<Entry>, oneshot::Sender<bool>),
    Close(oneshot::Sender<()>),
}

impl Audit {
    /// Nothing is recorded.
    pub fn off() -> Self {
        Audit(None)
    }

    /// Opens the file, or makes it, and starts its thread. Fails when it cannot be written now or another server writes it.
    pub fn open(options: &AuditOptions, metrics: Metrics) -> Result<Self, AuditError> {
        let (mut chain, recovered) = Chain::open(&options.file, options.bytes_max)?;
        if let Some(recovered) = recovered {
            tracing::warn!(file = %options.file.display(), found = ?recovered.details, "the audit file was repaired");
            let failed = |source| AuditError::Io { path: options.file.clone(), source };
            chain.append(&[recovered]).map_err(failed)?;
        }
        let (queue, messages) = sync_channel(QUEUE_MAX);
        let state = Arc::new(State { is_writing: AtomicBool::new(true), lost: AtomicU64::new(0) });
        let shared = Arc::new(Shared {
            queue,
            sampler: Mutex::new(Sampler::new(Instant::now())),
            state: Arc::clone(&state),
            metrics: metrics.clone(),
        });
        let writer = Writer { chain, state, metrics, shared: Arc::downgrade(&shared) };
        let spawned =
            std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&messages));
        spawned.map_err(|source| AuditError::Io { path: options.file.clone(), source })?;
        Ok(Audit(Some(shared)))
    }

    /// Records what happened, as soon as the disk takes it. Never blocks: when too much waits, or the caller is too frequent,
    /// it is counted instead.
    pub fn record(&self, entry: Entry) {
        let Some(shared) = &self.0 else { return };
        let now = Instant::now();
        let (left_out, is_admitted) = {
            let mut sampler = shared.sampler.lock().unwrap_or_else(PoisonError::into_inner);
            (sampler.ended(now), sampler.admits(&entry))
        };
        for entry in left_out.into_iter().chain(is_admitted.then_some(entry)) {
            shared.send(Message::Record(Box::new(entry)));
        }
    }

    /// Records what an admin decided, and returns once the line is on stable storage: only then may it be done. Fails with
    /// `UNAVAILABLE`.
    ///
    /// Cancel safety: the line may be there although nobody waited for it, as after a disk that took too long.
    pub async fn commit(&self, entry: Entry) -> Result<(), Refusal> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        shared.send(Message::Commit(Box::new(entry), answer));
        match timeout(COMMIT_TIMEOUT, answered).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => {
                let message = "this cannot be recorded in the audit file now, so it is not done";
                Err(Refusal::new(Code::Unavailable, message))
            }
        }
    }

    /// Is everything recorded that happens? Readiness is red while it is not.
    pub fn is_writing(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.state.is_writing.load(Ordering::Relaxed))
    }

    /// Writes what waits and lets the file go; what is recorded later is lost and counted.
    ///
    /// Cancel safety: closing goes on.
    pub async fn close(&self) {
        let Some(shared) = self.0.clone() else { return };
        let (closed, is_closed) = oneshot::channel();
        // Waits for room in the queue, which is the disk's time.
        let sent = tokio::task::spawn_blocking(move || shared.queue.send(Message::Close(closed)).is_ok());
        if sent.await.unwrap_or(false) {
            let _ = is_closed.await;
        }
    }
}

impl Shared {
    fn send(&self, message: Message) {
        let lost = match self.queue.try_send(message) {
            Ok(()) => return,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
        };
        let (Message::Record(entry) | Message::Commit(entry, _)) = lost else { return };
        self.state.lost(&self.metrics, &[*entry]);
    }
}

impl State {
    fn lost(&self, metrics: &Metrics, entries: &[Entry]) {
        let count = entries.iter().map(|entry| 1 + entry.more).sum();
        self.lost.fetch_add(count, Ordering::Relaxed);
        metrics.audit_lost.inc_by(count);
        if self.is_writing.swap(false, Ordering::Relaxed) {
            tracing::error!("the audit is incomplete: entries are lost, see fanfare_audit_lost_total");
        }
    }
}

/// The thread and what it owns.
struct Writer {
    chain: Chain,
    state: Arc<State>,
    metrics: Metrics,
    shared: std::sync::Weak<Shared>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let first = match messages.recv_timeout(TICK) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let (mut entries, mut answers, mut closed) = (self.left_out(), Vec::new(), None);
            for message in first.into_iter().chain(messages.try_iter().take(BATCH_MAX - 1)) {
                match message {
                    Message::Record(entry) => entries.push(*entry),
                    Message::Commit(entry, answer) => {
                        entries.push(*entry);
                        answers.push(answer);
                    }
                    Message::Close(answer) => {
                        closed = Some(answer);
                        break;
                    }
                }
            }
            let is_written = self.write(entries);
            for answer in answers {
                // Nobody may be waiting any more.
                let _ = answer.send(is_written);
            }
            if let Some(closed) = closed {
                drop(self);
                let _ = closed.send(());
                return;
            }
        }
    }

    /// What was left out in the last second.
    fn left_out(&self) -> Vec<Entry> {
        let Some(shared) = self.shared.upgrade() else { return Vec::new() };
        let mut sampler = shared.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        sampler.ended(Instant::now())
    }

    /// Writes entries, after a line that tells how many were lost before them. Says whether they are on stable storage.
    fn write(&mut self, mut entries: Vec<Entry>) -> bool {
        let lost = self.state.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let told = Entry { more: lost, outcome: "lost", ..Entry::of(Kind::Lost) };
            entries.insert(0, told);
        }
        if entries.is_empty() {
            return true;
        }
        match self.chain.append(&entries) {
            Ok(()) => {
                self.metrics.audit_entries.inc_by(entries.len() as u64);
                self.state.lost.fetch_sub(lost, Ordering::Relaxed);
                self.state.is_writing.store(!self.chain.is_head_behind(), Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the audit file cannot be written");
                let own = entries.get(usize::from(lost > 0)..).unwrap_or_default();
                self.state.lost(&self.metrics, own);
                self.state.is_writing.store(false, Ordering::Relaxed);
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
