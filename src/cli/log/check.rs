//! `fanfare log check`: is everything stored what was written?

use super::{
    super::{Failure, terminal},
    json,
};
use fanfare::log::{self, CheckReport};
use std::path::Path;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let report = log::check(dir).map_err(Failure::failed)?;
    terminal::print(&if as_json { object(&report)? } else { text(dir, &report) })?;
    match report.is_sound() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn object(report: &CheckReport) -> Result<String, Failure> {
    let mut object = serde_json::to_value(report).map_err(Failure::failed)?;
    if let Some(members) = object.as_object_mut() {
        members.insert("sound".to_owned(), report.is_sound().into());
    }
    json(&object)
}

fn text(dir: &Path, report: &CheckReport) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(|finding| terminal::harmless(finding)).collect();
    if report.more_findings > 0 {
        lines.push(format!("and {} more of this kind", report.more_findings));
    }
    if report.beside_server {
        lines.push("a server is running on this log; it was looked at as it was at one moment".to_owned());
    }
    let range = match report.events {
        0 => "no events".to_owned(),
        events => format!("{events} events, offsets {} to {}", report.earliest, report.head),
    };
    let range = match report.state {
        0 => range,
        keys => format!("{range}, {keys} keys of the state"),
    };
    let verdict = match report.is_sound() {
        true => "sound".to_owned(),
        false => "DAMAGED: restore a backup; what is damaged is never given to anybody".to_owned(),
    };
    lines.push(format!("{}: {range}: {verdict}", dir.display()));
    lines.join("\n") + "\n"
}
