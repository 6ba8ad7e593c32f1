//! The results: JSON whose shape is public, and tables in Markdown, which are made from the JSON alone.
//!
//! Because a table needs nothing but a file that `--json` wrote, docs/performance.md can be filled from the files that
//! lie beside it, and nobody has to copy a figure.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::samples::{Samples, Summary, short};

#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<Line>,
}

/// A file of results.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) machine: Machine,
    pub(super) figures: Vec<Line>,
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
    /// Why there are no values.
    pub(super) unready: Option<String>,
}

/// Other numbers of the same turns, by server and name: further columns.
pub(super) type Details = BTreeMap<&'static str, BTreeMap<&'static str, Samples>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) name: String,
    title: String,
    unit: String,
    handfast: Summary,
    peers: BTreeMap<String, Summary>,
    /// The gateway's median over the peer's.
    ratios: BTreeMap<String, f64>,
    /// The same round by round.
    round_ratios: BTreeMap<String, Summary>,
    /// The gateway's figure less the peer's, in the same unit, round by round.
    differences: BTreeMap<String, Summary>,
    /// Operations per second of one server core, beside what the load generator's core gave: no figure of its own.
    rates: BTreeMap<String, Summary>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<String, BTreeMap<String, Summary>>,
    /// The peers that could not be measured, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    unready: BTreeMap<String, String>,
    /// What the servers are called in a table, in its order.
    titles: Vec<(String, String)>,
}

impl Report {
    /// Adds a figure and returns its table. The gateway is the first of `measured`.
    pub(super) fn add(
        &mut self,
        heading: &Heading,
        measured: &[Measured],
        details: &Details,
    ) -> Result<String> {
        let (own, peers) = measured.split_first().context("nothing was measured")?;
        let handfast = own.values.summary()?;
        let title = |server: &Measured| (server.name.to_owned(), server.title.to_owned());
        let mut line = Line {
            name: heading.name.clone(),
            title: heading.title.clone(),
            unit: heading.unit.to_owned(),
            handfast,
            peers: BTreeMap::new(),
            ratios: BTreeMap::new(),
            round_ratios: BTreeMap::new(),
            differences: BTreeMap::new(),
            rates: BTreeMap::new(),
            details: BTreeMap::new(),
            unready: BTreeMap::new(),
            titles: measured.iter().map(title).collect(),
        };
        for peer in peers {
            let name = || peer.name.to_owned();
            if let Some(why) = &peer.unready {
                line.unready.insert(name(), why.clone());
                continue;
            }
            let value = peer.values.summary()?;
            line.peers.insert(name(), value);
            line.ratios.insert(name(), short(handfast.median / value.median));
            let ratios = own.values.paired(&peer.values, |own, peer| own / peer);
            line.round_ratios.insert(name(), ratios.summary()?);
            let differences = own.values.paired(&peer.values, |own, peer| own - peer);
            line.differences.insert(name(), differences.summary()?);
        }
        for measured in measured {
            if let Some(rates) = &measured.rates {
                line.rates.insert(measured.name.to_owned(), rates.summary()?);
            }
        }
        for (server, numbers) in details {
            let numbers = numbers.iter().map(|(name, samples)| Ok(((*name).to_owned(), samples.summary()?)));
            line.details.insert((*server).to_owned(), numbers.collect::<Result<_>>()?);
        }
        let table = line.table()?;
        self.figures.push(line);
        Ok(table)
    }

    pub(super) fn json(&self, machine: Machine) -> Result<String> {
        let document = Document { machine, figures: self.figures.clone() };
        let mut text = serde_json::to_string_pretty(&document)?;
        text.push('\n');
        Ok(text)
    }
}

impl Document {
    pub(super) fn figure(&self, name: &str) -> Result<&Line> {
        let found = self.figures.iter().find(|line| line.name == name);
        found.with_context(|| format!("no figure is called `{name}`"))
    }
}

impl Line {
    /// What a server is called, and the gateway's median over its.
    pub(super) fn compared(&self, server: &str) -> Result<(&str, f64)> {
        let title = self.titles.iter().find(|(name, _)| name == server).map(|(_, title)| title.as_str());
        let compared = title.zip(self.ratios.get(server).copied());
        compared.with_context(|| format!("`{}` is not beside `{server}`", self.name))
    }

