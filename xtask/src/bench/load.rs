//! Runs the load generator (`xtask/load`) against a server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

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
pub(super) fn run(ground: &Ground, address: SocketAddr, options: &[&str], seconds: f64) -> Result<Load> {
    let output = command(ground, address)
        .args(["--connections", &CONNECTIONS.to_string(), "--seconds", &seconds.to_string()])
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the load generator")?;
    ensure!(output.status.success(), "the load generator failed ({})", output.status);
    let load: Load = serde_json::from_slice(&output.stdout).context("the load generator's JSON")?;
    ensure!(load.errors == 0, "{} operations failed: {:?}", load.errors, load.error_texts);
    ensure!(load.operations > 0, "no operation was completed");
    Ok(load)
}

/// Completes one handshake.
pub(super) fn one(ground: &Ground, address: SocketAddr, name: &str) -> Result<()> {
    let output = command(ground, address)
        .args(["--server-names", name, "--count", "1", "--connections", "1"])
        .output()
        .context("cannot run the load generator")?;
    let load: Load = serde_json::from_slice(&output.stdout).context("the load generator's JSON")?;
    ensure!(load.errors == 0 && load.operations == 1, "the handshake failed: {:?}", load.error_texts);
    Ok(())
}

/// Handshakes with one name that go on until another certificate answers.
#[derive(Debug)]
pub(super) struct Watch {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

#[derive(Debug, Deserialize)]
struct Changed {
    ended_us: u64,
}

impl Watch {
    /// Returns once the present certificate is known.
    pub(super) fn start(ground: &Ground, address: SocketAddr, name: &str) -> Result<Self> {
        let mut process = command(ground, address)
            .args(["--server-names", name, "--until-changed"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the load generator")?;
        let output = process.stdout.take().context("the load generator has no output")?;
        let mut watch = Self { process, lines: BufReader::new(output).lines() };
        watch.line().context("the first handshake")?;
        Ok(watch)
    }

    /// When the first handshake that saw the change was done.
    pub(super) fn changed(mut self) -> Result<SystemTime> {
        let changed: Changed = serde_json::from_str(&self.line()?).context("the load generator's JSON")?;
        self.process.wait()?;
        Ok(UNIX_EPOCH + Duration::from_micros(changed.ended_us))
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("the load generator ended early")??)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has ended if all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(ground: &Ground, address: SocketAddr) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["--cpu-list", &ground.load_core.to_string()])
        .arg(&ground.load)
        .args(["--address", &address.to_string()]);
    command
}
