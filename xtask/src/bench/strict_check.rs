//! `certificates-strict-check`: what it costs a handshake to look whether its certificate is the newest.
//!
//! Beside a handshake it is too small to be measured from outside, so the gateway calls it in a loop, once for each round,
//! over the thousand pairs of `certificates-1000`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ground::Ground;
use super::population::Population;
use super::report::{Heading, Measured};
use super::round::Length;
use super::samples::Samples;

pub(super) const NAME: &str = "certificates-strict-check";

const PAIRS: usize = 1_000;

/// What `handfast bench-strict-check` prints.
#[derive(Debug, Deserialize)]
struct Cost {
    microseconds: f64,
}

pub(super) fn measure(ground: &Ground, length: Length) -> Result<(Heading, Vec<Measured>)> {
    let population = Population::prepare(&ground.kept, PAIRS)?;
    let mut values = Samples::default();
    for _ in 0..length.rounds {
        let output = Command::new("taskset")
            .args(["--cpu-list", &ground.server_core.to_string()])
            .arg(&ground.gateway)
            .arg("bench-strict-check")
            .arg(population.separate())
            .output()
            .context("cannot run the gateway")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the gateway says: {}", said.trim());
        let cost: Cost = serde_json::from_slice(&output.stdout).context("the gateway's JSON")?;
        values.add(cost.microseconds);
    }
    let heading = Heading {
        name: NAME.to_owned(),
        title: "The strict check of a certificate that did not change".to_owned(),
        unit: "CPU µs per handshake",
    };
    Ok((heading, vec![Measured { name: "handfast", title: "handfast", values, rates: None, unready: None }]))
}
