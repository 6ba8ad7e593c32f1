//! Runs the load generators against a server: our own (`xtask/load`) for connections, h2load and wrk for requests.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::ground::Ground;
use super::package;
use super::processor::placed;
use super::server::Server;

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
pub(super) fn requests(ground: &Ground, server: &Server, protocol: &str, seconds: f64) -> Result<Load> {
    let streams = if protocol == "h2" { STREAMS } else { 1 };
    let mut command = h2load(ground.load_core, server, protocol, "/")?;
    command.args(["--clients", &CONNECTIONS.to_string()]);
    command
        .args([format!("--duration={:.0}ms", seconds * 1e3), format!("--max-concurrent-streams={streams}")]);
    let (load, _) = said_by_h2load(&mut command, seconds)?;
    Ok(load)
}

/// So many bodies over HTTP/1.1: responses, or requests with the file as their body.
pub(super) fn bodies(
    ground: &Ground,
    server: &Server,
    path: &str,
    upload: Option<&PathBuf>,
    count: usize,
) -> Result<Load> {
    let mut command = h2load(ground.load_core, server, "http/1.1", path)?;
    command.args(["--clients", &CONNECTIONS.min(count.div_ceil(4)).to_string()]);
    command.args(["--requests", &count.to_string()]);
    if let Some(file) = upload {
        command.arg("--data").arg(file);
    }
    let begun = Instant::now();
    let (mut load, text) = said_by_h2load(&mut command, 0.0)?;
    load.seconds = begun.elapsed().as_secs_f64();
    ensure!(
        load.operations == count as u64,
        "only {} of {count} bodies got through: {text}",
        load.operations
    );
    Ok(load)
}

fn h2load(core: usize, server: &Server, protocol: &str, path: &str) -> Result<Command> {
    package::ensure("h2load", "nghttp2-client")?;
    let (address, scheme) = (server.address(), server.scheme());
    let mut command = placed(&core.to_string());
    command.args(["h2load", "--threads=1"]);
    match scheme {
        "https" => command.arg(format!("--npn-list={protocol}")),
        _ => command.arg("--h1"),
    };
    command.arg(format!("--connect-to={address}"));
    command.arg(format!("{scheme}://site-1.bench.example:{}{path}", address.port()));
    Ok(command)
}

fn said_by_h2load(command: &mut Command, seconds: f64) -> Result<(Load, String)> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot run h2load")?;
    ensure!(output.status.success(), "h2load failed ({})", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let load = summary(&text, seconds).with_context(|| format!("h2load says: {text}"))?;
    ensure!(load.errors == 0, "{} requests failed: {text}", load.errors);
    ensure!(load.operations > 0, "no request was answered: {text}");
    Ok((load, text))
}

