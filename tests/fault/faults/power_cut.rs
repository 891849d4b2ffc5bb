//! Power cuts under load: the data directory is on an ext4 image, and a copy of the image is what a disk without power keeps.
//!
//! Dirty pages of the mounted file system are not in the image yet, so whatever was not synced is missing in the copy. The
//! server is stopped before the copy is made: what it acknowledged, it acknowledged before the cut.

use crate::{
    failure::Failure,
    history::Record,
    load::{Load, Plan},
    probe::Probe,
    run::{Run, Settings},
    server::Server,
    strace::Injection,
    tools::{self, words},
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::sleep;

const IMAGE_BYTES: u64 = 1024 * 1024 * 1024;

/// Runs the cuts; with a lying disk every sync from the second cut on says that it is done and does nothing.
pub(crate) async fn run(settings: &Settings, cuts: u64, is_lying: bool) -> Result<String, Failure> {
    tools::need(&["mkfs.ext4", "mount", "umount", "cp"])?;
    let run = Run::new(settings, if is_lying { "power-cut-lying-disk" } else { "power-cut" })?;
    let mut chance = run.chance.clone();
    let mut disk = Disk::create(&run.directory).await?;
    let load = Load::start(&run.recorder, &Plan::default(), &chance.branch(0))?;
    for cut in 1..=cuts {
        let mut recipe = run.recipe_at(&disk.mount.join("data"));
        if is_lying && cut > 1 {
            recipe.wrapper = Injection::lie().wrapper()?;
        }
        let server = Server::start(&recipe).await?;
        if cut == 1 {
            // Before its first event a log may not be whole yet, and `log check` would say so.
            Probe::new("first", &run.recorder)?.acked(&server).await?;
        }
        load.serve_at(Some(server.address));
        sleep(Duration::from_millis(chance.between(50, 500))).await;
        server.signal("STOP").await?;
        run.recorder.record(Record::Fault { what: format!("power cut {cut}") });
        let kept = disk.copy(cut).await?;
        server.kill().await?;
        load.serve_at(None);
        disk = disk.replace(kept).await?;
        if !is_lying {
            run.log_check(&disk.mount.join("data")).await?;
        }
    }
    let server = Server::start(&run.recipe_at(&disk.mount.join("data"))).await?;
    load.finish(&server).await?;
    server.kill().await?;
    let counts = run.verdict()?.counts;
    Ok(format!(
        "{cuts} cuts; {} events acknowledged, 0 lost, {} outcomes left open, {} deliveries without gap or repeat",
        counts.acked, counts.unknown, counts.delivered
    ))
}

/// A mounted image.
#[derive(Debug)]
struct Disk {
    directory: PathBuf,
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    async fn create(directory: &Path) -> Result<Self, Failure> {
        let image = directory.join("disk-0.img");
        let file = std::fs::File::create(&image).map_err(Failure::during("creating an image"))?;
        file.set_len(IMAGE_BYTES).map_err(Failure::during("sizing an image"))?;
        let mut arguments = words(&["-q", "-F"]);
        arguments.push(image.as_os_str());
        tools::run("mkfs.ext4", &arguments).await?;
        Self::mount(directory, image).await
    }

    async fn mount(directory: &Path, image: PathBuf) -> Result<Self, Failure> {
        let mount = image.with_extension("mounted");
        tools::directory(&mount)?;
        let mut arguments = words(&["-o", "loop"]);
        arguments.extend([image.as_os_str(), mount.as_os_str()]);
        match tools::run("mount", &arguments).await {
            Ok(()) => Ok(Disk { directory: directory.to_owned(), image, mount }),
            Err(failure) => {
                Err(Failure::Lacking(format!("root and loop devices to mount an image ({failure})")))
            }
        }
    }

    /// What the disk holds now.
    async fn copy(&self, cut: u64) -> Result<PathBuf, Failure> {
        let kept = self.directory.join(format!("disk-{cut}.img"));
        let mut arguments = words(&["--sparse=always"]);
        arguments.extend([self.image.as_os_str(), kept.as_os_str()]);
        tools::run("cp", &arguments).await?;
        Ok(kept)
    }

    /// Goes on with another image; mounting it replays the journal, as after a real cut.
    async fn replace(self, image: PathBuf) -> Result<Self, Failure> {
        let arguments: [&OsStr; 1] = [self.mount.as_os_str()];
        tools::run("umount", &arguments).await?;
        std::fs::remove_file(&self.image).map_err(Failure::during("removing an image"))?;
        Self::mount(&self.directory, image).await
    }
}
