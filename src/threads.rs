//! Which threads a server has: runtimes beside the one that it is run on.
//!
//! Invariants: a runtime's queue is first in, first out, so what thousands of WebSockets ask for at once would stand before each
//! publish and each live event; they have threads of their own, between which the system divides the cores.
//! Not here: the threads that write payloads (`server/delivery.rs`), the log's writer (`log`).

use crate::fanout::way;
use std::{io, time::Duration};
use tokio::runtime::{Builder, Handle, Runtime};

/// So many sockets that became readable are served before the next look at the rest.
const SOCKETS_AT_ONCE: usize = 64;
/// Tasks that were woken by other threads, and those beyond what a thread's own queue holds, have every second turn. By itself
/// the runtime gives them one turn in about ten while its own queue is never empty.
const SHARED_QUEUE_INTERVAL: u32 = 2;
/// So long the threads are waited for at the end of a server.
const END_MAX: Duration = Duration::from_secs(1);

/// A runtime as a server wants it: fair when thousands of sockets want something at once.
pub fn runtime_builder() -> Builder {
    let mut builder = Builder::new_multi_thread();
    builder
        .max_io_events_per_tick(SOCKETS_AT_ONCE)
        .global_queue_interval(SHARED_QUEUE_INTERVAL)
        .on_thread_unpark(way::woke)
        .enable_all();
    builder
}

/// The runtimes of a server beside the one that it is run on.
#[derive(Debug)]
pub(crate) struct Threads {
    sockets: Aside,
    fanout: Aside,
}

impl Threads {
    /// Must be called on the server's runtime.
    pub(crate) fn start() -> io::Result<Self> {
        let workers = Handle::current().metrics().num_workers();
        let mut sockets = runtime_builder();
        sockets.worker_threads(workers).thread_name("sockets");
        let mut fanout = runtime_builder();
        fanout.worker_threads(1).thread_name("fanout");
        Ok(Threads { sockets: Aside::start(&mut sockets)?, fanout: Aside::start(&mut fanout)? })
    }

    /// Ends what still runs.
    pub(crate) async fn end(mut self) {
        let ended = tokio::task::spawn_blocking(move || {
            self.sockets.end();
            self.fanout.end();
        });
        if ended.await.is_err() {
            tracing::error!("the server's threads have not ended as they should");
        }
    }

    /// Reads WebSockets, begins their operations, replays the log to them.
    pub(crate) fn sockets(&self) -> &Handle {
        self.sockets.handle()
    }

    /// Routes and renders.
    pub(crate) fn fanout(&self) -> &Handle {
        self.fanout.handle()
    }
}

/// A runtime that ends with its owner, which may be a task.
#[derive(Debug)]
struct Aside(Option<Runtime>);

impl Aside {
    fn start(builder: &mut Builder) -> io::Result<Self> {
        builder.build().map(|runtime| Aside(Some(runtime)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("taken at the end only").handle()
    }

    /// Ends its tasks; those that do not give way in time are left behind.
    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(END_MAX);
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Whoever drops it may be a task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