/// HTTP/1.1 requests by wrk, which does less for each than h2load and so leaves more to the server.
pub(super) fn wrk(ground: &Ground, address: SocketAddr, seconds: f64) -> Result<Load> {
    package::ensure("wrk", "wrk")?;
    // wrk takes the server name from the URL, and looks it up; the script answers instead of the resolver.
    let script = ground.folder.join("wrk.lua");
    let (ip, port) = (address.ip(), address.port());
    fs::write(&script, format!("function wrk.resolve() wrk.addrs = wrk.lookup(\"{ip}\", \"{port}\") end\n"))?;
    let output = placed(&ground.load_core.to_string())
        .args(["wrk", "--threads=1"])
        .args([format!("--connections={CONNECTIONS}"), format!("--duration={:.0}s", seconds.ceil())])
        .arg("--script")
        .arg(&script)
        .arg(format!("https://site-1.bench.example:{port}/"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed ({}): {text}", output.status);
    let failed = ["Non-2xx", "Socket errors"].iter().any(|sign| text.contains(sign));
    ensure!(!failed, "requests failed: {text}");
    // `Requests/sec:  39423.98`
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate: f64 =
        rate.and_then(|rate| rate.trim().parse().ok()).with_context(|| format!("wrk says: {text}"))?;
    Ok(Load { operations: rate.round() as u64, seconds: 1.0, errors: 0, error_texts: BTreeMap::new() })
}

/// Latencies at a fixed rate.
#[derive(Debug, Deserialize)]
pub(super) struct Paced {
    operations: u64,
    errors: u64,
    error_texts: BTreeMap<String, u64>,
    pub(super) latency_us: Percentiles,
}

#[derive(Debug, Deserialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    #[serde(rename = "p99.9")]
    pub(super) p99_9: f64,
}

/// So many handshakes a second. None may fail.
pub(super) fn paced(
    ground: &Ground,
    address: SocketAddr,
    names: &str,
    rate: f64,
    seconds: f64,
) -> Result<Paced> {
    let output = command(ground, address)
        .args(["--version=1.3", "--group=x25519", "--cipher=aes128", "--server-names", names])
        .args([format!("--rate={rate}"), format!("--seconds={seconds}")])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the load generator")?;
    let paced: Paced = serde_json::from_slice(&output.stdout).context("the load generator's JSON")?;
    ensure!(paced.errors == 0, "{} handshakes failed: {:?}", paced.errors, paced.error_texts);
    ensure!(paced.operations > 0, "no handshake was made");
    Ok(paced)
}

/// Handshakes with a name whose policy never answers, one after the other, until dropped.
pub(super) fn disturb(ground: &Ground, address: SocketAddr, name: &str) -> Result<Disturbance> {
    let process = command(ground, address)
        .args(["--server-names", name, "--connections=1", "--seconds=3600"])
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run the load generator")?;
    Ok(Disturbance(process))
}

/// A process that goes on until this is dropped.
#[derive(Debug)]
pub(super) struct Disturbance(Child);

impl Drop for Disturbance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins so many handshakes and keeps them unfinished.
pub(super) fn hang(ground: &Ground, address: SocketAddr, names: &str, count: usize) -> Result<Held> {
    keep(command(ground, address).args(["--server-names", names, "--hang", &count.to_string()]), "hanging")
}

/// Two generators at once, one on each core, for so many seconds: handshakes, or requests over the protocol.
pub(super) fn on_both_cores(
    ground: &Ground,
    server: &Server,
    names: &str,
    requests: Option<&str>,
    seconds: f64,
) -> Result<u64> {
    let cores = [ground.server_core, ground.load_core];
    let mut generators = Vec::with_capacity(cores.len());
    for core in cores {
        let mut command = match requests {
            Some(protocol) => {
                let mut command = h2load(core, server, protocol, "/")?;
                command.args(["--clients", &CONNECTIONS.to_string()]);
                command.arg(format!("--duration={:.0}ms", seconds * 1e3));
                command
            }
            None => {
                let mut command = command_on(ground, core, server.address());
                command.args(["--version=1.3", "--group=x25519", "--cipher=aes128", "--server-names", names]);
                command.args(["--connections", &CONNECTIONS.to_string(), "--seconds", &seconds.to_string()]);
                command
            }
        };
        generators.push(command.stdout(Stdio::piped()).spawn().context("cannot run the load generator")?);
    }
    let mut operations = 0;
    for generator in generators {
        let output = generator.wait_with_output()?;
        let load = match requests {
            Some(_) => {
                summary(&String::from_utf8_lossy(&output.stdout), seconds).context("h2load's summary")?
            }
            None => serde_json::from_slice(&output.stdout).context("the load generator's JSON")?,
        };
        ensure!(load.errors == 0, "{} operations failed: {:?}", load.errors, load.error_texts);
        operations += load.operations;
    }
    Ok(operations)
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
    let mut command = command(ground, address);
    command.args(["--server-names", names, "--alpn", protocol, "--request", "--hold", &count.to_string()]);
    keep(&mut command, "held")
}

/// Starts a generator that says one line when it is where it should be, and goes on until its standard input ends.
fn keep(command: &mut Command, line: &str) -> Result<Held> {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the load generator")?;
    let output = process.stdout.take().context("the load generator has no output")?;
    let held = Held(process);
    let mut said = String::new();
    BufReader::new(output).read_line(&mut said)?;
    ensure!(said.contains(line), "the connections could not be opened");
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
    command_on(ground, ground.load_core, address)
}

fn command_on(ground: &Ground, core: usize, address: SocketAddr) -> Command {
    let mut command = placed(&core.to_string());
    command.arg(&ground.load).args(["--address", &address.to_string()]);
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
