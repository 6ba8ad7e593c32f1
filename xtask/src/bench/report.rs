//! The results: a table in Markdown for docs/performance.md, and JSON whose shape is public.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::machine::Machine;
use super::samples::{Samples, Summary, short};

#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<Line>,
}

#[derive(Serialize)]
struct Document<'a> {
    machine: Machine,
    figures: &'a [Line],
}

/// What was measured, in which unit.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    /// Public: the JSON and the command line have it.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) unit: &'static str,
}

/// All turns of one server, in order: turn n of every server belongs to the same round.
#[derive(Debug)]
pub(super) struct Measured {
    /// Public: the JSON has it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) values: Samples,
    /// Operations per second, where the figure is a cost under load.
    pub(super) rates: Option<Samples>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
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

impl Report {
    /// Adds a figure and returns its table. The gateway is the first of `measured`.
    pub(super) fn add(&mut self, heading: &Heading, measured: &[Measured]) -> Result<String> {
        let (own, peers) = measured.split_first().context("nothing was measured")?;
        let handfast = own.values.summary()?;
        let mut line = Line {
            name: heading.name.clone(),
            unit: heading.unit,
            handfast,
            peers: BTreeMap::new(),
            ratios: BTreeMap::new(),
            differences: BTreeMap::new(),
            rates: BTreeMap::new(),
        };
        let mut table = format!(
            "**{}** (`{}`), {}\n\n\
             | server | median | min to max | runs | handfast costs | round by round | a second |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
            heading.title, heading.name, heading.unit,
        );
        row(&mut table, own, handfast, "", "")?;
        for peer in peers {
            let cost = peer.values.summary()?;
            let ratio = handfast.median / cost.median;
            let ratios = own.values.paired(&peer.values, |own, peer| own / peer).summary()?;
            let difference = own.values.paired(&peer.values, |own, peer| own - peer).summary()?;
            let spread = format!("{:.2} to {:.2} × ({:+.1})", ratios.min, ratios.max, difference.median);
            row(&mut table, peer, cost, &format!("{ratio:.2} ×"), &spread)?;
            line.peers.insert(peer.name, cost);
            line.ratios.insert(peer.name, short(ratio));
            line.differences.insert(peer.name, difference);
        }
        for measured in measured {
            if let Some(rates) = &measured.rates {
                line.rates.insert(measured.name, rates.summary()?);
            }
        }
        self.figures.push(line);
        Ok(table)
    }

    pub(super) fn json(&self, machine: Machine) -> Result<String> {
        let mut text = serde_json::to_string_pretty(&Document { machine, figures: &self.figures })?;
        text.push('\n');
        Ok(text)
    }
}

fn row(table: &mut String, measured: &Measured, value: Summary, ratio: &str, spread: &str) -> Result<()> {
    let Summary { median, min, max, runs } = value;
    let rate = measured.rates.as_ref().map(Samples::summary).transpose()?;
    let rate = rate.map(|rate| format!("{:.0}", rate.median)).unwrap_or_default();
    let title = measured.title;
    writeln!(
        table,
        "| {title} | {median:.1} | {min:.1} to {max:.1} | {runs} | {ratio} | {spread} | {rate} |"
    )?;
    Ok(())
}
