//! The result of a run for people.

use super::{
    super::terminal::harmless,
    report::{Percentiles, Report, decimal, thousands},
};
use std::fmt::Write;

/// The whole result, one line for each thing; `colours` for the verdict.
pub(super) fn table(report: &Report, colours: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}\n", heading(report));
    for (name, text) in lines(report) {
        let _ = writeln!(out, "  {name:<12}{text}");
    }
    latencies(report, &mut out);
    if !report.troubles.is_empty() {
        let _ = writeln!(out, "\n  trouble");
        for (what, times) in &report.troubles {
            let _ = writeln!(out, "  {:>10} x {}", thousands(*times), harmless(what));
        }
    }
    out.push('\n');
    for note in &report.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    let (colour, plain) = match (colours, report.ok) {
        (false, _) => ("", ""),
        (true, true) => ("\x1b[32m", "\x1b[0m"),
        (true, false) => ("\x1b[31m", "\x1b[0m"),
    };
    let _ = writeln!(out, "  {colour}{}{plain}", verdict(report));
    out
}

fn heading(report: &Report) -> String {
    let load = match report.rate {
        Some(rate) => format!("{} events/s", decimal(rate)),
        None => "as fast as acknowledged".to_owned(),
    };
    let subscribers = match report.connections {
        0 => String::new(),
        connections => format!(
            "{}, {} each ({}), ",
            counted(connections, "connection"),
            counted(report.subscriptions_each, "subscription"),
            report.filters
        ),
    };
    format!(
        "{} {}: {subscribers}{}, {load}, {} of {} bytes a request",
        report.scenario,
        report.target,
        counted(report.publishers, "publisher"),
        counted(report.batch, "event"),
        thousands(report.payload_bytes)
    )
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if report.connections > 0 {
        let of = format!("{} of {}", thousands(report.opened), thousands(report.connections));
        lines.push((
            "connected",
            format!("{of} in {:.2} s, every subscription acknowledged", report.opening_seconds),
        ));
    }
    lines.push((
        "published",
        format!(
            "{} events in {:.2} s, {}/s, all acknowledged as durable",
            thousands(report.published),
            report.publishing_seconds,
            decimal(report.published_per_second)
        ),
    ));
    if report.connections > 0 {
        lines.push((
            "delivered",
            format!(
                "{} of {} in {:.2} s, {}/s, {:.1} MB/s",
                thousands(report.delivered),
                thousands(report.expected),
                report.delivering_seconds,
                decimal(report.delivered_per_second),
                report.delivered_bytes as f64 / 1e6 / report.delivering_seconds.max(0.001)
            ),
        ));
        lines.push((
            "checked",
            format!(
                "{} lost, {} repeated, {} out of order, {} misrouted{}",
                thousands(report.lost),
                thousands(report.repeated),
                thousands(report.out_of_order),
                thousands(report.misrouted),
                match report.undelivered {
                    0 => String::new(),
                    count => format!(", {} undelivered when their connection ended", thousands(count)),
                }
            ),
        ));
    }
    lines
}

fn latencies(report: &Report, out: &mut String) {
    let measured = [
        ("publish", report.latency_ms.publish),
        ("delivery", report.latency_ms.delivery),
        ("catch up", report.latency_ms.catch_up),
    ];
    let _ = writeln!(
        out,
        "\n  {:<12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "latency, ms", "p50", "p90", "p99", "p99.9", "max"
    );
    for (name, percentiles) in measured {
        let Some(Percentiles { p50, p90, p99, p999, max }) = percentiles else { continue };
        let _ = writeln!(out, "  {name:<12}{p50:>10.2}{p90:>10.2}{p99:>10.2}{p999:>10.2}{max:>10.2}");
    }
}

fn verdict(report: &Report) -> String {
    if !report.ok {
        return format!("FAILED: {}", harmless(&report.failures.join("; ")));
    }
    match report.connections {
        0 => "ok: every event was acknowledged".to_owned(),
        _ if report.interrupted => "ok so far: what came came once and in order".to_owned(),
        _ => "ok: every event came to everybody it was for, once and in order".to_owned(),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
