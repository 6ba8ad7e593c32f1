//! Runs the load generators against a server: our own (`xtask/load`) for connections, h2load for requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ground::Ground;
use super::package;
use super::server::DESCRIPTORS;

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

/// Requests that h2load has under way on each HTTP/2 connection.
const STREAMS: usize = 8;

/// Requests over kept connections for so many seconds.
pub(super) fn requests(
    ground: &Ground,
    address: SocketAddr,
    protocol: &str,
    path: &str,
    seconds: f64,
) -> Result<Load> {
    package::ensure("h2load", "nghttp2-client")?;
    let streams = if protocol == "h2" { STREAMS } else { 1 };
    let output = Command::new("taskset")
        .args(["--cpu-list", &ground.load_core.to_string(), "h2load"])
        .args(["--clients", &CONNECTIONS.to_string(), "--threads=1"])
        .args([format!("--npn-list={protocol}"), format!("--duration={:.0}ms", seconds * 1e3)])
        .arg(format!("--max-concurrent-streams={streams}"))
        .arg(format!("--connect-to={address}"))
        .arg(format!("https://site-1.bench.example:{}{path}", address.port()))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run h2load")?;
    ensure!(output.status.success(), "h2load failed ({})", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let load = summary(&text, seconds).with_context(|| format!("h2load says: {text}"))?;
    ensure!(load.errors == 0, "{} requests failed: {text}", load.errors);
    ensure!(load.operations > 0, "no request was answered: {text}");
    Ok(load)
}

/// `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout`, and
/// `status codes: 9 2xx, 0 3xx, 0 4xx, 0 5xx`.
fn summary(text: &str, seconds: f64) -> Option<Load> {
    let counts = |label: &str| -> Option<BTreeMap<String, u64>> {
        let line = text.lines().find_map(|line| line.strip_prefix(label))?;
        let counts = line.split(',').map(|count| {
            let (number, name) = count.trim().split_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        });
        counts.collect()
    };
    let (requests, statuses) = (counts("requests:")?, counts("status codes:")?);
    let other = ["3xx", "4xx", "5xx"].iter().map(|status| statuses.get(*status).unwrap_or(&0)).sum::<u64>();
    let failed = requests.get("failed")? + requests.get("timeout")? + other;
    Some(Load { operations: *requests.get("succeeded")?, seconds, errors: failed, error_texts: requests })
}

/// Connections that are kept until [`Held::release`].
#[derive(Debug)]
pub(super) struct Held(Child);

/// Opens so many connections with one request on each.
pub(super) fn hold(
    ground: &Ground,
    address: SocketAddr,
    protocol: &str,
    names: &str,
    count: usize,
) -> Result<Held> {
    let mut process = command(ground, address)
        .args(["--server-names", names, "--alpn", protocol, "--request", "--hold", &count.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the load generator")?;
    let output = process.stdout.take().context("the load generator has no output")?;
    let held = Held(process);
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line.contains("held"), "the connections could not be opened");
    Ok(held)
}

impl Held {
    pub(super) fn release(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        ensure!(status.success(), "the load generator failed ({status})");
        Ok(())
    }
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
    failed: u64,
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

    /// When the first handshake that saw the change was done, and how many failed before it.
    pub(super) fn changed(mut self) -> Result<(SystemTime, u64)> {
        let changed: Changed = serde_json::from_str(&self.line()?).context("the load generator's JSON")?;
        self.process.wait()?;
        Ok((UNIX_EPOCH + Duration::from_micros(changed.ended_us), changed.failed))
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
    let mut command = Command::new("prlimit");
    command
        .args([DESCRIPTORS, "taskset"])
        .args(["--cpu-list", &ground.load_core.to_string()])
        .arg(&ground.load)
        .args(["--address", &address.to_string()]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_says_is_counted() {
        let text = "finished in 2.00s, 4.5 req/s, 1KB/s\n\
                    requests: 9 total, 10 started, 9 done, 8 succeeded, 1 failed, 0 errored, 0 timeout\n\
                    status codes: 8 2xx, 0 3xx, 0 4xx, 1 5xx\n";
        let load = summary(text, 2.0).unwrap();
        assert_eq!((load.operations, load.errors), (8, 2));
        assert!(summary("", 2.0).is_none());
    }
}
