//! The server under test: the real binary as a child, with signals, its accounts with the operating system, and its probes.
//!
//! Invariants: it listens on a free port of loopback and says which; it sees nothing of our environment but `PATH`; it is
//! killed when it is dropped.

use crate::{
    failure::{Failure, within},
    tools::{self, words},
};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A server that does not listen by then never will.
const START: Duration = Duration::from_secs(20);
const LISTENING: &str = "listening on http://";
/// An answer that takes longer counts as none.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// `USER_HZ`, the unit of `/proc/<pid>/stat`.
const TICK: Duration = Duration::from_millis(10);

/// How to start a server.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) fanfare: PathBuf,
    pub(crate) data_dir: PathBuf,
    /// Where its stderr goes.
    pub(crate) log: PathBuf,
    /// Settings as `name=value`.
    pub(crate) settings: Vec<String>,
    /// A program with arguments that runs the server, such as strace.
    pub(crate) wrapper: Vec<OsString>,
}

impl Recipe {
    /// The same with a setting.
    pub(crate) fn with(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    fn command(&self) -> Result<Command, Failure> {
        let mut words = self.wrapper.clone();
        words.push(self.fanfare.clone().into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&self.data_dir);
        // The clients know what they published, and the checker holds the log against it.
        command.args(["--set", "self_events=off"]);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        let log = File::options().create(true).append(true).open(&self.log);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_err(Failure::during("opening the server's log"))?)
            .kill_on_drop(true);
        Ok(command)
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) data_dir: PathBuf,
    child: Child,
    http: reqwest::Client,
}

/// How a start ended.
#[derive(Debug)]
pub(crate) enum Started {
    Listening(Box<Server>),
    /// It ended before it listened.
    Ended(ExitStatus),
}

impl Server {
    /// Starts a server and waits until it listens.
    pub(crate) async fn start(recipe: &Recipe) -> Result<Self, Failure> {
        match Self::try_start(recipe).await? {
            Started::Listening(server) => Ok(*server),
            Started::Ended(status) => {
                let log = std::fs::read_to_string(&recipe.log).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                Err(Failure::broken(format!("the server ended at its start with {status}: {last}")))
            }
        }
    }

    /// Starts a server and waits until it listens or ends.
    pub(crate) async fn try_start(recipe: &Recipe) -> Result<Started, Failure> {
        let mut child = recipe.command()?.spawn().map_err(Failure::during("starting the server"))?;
        let pid = child.id().ok_or_else(|| Failure::broken("the server has no process id"))?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::broken("the server has no stdout"))?;
        let mut lines = BufReader::new(stdout).lines();
        let said = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, address)) = line.split_once(LISTENING) {
                    return address.trim().parse().ok();
                }
            }
            None
        };
        let Some(address) = within(START, "the server listens", said).await? else {
            let status = within(START, "a server that does not listen ends", child.wait()).await?;
            return status.map(Started::Ended).map_err(Failure::during("waiting for the server's end"));
        };
        let http = http_client()?;
        Ok(Started::Listening(Box::new(Server {
            address,
            pid,
            data_dir: recipe.data_dir.clone(),
            child,
            http,
        })))
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        self.child.kill().await.map_err(Failure::during("killing the server"))
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), Failure> {
        signal(self.pid, name).await
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self, deadline: Duration) -> Result<ExitStatus, Failure> {
        let status = within(deadline, "the server ends", self.child.wait()).await?;
        status.map_err(Failure::during("waiting for the server's end"))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks for a page; gives status and body.
    pub(crate) async fn get(&self, path: &str) -> Result<(u16, String), Failure> {
        let answered = async {
            let answer = self.http.get(self.url(path)).send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        };
        let answered = within(ANSWER, &format!("the server answers {path}"), answered).await?;
        answered.map_err(|error| Failure::broken(format!("{path} is not answered: {error}")))
    }

    /// Calls a method of JSON-RPC.
    pub(crate) async fn call(&self, method: &str, params: &Value) -> Result<Value, Failure> {
        let call = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, answer) = post(&self.http, &self.url("/rpc"), &call)
            .await
            .map_err(|why| Failure::broken(format!("{method} is not answered: {why}")))?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(Failure::broken(format!("{method} is refused: {answer}"))),
        }
    }

    /// A count of `/metrics`, by its name after `fanfare_`.
    pub(crate) async fn metric(&self, name: &str) -> Result<u64, Failure> {
        let (_, text) = self.get("/metrics").await?;
        let name = format!("fanfare_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
        value.ok_or_else(|| Failure::broken(format!("/metrics has no {name}")))
    }

    /// Memory in use, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64, Failure> {
        let status = read_proc(self.pid, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| Failure::broken("/proc tells no resident memory"))
    }

    /// User and system time of all threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let stat = read_proc(self.pid, "stat")?;
        // The name of the program ends at the last parenthesis; utime and stime are the 12th and 13th field after it.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().skip(11).take(2));
        let ticks: Option<u32> =
            fields.and_then(|fields| fields.map(|ticks| ticks.parse::<u32>().ok()).sum());
        ticks.map(|ticks| TICK * ticks).ok_or_else(|| Failure::broken("/proc tells no CPU time"))
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> Result<usize, Failure> {
        let directory = Path::new("/proc").join(self.pid.to_string()).join("fd");
        Ok(std::fs::read_dir(directory).map_err(Failure::during("reading /proc"))?.count())
    }
}

fn read_proc(pid: u32, file: &str) -> Result<String, Failure> {
    std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file))
        .map_err(Failure::during("reading /proc"))
}

/// Sends a signal to a process by its name.
pub(crate) async fn signal(pid: u32, name: &str) -> Result<(), Failure> {
    tools::run("kill", &words(&[&format!("-{name}"), &pid.to_string()])).await
}

/// A client whose requests end in bounded time.
pub(crate) fn http_client() -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder().timeout(ANSWER).no_proxy().tls_certs_only([]).build();
    client.map_err(|error| Failure::broken(format!("no HTTP client: {error}")))
}

/// Posts JSON; gives status and JSON answer, or why there is none.
pub(crate) async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Result<(u16, Value), String> {
    let request = http.post(url).header("content-type", "application/json").body(body.to_string());
    let answered = async {
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    };
    let (status, text) = answered.await.map_err(|error: reqwest::Error| cause(&error))?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// The innermost reason.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
