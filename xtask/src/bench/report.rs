//! The results: a table in Markdown for docs/performance.md, and JSON whose shape is public.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::figure::Figure;
use super::machine::Machine;
use super::round::Measured;
use super::samples::{Summary, short};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    figures: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    unit: &'static str,
    handfast: Summary,
    peers: BTreeMap<&'static str, Summary>,
    /// The gateway's median over the peer's.
    ratios: BTreeMap<&'static str, f64>,
    /// The gateway's cost less the peer's, in the same unit, compared round by round.
    differences: BTreeMap<&'static str, Summary>,
    /// Operations per second of one server core, beside what the load generator's core gave: no figure of its own.
    rates: BTreeMap<&'static str, Summary>,
}

const UNIT: &str = "server CPU µs per operation";

impl Report {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, figures: Vec::new() }
    }

    /// Adds a figure and returns its table.
    pub(super) fn add(&mut self, figure: &Figure, measured: &[Measured]) -> Result<String> {
        let (own, peers) = measured.split_first().context("nothing was measured")?;
        let handfast = own.cost.summary()?;
        let mut line = Line {
            name: figure.name,
            unit: UNIT,
            handfast,
            peers: BTreeMap::new(),
            ratios: BTreeMap::new(),
            differences: BTreeMap::new(),
            rates: BTreeMap::from([(own.subject.name, own.rate.summary()?)]),
        };
        let mut table = format!(
            "**{}** (`{}`), {UNIT}\n\n\
             | server | median | min to max | runs | handfast costs | round by round | a second |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
            figure.title, figure.name,
        );
        row(&mut table, own, handfast, "", "")?;
        for peer in peers {
            let name = peer.subject.name;
            let cost = peer.cost.summary()?;
            let ratio = handfast.median / cost.median;
            let ratios = own.cost.paired(&peer.cost, |own, peer| own / peer).summary()?;
            let difference = own.cost.paired(&peer.cost, |own, peer| own - peer).summary()?;
            let spread = format!("{:.2} to {:.2} × ({:+.1} µs)", ratios.min, ratios.max, difference.median);
            row(&mut table, peer, cost, &format!("{ratio:.2} ×"), &spread)?;
            line.peers.insert(name, cost);
            line.ratios.insert(name, short(ratio));
            line.differences.insert(name, difference);
            line.rates.insert(name, peer.rate.summary()?);
        }
        self.figures.push(line);
        Ok(table)
    }

    pub(super) fn json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

fn row(table: &mut String, measured: &Measured, cost: Summary, ratio: &str, spread: &str) -> Result<()> {
    let Summary { median, min, max, runs } = cost;
    let rate = measured.rate.summary()?.median;
    let name = measured.subject.title;
    writeln!(
        table,
        "| {name} | {median:.1} | {min:.1} to {max:.1} | {runs} | {ratio} | {spread} | {rate:.0} |"
    )?;
    Ok(())
}
