//! `cargo xtask bench`: what an operation costs the server's processor, for the gateway and for its peers.
//!
//! # What is measured, and why that
//!
//! Server CPU time per operation: the user and system time of all of a server's processes, over the operations done.
//! It holds on a machine that is busy with other things, where throughput and latency say more about the others. And
//! it is what a fleet pays for.
//!
//! Every server runs alone, on one core, with one worker; the load generator has another core. Servers take turns, A B
//! C A B C, so that what drifts (clock rate, temperature, neighbours) drifts for all of them; each round is also a
//! fresh process, so that luck with memory layout is averaged too. The figures are medians; absolutes belong to the
//! machine, ratios travel.
//!
//! What the servers are made to do is the same because the client offers one version, one group and one cipher; what is
//! left to their settings is beside each of them, in [`server`].

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use figure::{FIGURES, Figure};
use ground::Ground;
use report::Report;
use round::Length;

mod certificates;
mod figure;
mod ground;
mod load;
mod machine;
mod package;
mod processor;
mod report;
mod round;
mod samples;
mod server;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The figures to measure; all of them if none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Write the results here as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Three short rounds: a look, not a result
    #[arg(long)]
    quick: bool,
    /// How often each server takes its turn
    #[arg(long, value_name = "NUMBER")]
    rounds: Option<usize>,
}

/// Measures, prints a table in Markdown, and writes the results as JSON.
pub(crate) fn run(args: Args) -> Result<()> {
    let figures = chosen(&args.names)?;
    let mut length = if args.quick { Length::QUICK } else { Length::FULL };
    length.rounds = args.rounds.unwrap_or(length.rounds).max(1);

    let ground = Ground::prepare()?;
    let mut report = Report::new(machine::describe()?);
    for figure in figures {
        let measured = round::measure(&ground, figure, length)?;
        println!("{}", report.add(figure, &measured)?);
    }
    if let Some(path) = args.json {
        fs::write(&path, report.json()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Figure>> {
    if names.is_empty() {
        return Ok(FIGURES.iter().collect());
    }
    let known = || FIGURES.iter().map(|figure| figure.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| match FIGURES.iter().find(|figure| figure.name == name) {
        Some(figure) => Ok(figure),
        None => bail!("there is no figure `{name}`; there are: {}", known()),
    };
    names.iter().map(find).collect()
}
