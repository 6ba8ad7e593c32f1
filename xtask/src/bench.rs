//! `cargo xtask bench`: what an operation costs the server's processor, for the gateway and for its peers.
//!
//! # What is measured, and why that
//!
//! Server CPU time per operation: the user and system time of all of a server's processes, over the operations done.
//! It holds on a machine that is busy with other things, where throughput and latency say more about the others. And
//! it is what a fleet pays for.
//!
//! Every server runs alone, on one core, with one worker; the load generator has another core. Servers take turns, A B
//! C, C B A, so that what drifts (clock rate, temperature, neighbours) drifts for all of them, and what a server leaves
//! behind in the kernel is not always the same one's to bear; each round is also a fresh process, so that luck with
//! memory layout is averaged too. The figures are medians; absolutes belong to the machine, ratios travel.
//!
//! What the servers are made to do is the same because the client offers one version, one group and one cipher; what is
//! left to their settings is beside each of them, in [`server`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use figure::FIGURES;
use ground::Ground;
use report::{Details, Heading, Measured, Report};
use round::Length;

mod aims;
mod certificates;
mod figure;
mod ground;
mod latency;
mod load;
mod machine;
mod package;
mod policy;
mod population;
mod processor;
mod published;
mod report;
mod round;
mod samples;
mod scale;
mod scaling;
mod server;
mod strict_check;

#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Args {
    /// The figures to measure, or how their names begin (`certificates`); all of them if none is named
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
    /// Measure this build of the gateway instead of the one of this tree
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Measure nothing: print the names of all figures
    #[arg(long)]
    list: bool,
    /// Measure nothing: print the tables of a file that --json wrote
    #[arg(long, value_name = "FILE")]
    table: Vec<PathBuf>,
    /// Measure nothing: fill the tables of docs/performance.md from the files in docs/performance
    #[arg(long)]
    docs: bool,
}

const HELP: &str = "\
Every server takes its turn alone on one core, the load generator has another; nothing else should be at work on the
machine. All figures together take hours: `--quick` takes a look, `--rounds` chooses how sure to be.

  cargo xtask bench --list
  cargo xtask bench tls13 --quick
  cargo xtask bench policy latency --json results.json
  cargo xtask bench --docs

Debian's nginx, its Lua module, HAProxy, hitch, caddy, h2load and wrk are installed by name where they are missing and this
process is root's; else a line says what to install.";

/// Measures, prints a table in Markdown, and writes the results as JSON.
pub(crate) fn run(args: Args) -> Result<()> {
    if args.list {
        println!("{}", all_names().join("\n"));
        return Ok(());
    }
    if args.docs {
        return published::update();
    }
    if !args.table.is_empty() {
        for path in &args.table {
            println!("{}", published::tables(path)?);
        }
        return Ok(());
    }
    measure(args)
}

fn measure(args: Args) -> Result<()> {
    let chosen = Chosen::of(args.names)?;
    let mut length = if args.quick { Length::QUICK } else { Length::FULL };
    length.rounds = args.rounds.unwrap_or(length.rounds).max(1);

    let load_average = machine::load_average();
    let ground = Ground::prepare(args.gateway)?;
    let mut report = Report::default();
    // Written after each figure: of a run of hours, what was measured is not lost with what could not be.
    let mut add = |heading: &Heading, measured: &[Measured], details: &Details| -> Result<()> {
        println!("{}", report.add(heading, measured, details)?);
        match &args.json {
            Some(path) => write(&report, load_average, path),
            None => Ok(()),
        }
    };
    for figure in FIGURES.iter().filter(|figure| chosen.has(figure.name)) {
        let (measured, details) = round::measure(&ground, figure, length)?;
        add(&figure.heading(), &measured, &details)?;
    }
    let wanted = |name: &str| chosen.has(name);
    for (heading, measured) in policy::measure(&ground, length, wanted)? {
        add(&heading, &measured, &Details::new())?;
    }
    for (heading, measured, details) in scaling::measure(&ground, length, wanted)? {
        add(&heading, &measured, &details)?;
    }
    for (heading, measured, details) in latency::measure(&ground, length, wanted)? {
        add(&heading, &measured, &details)?;
    }
    if chosen.has(strict_check::NAME) {
        let (heading, measured) = strict_check::measure(&ground, length)?;
        add(&heading, &measured, &Details::new())?;
    }
    for size in scale::SIZES.into_iter().filter(|size| scale::names(*size).any(|name| chosen.has(&name))) {
        for (heading, measured) in scale::measure(&ground, size, length)? {
            if chosen.has(&heading.name) {
                add(&heading, &measured, &Details::new())?;
            }
        }
    }
    Ok(())
}

fn write(report: &Report, load_average: f64, path: &Path) -> Result<()> {
    let text = report.json(machine::describe(load_average)?)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn all_names() -> Vec<String> {
    let under_load = FIGURES.iter().map(|figure| figure.name.to_owned());
    let rest = policy::names().chain(scaling::names()).chain(latency::names());
    let certificates = [strict_check::NAME.to_owned()].into_iter();
    let certificates = certificates.chain(scale::SIZES.into_iter().flat_map(scale::names));
    under_load.chain(rest).chain(certificates).collect()
}

/// The figures that were asked for.
struct Chosen(Vec<String>);

impl Chosen {
    fn of(names: Vec<String>) -> Result<Self> {
        let all = all_names();
        let chosen = Self(names);
        match chosen.0.iter().find(|name| !all.iter().any(|figure| is_meant(name, figure))) {
            Some(unknown) => bail!("there is no figure `{unknown}`; there are: {}", all.join(", ")),
            None => Ok(chosen),
        }
    }

    fn has(&self, figure: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|name| is_meant(name, figure))
    }
}

/// By its whole name, or by whole words of its beginning.
fn is_meant(name: &str, figure: &str) -> bool {
    figure.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