    /// In Markdown. Columns that would be empty are left out.
    pub(super) fn table(&self) -> Result<String> {
        let further = self.details.values().next().into_iter().flat_map(BTreeMap::keys);
        let further: Vec<&str> = further.map(String::as_str).collect();
        let mut columns = vec!["server", "median", "min to max", "runs"];
        if self.titles.len() > 1 {
            columns.extend(["handfast to it", "round by round"]);
        }
        if !self.rates.is_empty() {
            columns.push("a second");
        }
        columns.extend(&further);
        let mut table = format!("**{}** (`{}`), {}\n\n", self.title, self.name, self.unit);
        writeln!(table, "| {} |", columns.join(" | "))?;
        writeln!(table, "|---|{}", "---:|".repeat(columns.len() - 1))?;
        for (position, (name, title)) in self.titles.iter().enumerate() {
            let mut cells = vec![title.clone()];
            if let Some(why) = self.unready.get(name) {
                cells.push(why.clone());
                cells.resize(columns.len(), String::new());
                writeln!(table, "| {} |", cells.join(" | "))?;
                continue;
            }
            cells.extend(self.figures_of(position, name));
            if !self.rates.is_empty() {
                cells.push(self.rates.get(name).map(|rate| shown(rate.median)).unwrap_or_default());
            }
            let numbers = self.details.get(name);
            let number = |heading: &&str| {
                numbers.and_then(|numbers| numbers.get(*heading)).map(|number| shown(number.median))
            };
            cells.extend(further.iter().map(|heading| number(heading).unwrap_or_default()));
            writeln!(table, "| {} |", cells.join(" | "))?;
        }
        Ok(table)
    }

    /// The first server is the gateway, which is not compared with itself.
    fn figures_of(&self, position: usize, name: &str) -> Vec<String> {
        let peer = self.peers.get(name).filter(|_| position > 0);
        let Summary { median, min, max, runs } = *peer.unwrap_or(&self.handfast);
        let mut cells = vec![shown(median), format!("{} to {}", shown(min), shown(max)), runs.to_string()];
        let compared = peer.and_then(|_| {
            let (ratio, spread) = (self.ratios.get(name)?, self.round_ratios.get(name)?);
            let difference = self.differences.get(name)?.median;
            let sign = if difference < 0.0 { "−" } else { "+" };
            let difference = shown(difference.abs());
            Some([
                format!("{ratio:.2} ×"),
                format!("{:.2} to {:.2} × ({sign}{difference})", spread.min, spread.max),
            ])
        });
        if self.titles.len() > 1 {
            cells.extend(compared.unwrap_or_default());
        }
        cells
    }
}

/// The gateway's medians alone: figures of one kind in a column, which `columns` names, those of one thing in a row.
pub(super) fn medians(columns: &[&str], rows: &[Vec<&Line>]) -> Result<String> {
    let mut table = String::from("|");
    let units = rows.first().into_iter().flatten().map(|line| &line.unit);
    for (column, unit) in columns.iter().zip(units) {
        write!(table, " | {}, {unit}", column.replace('-', " "))?;
    }
    writeln!(table, " |\n|---|{}", "---:|".repeat(columns.len()))?;
    for row in rows {
        let title = row.first().and_then(|line| line.titles.first()).map(|(_, title)| title.as_str());
        let cells = row.iter().map(|line| shown(line.handfast.median));
        writeln!(table, "| {} | {} |", title.unwrap_or_default(), cells.collect::<Vec<_>>().join(" | "))?;
    }
    Ok(table)
}

/// As many digits as count, and thousands apart.
fn shown(number: f64) -> String {
    let digits = match number.abs() {
        0.0..10.0 => 2,
        10.0..1_000.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &'static str, values: &[f64]) -> Measured {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.add(*value));
        Measured { name, title: name, values: samples, rates: None, unready: None }
    }

    #[test]
    fn a_table_is_made_from_the_json_alone() {
        let heading = Heading { name: "figure".into(), title: "A figure".into(), unit: "µs" };
        let mut report = Report::default();
        let measured = [measured("handfast", &[1.0, 2.0, 3.0]), measured("nginx", &[4.0, 4.0, 4.0])];
        let table = report.add(&heading, &measured, &Details::new()).unwrap();
        let row = "| nginx | 4.00 | 4.00 to 4.00 | 3 | 0.50 × | 0.25 to 0.75 × (−2.00) |";
        assert!(table.contains(row), "{table}");
        let line = serde_json::to_string(&report.figures[0]).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&line).unwrap().table().unwrap(), table);
    }

    #[test]
    fn a_peer_that_could_not_be_measured_has_a_line_that_says_why() {
        let heading = Heading { name: "figure".into(), title: "A figure".into(), unit: "ms" };
        let unready = Some("not ready after 300 s".to_owned());
        let haproxy = Measured { unready, ..measured("haproxy", &[]) };
        let mut report = Report::default();
        let table = report.add(&heading, &[measured("handfast", &[1.0]), haproxy], &Details::new()).unwrap();
        assert!(table.contains("| haproxy | not ready after 300 s |"), "{table}");
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_count() {
        let shown = [0.5, 12.34, 999.0, 1234.4, 1_234_567.0].map(shown);
        assert_eq!(shown, ["0.50", "12.3", "999.0", "1,234", "1,234,567"]);
    }
}
