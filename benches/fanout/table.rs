//! The report for people: one table a row of the bench, then one table of all goals.

use crate::{
    goals::Judged,
    report::{Header, Line, Report, Spread},
};
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_header(f, &self.header)?;
        for (server, command) in &self.commands {
            writeln!(f, "{server}: {command}")?;
        }
        writeln!(f)?;
        let mut lines = self.lines.as_slice();
        while let Some(first) = lines.first() {
            let (own, others) = lines.split_at(lines.iter().take_while(|line| line.row == first.row).count());
            write_lines(f, first, own)?;
            lines = others;
        }
        write_goals(f, &self.goals)?;
        for left_out in &self.left_out {
            writeln!(f, "LEFT OUT {left_out}")?;
        }
        if !self.header.finished {
            writeln!(f, "INCOMPLETE: the time limit came first; give more --time-limit-s or fewer --rounds")?;
        }
        for failure in &self.failures {
            writeln!(f, "INVALID {failure}")?;
        }
        Ok(())
    }
}

fn write_header(f: &mut Formatter<'_>, header: &Header) -> fmt::Result {
    let Header { date, cpu, kernel, cores, pinned, quick, command, before, after, stolen, took_s, .. } =
        header;
    let pins = match pinned {
        true => "server on core 0, load on core 1",
        false => "NOT PINNED: one core, or no taskset",
    };
    let size = if *quick { " | QUICK: too small to quote" } else { "" };
    writeln!(f, "{date} | {cpu}, {cores} cores | Linux {kernel} | {pins}{size}")?;
    writeln!(
        f,
        "load average {:.2} before, {:.2} after; {:.1} % of the time stolen; took {took_s} s; {command}\n",
        before.load_average,
        after.load_average,
        stolen * 100.0
    )
}

/// The figures of a row's first line give the columns.
fn write_lines(f: &mut Formatter<'_>, first: &Line, lines: &[Line]) -> fmt::Result {
    let mut head: Vec<String> =
        [first.row.name(), "server", "rounds", "events", "subscribers", "bytes", first.counted.what]
            .map(str::to_owned)
            .into();
    for (place, figure) in first.figures.iter().enumerate() {
        head.push(figure.name.to_owned());
        if place == 0 {
            head.push("min..max".to_owned());
        }
    }
    let mut rows = vec![head];
    for line in lines {
        let counted = line.counted;
        let mut cells = vec![
            line.setting.clone(),
            line.server.to_owned(),
            line.rounds.to_string(),
            counted.events.to_string(),
            counted.subscribers.to_string(),
            format!("{:.0}", counted.bytes),
            counted.checked.to_string(),
        ];
        for (place, figure) in line.figures.iter().enumerate() {
            let Spread { median, min, max } = figure.spread;
            cells.push(short(median));
            if place == 0 {
                cells.push(format!("{}..{}", short(min), short(max)));
            }
        }
        rows.push(cells);
    }
    write_rows(f, &rows, 2)
}

fn write_goals(f: &mut Formatter<'_>, goals: &[Judged]) -> fmt::Result {
    let head =
        ["goal", "must", "wanted", "ours", "beside", "found", "must is", "wanted is"].map(str::to_owned);
    let mut rows = vec![head.to_vec()];
    let number = |number: Option<f64>| number.map_or_else(String::new, short);
    for goal in goals {
        let verdict = |is_reached: Option<bool>| match (is_reached, goal.found) {
            (None, _) => "",
            (Some(_), None) => "not measured",
            (Some(true), Some(_)) => "reached",
            (Some(false), Some(_)) => "MISSED",
        };
        rows.push(vec![
            format!("{}: {}", goal.row.name(), goal.measure),
            goal.must.clone().unwrap_or_default(),
            goal.wanted.clone().unwrap_or_default(),
            number(goal.value),
            number(goal.beside),
            number(goal.found),
            verdict(goal.is_reached).to_owned(),
            verdict(goal.is_wanted_reached).to_owned(),
        ]);
    }
    write_rows(f, &rows, 1)
}

/// Three digits that count, and no more than needed.
fn short(number: f64) -> String {
    match number.abs() {
        ..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        100.0..100_000.0 => format!("{number:.0}"),
        _ => format!("{:.0} k", number / 1e3),
    }
}

/// Writes the rows as a Markdown table with aligned columns, the first `left` of them to the left; nothing when there is
/// only a head.
fn write_rows(f: &mut Formatter<'_>, rows: &[Vec<String>], left: usize) -> fmt::Result {
    let [head, body @ ..] = rows else { return Ok(()) };
    if body.is_empty() {
        return Ok(());
    }
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    for row in [head, &rule].into_iter().chain(body) {
        write!(f, "|")?;
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match place < left {
                true => write!(f, " {cell:<width$} |")?,
                false => write!(f, " {cell:>width$} |")?,
            }
        }
        writeln!(f)?;
    }
    writeln!(f)
}
