//! Runs the load generator (`xtask/load`) against a server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::figure::Figure;
use super::ground::Ground;

/// Enough to keep a server's one core busy, few enough that no queue overflows.
const CONNECTIONS: usize = 32;

#[derive(Debug, Deserialize)]
pub(super) struct Load {
    pub(super) operations: u64,
    pub(super) seconds: f64,
    errors: u64,
    error_texts: BTreeMap<String, u64>,
}

/// Loads the server for so many seconds. An operation that fails fails the measurement.
pub(super) fn run(ground: &Ground, figure: &Figure, address: SocketAddr, seconds: f64) -> Result<Load> {
    let names: Vec<&str> = ground.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
    let output = Command::new("taskset")
        .args(["--cpu-list", &ground.load_core.to_string()])
        .arg(&ground.load)
        .args(["--address", &address.to_string(), "--server-names", &names.join(",")])
        .args(["--connections", &CONNECTIONS.to_string(), "--seconds", &seconds.to_string()])
        .args(figure.load)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the load generator")?;
    ensure!(output.status.success(), "the load generator failed ({})", output.status);
    let load: Load = serde_json::from_slice(&output.stdout).context("the load generator's JSON")?;
    ensure!(load.errors == 0, "{} operations failed: {:?}", load.errors, load.error_texts);
    ensure!(load.operations > 0, "no operation was completed");
    Ok(load)
}
