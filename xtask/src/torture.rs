//! `cargo xtask torture`: the torture test of certificate replacement, in a large size.
//!
//! The behaviour tests run the same program small; what it does and asserts is in `tests/torture`. Nothing is timed, so
//! it takes the development build: that one checks arithmetic and has assertions.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::root;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Repeats the sequence of methods of the run that printed it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How often certificates are replaced or spoiled
    #[arg(long, value_name = "N", default_value_t = 5000)]
    updates: u64,
}

/// The last line of its output says seed, handshakes, updates and failures.
pub(crate) fn run(args: &Args) -> Result<()> {
    cargo(&["build", "--quiet", "--locked", "--package", "handfast"])?;
    let updates = args.updates.to_string();
    let seed = args.seed.map(|seed| seed.to_string());
    let mut arguments = vec!["run", "--quiet", "--locked", "--package", "handfast-tests"];
    arguments.extend(["--bin", "handfast-torture", "--", "--updates", &updates]);
    arguments.extend(seed.iter().flat_map(|seed| ["--seed", seed]));
    cargo(&arguments)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status =
        Command::new(cargo).args(arguments).current_dir(root()).status().context("cargo does not start")?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}
