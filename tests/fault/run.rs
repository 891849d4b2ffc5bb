//! One run of a fault: its directory, its history, its verdict.

use crate::{
    chance::Chance,
    checker,
    failure::{Failure, within},
    history,
    recorder::Recorder,
    server::Recipe,
    tools,
};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::process::Command;

const LOG_CHECK: Duration = Duration::from_secs(60);

/// What all faults of one call share.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The binary under test.
    pub(crate) fanfare: PathBuf,
    /// Decides every random choice.
    pub(crate) seed: u64,
    /// Runs leave their directories below it.
    pub(crate) out: PathBuf,
    /// Has the binary a `log check`?
    pub(crate) has_log_check: bool,
    /// Are breaches printed? Not where they must come.
    pub(crate) shows_breaches: bool,
}

impl Settings {
    /// Looks at the binary.
    pub(crate) async fn new(fanfare: PathBuf, seed: u64, out: PathBuf) -> Result<Self, Failure> {
        let asked = Command::new(&fanfare)
            .args(["log", "check", "--help"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .map_err(Failure::during(format!("starting {}", fanfare.display())))?;
        Ok(Settings { fanfare, seed, out, has_log_check: asked.success(), shows_breaches: true })
    }
}

/// A directory with a history in it.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) settings: Settings,
    pub(crate) directory: PathBuf,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) chance: Chance,
}

impl Run {
    /// Makes the directory.
    pub(crate) fn new(settings: &Settings, name: &str) -> Result<Self, Failure> {
        let directory = settings.out.join(name);
        directory.parent().map(tools::directory).transpose()?;
        // A run that is there already would be mixed with this one.
        let made = std::fs::create_dir(&directory);
        made.map_err(Failure::during(format!("making {} for a run", directory.display())))?;
        let recorder = Arc::new(Recorder::create(&directory, "history")?);
        let part = name.bytes().fold(0, |part: u64, byte| part.wrapping_mul(31) + u64::from(byte));
        let chance = Chance::new(settings.seed).branch(part);
        Ok(Run { settings: settings.clone(), directory, recorder, chance })
    }

    /// A run in the directory of another.
    pub(crate) fn below(other: &Run, name: &str) -> Result<Self, Failure> {
        let settings = Settings { out: other.directory.clone(), ..other.settings.clone() };
        Run::new(&settings, name)
    }

    /// Begins with the data and the history of another run, whose server does not run any more.
    pub(crate) fn follow(&self, other: &Run) -> Result<(), Failure> {
        let copied = || {
            std::fs::copy(other.directory.join("history.jsonl"), self.directory.join("before.jsonl"))?;
            let data = self.directory.join("data");
            std::fs::create_dir_all(&data)?;
            for entry in std::fs::read_dir(other.directory.join("data"))? {
                let path = entry?.path();
                // The index of the journal is made anew.
                if let Some(name) = path.file_name().filter(|_| !path.ends_with("fanfare.db-shm")) {
                    std::fs::copy(&path, data.join(name))?;
                }
            }
            Ok(())
        };
        copied().map_err(Failure::during("copying a run"))
    }

    /// A server on the run's own data directory. It pings often, so that checkpoints are many.
    pub(crate) fn recipe(&self) -> Recipe {
        self.recipe_at(&self.directory.join("data"))
    }

    /// A server on a data directory elsewhere.
    pub(crate) fn recipe_at(&self, data_dir: &Path) -> Recipe {
        Recipe {
            fanfare: self.settings.fanfare.clone(),
            data_dir: data_dir.to_owned(),
            log: self.directory.join("server.log"),
            settings: vec!["ping_interval=200ms".to_owned(), "log=warn".to_owned()],
            wrapper: Vec::new(),
        }
    }

    /// Asks the binary's own check about the data of a server that does not run.
    pub(crate) async fn log_check(&self, data_dir: &Path) -> Result<(), Failure> {
        if !self.settings.has_log_check {
            return Ok(());
        }
        let mut command = Command::new(&self.settings.fanfare);
        command.args(["log", "check", "--data-dir"]).arg(data_dir).kill_on_drop(true);
        let output = within(LOG_CHECK, "`fanfare log check` ends", command.output()).await?;
        let output = output.map_err(Failure::during("running `fanfare log check`"))?;
        match output.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(Failure::broken(format!("`fanfare log check` is not content: {said}")))
            }
        }
    }

    /// Judges the history; breaches are printed and fail.
    pub(crate) fn verdict(&self) -> Result<checker::Report, Failure> {
        self.recorder.flush()?;
        sound(report(&self.directory)?, self.settings.shows_breaches)
    }
}

/// Judges a history in a directory.
pub(crate) fn report(directory: &Path) -> Result<checker::Report, Failure> {
    let records = history::read(directory).map_err(Failure::during("reading the history"))?;
    Ok(checker::check(&records))
}

/// A report without breaches; others fail, and are printed if so wanted.
pub(crate) fn sound(report: checker::Report, shows_breaches: bool) -> Result<checker::Report, Failure> {
    if report.violations.is_empty() {
        return Ok(report);
    }
    if shows_breaches {
        println!("{report}");
    }
    Err(Failure::Breached(report.violations.len()))
}
