//! `certificates-strict-check`: what it costs a handshake to look whether its certificate is the newest.
//!
//! Beside a handshake it is too small to be measured from outside, so the gateway's own benchmark of the store calls it
//! in a loop, once for each round.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::report::{Heading, Measured};
use super::round::Length;
use super::samples::Samples;
use crate::root;

pub(super) const NAME: &str = "certificates-strict-check";

/// What `gateway/benches/strict_check.rs` prints.
#[derive(Debug, Deserialize)]
struct Cost {
    microseconds: f64,
}

pub(super) fn measure(length: Length) -> Result<(Heading, Vec<Measured>)> {
    let mut values = Samples::default();
    for _ in 0..length.rounds {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let output = Command::new(cargo)
            .args(["bench", "--quiet", "--locked", "--package", "handfast", "--bench", "strict_check"])
            .current_dir(root())
            .output()
            .context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the benchmark of the store failed: {}", said.trim());
        let cost: Cost = serde_json::from_slice(&output.stdout).context("the benchmark's JSON")?;
        values.add(cost.microseconds);
    }
    let heading = Heading {
        name: NAME.to_owned(),
        title: "The strict check of a certificate that did not change".to_owned(),
        unit: "CPU µs per handshake",
    };
    Ok((heading, vec![Measured { name: "handfast", title: "handfast", values, rates: None }]))
}
