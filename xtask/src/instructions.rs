//! `cargo xtask instructions`: how many instructions a handshake and a request take, counted by callgrind.
//!
//! A count hardly depends on what else the machine does, so it shows a change of a per cent where a clock shows its noise.
//! `cargo xtask test` prints it beside the recorded one; nothing fails for it, since a change may be worth its price. Who
//! made one on purpose records the new count with `--record`.
//!
//! # What is counted
//!
//! The real gateway, with the native choice of a certificate: the pool of the sandbox reserves more address space than
//! there is under valgrind. What the sandbox costs is `cargo xtask bench`'s to say. Its own code is compiled with
//! optimisations, the libraries below it as for the tests (`opt-level = 1`): a release build would take a clean machine
//! minutes, and a relative figure does not need it. Absolutes therefore say nothing about a release.
//!
//! The gateway runs once for each kind of operation. It starts and has a few operations of every kind while nothing is counted;
//! what its worker thread then takes for many of one kind, over their number, is the figure. A thousandth of the one
//! connection that all requests share is in theirs.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use crate::root;

const NAME: &str = "site-1.bench.example";
const BASELINE: &str = "xtask/baseline/instructions.json";

/// Operations of each kind before the count begins.
const WARM_UP: u32 = 20;

/// Under valgrind everything takes some fifty times as long.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Write the counts to the baseline
    #[arg(long)]
    record: bool,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Handshake,
    RequestH1,
    RequestH2,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Handshake, "a full TLS 1.3 handshake"),
    (Kind::RequestH1, "a proxied HTTP/1.1 request"),
    (Kind::RequestH2, "a proxied HTTP/2 request"),
];

impl Kind {
    /// So many are counted.
    fn operations(self) -> u32 {
        match self {
            Self::Handshake => 100,
            Self::RequestH1 | Self::RequestH2 => 1_000,
        }
    }
}

/// The baseline's file.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    /// Other versions count otherwise.
    valgrind: String,
    rustc: String,
    /// By kind.
    instructions: BTreeMap<String, u64>,
}

/// Prints the counts and their change. Without valgrind, a line that says so.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(valgrind) = said("valgrind", "--version") else {
        println!("not counted: valgrind is not installed (as root: apt-get install -y valgrind)");
        return Ok(());
    };
    let rustc = said("rustc", "--version").unwrap_or_default();
    let counted = Baseline { valgrind, rustc, instructions: count()? };
    let path = root().join(BASELINE);
    let recorded = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Baseline>(&text).ok());
    for (what, instructions) in &counted.instructions {
        let change = recorded.as_ref().and_then(|recorded| recorded.instructions.get(what));
        let change = change.map_or_else(
            || "not in the baseline".to_owned(),
            |before| {
                format!("{:+.2} % to the baseline", (*instructions as f64 / *before as f64 - 1.0) * 100.0)
            },
        );
        println!("{what}: {instructions} instructions, {change}");
    }
    if let Some(recorded) = recorded
        && (&recorded.valgrind, &recorded.rustc) != (&counted.valgrind, &counted.rustc)
    {
        println!("the baseline was counted with {} and {}", recorded.valgrind, recorded.rustc);
    }
    if args.record {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&counted)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {BASELINE}"))?;
        println!("recorded in {BASELINE}");
    }
    Ok(())
}

fn count() -> Result<BTreeMap<String, u64>> {
    let programs = Programs::build()?;
    let counted = KINDS.map(|(kind, what)| Ok((what.to_owned(), programs.instructions(kind)?)));
    counted.into_iter().collect()
}

struct Programs {
    folder: PathBuf,
    gateway: PathBuf,
    load: PathBuf,
    plain: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        let debug = target.join("debug");
        let folder = target.join("instructions");
        fs::create_dir_all(folder.join("certificates"))?;
        // With the test, the libraries are those of the tests, and compiled already.
        const COMMON: [&str; 5] = ["build", "--quiet", "--locked", "--workspace", "--test=behaviour"];
        cargo(&[&COMMON[..], &["--bin=handfast-load", "--bin=handfast-plain"]].concat())?;
        // Of the crates' own code only: with a profile of its own, cargo would compile all libraries anew.
        let optimised = |package: &str| format!("--config=profile.dev.package.{package}.opt-level=2");
        let optimised = ["handfast", "handfast-plugin-host", "handfast-wire"].map(optimised);
        let optimised: Vec<_> = optimised.iter().map(String::as_str).collect();
        cargo(&[&COMMON[..], &["--bin=handfast"], &optimised].concat())?;
        // The next build of the tests puts its own in this place.
        let gateway = folder.join("handfast");
        fs::copy(debug.join("handfast"), &gateway).context("cargo left no gateway")?;

        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([NAME.to_owned()])?.self_signed(&key)?;
        fs::write(folder.join("certificates/site.crt"), certificate.pem())?;
        let key_file = folder.join("certificates/site.key");
        fs::write(&key_file, key.serialize_pem())?;
        ensure!(Command::new("chmod").arg("600").arg(&key_file).status()?.success(), "chmod failed");
        Ok(Self { folder, gateway, load: debug.join("handfast-load"), plain: debug.join("handfast-plain") })
    }

    /// Of the gateway's worker, for one operation.
    fn instructions(&self, kind: Kind) -> Result<u64> {
        let counts = self.folder.join("counts");
        if counts.exists() {
            fs::remove_dir_all(&counts)?;
        }
        fs::create_dir_all(&counts)?;
        let upstream = free_address()?;
        let mut sink = Command::new(&self.plain);
        sink.args(["--address", &upstream.to_string(), "sink"]);
        let _sink = Running::start(&mut sink, upstream, &self.folder.join("sink.log"))?;

        let address = free_address()?;
        let config = self.folder.join("handfast.toml");
        fs::write(&config, configuration(address, upstream))?;
        let mut gateway = Command::new("valgrind");
        gateway.args(["--quiet", "--tool=callgrind", "--separate-threads=yes", "--instr-atstart=no"]);
        gateway.arg(format!("--callgrind-out-file={}", counts.join("thread").display()));
        gateway.arg(&self.gateway).args(["run", "--bench-native-choice", "--config"]).arg(&config);
        let gateway = Running::start(&mut gateway, address, &self.folder.join("gateway.log"))?;
        for (warm, _) in KINDS {
            self.load(warm, address, WARM_UP)?;
        }
        gateway.instrument(true)?;
        self.load(kind, address, kind.operations())?;
        gateway.instrument(false)?;
        gateway.stop()?;
        // The worker is the thread that did by far the most.
        let threads =
            fs::read_dir(&counts)?.map(|entry| total(&entry?.path())).collect::<Result<Vec<u64>>>()?;
        let worker = threads.into_iter().max().filter(|count| *count > 0);
        Ok(worker.context("callgrind left no counts")? / u64::from(kind.operations()))
    }

    /// One after the other, so that the order of events is always the same.
    fn load(&self, kind: Kind, address: SocketAddr, count: u32) -> Result<()> {
        let mut command = match kind {
            Kind::Handshake => {
                let mut command = Command::new(&self.load);
                command.args(["--address", &address.to_string(), "--server-names", NAME, "--connections=1"]);
                command
            }
            Kind::RequestH1 | Kind::RequestH2 => {
                let protocol = if kind == Kind::RequestH2 { "h2" } else { "http/1.1" };
                let mut command = Command::new("h2load");
                command.args(["--clients=1", "--max-concurrent-streams=1"]);
                command.args([format!("--npn-list={protocol}"), format!("--connect-to={address}")]);
                command.arg(format!("https://{NAME}:{}/", address.port()));
                command
            }
        };
        command.arg(match kind {
            Kind::Handshake => format!("--count={count}"),
            Kind::RequestH1 | Kind::RequestH2 => format!("--requests={count}"),
        });
        let output = command.output().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let is_good = match kind {
            Kind::Handshake => text.contains("\"errors\":0,"),
            Kind::RequestH1 | Kind::RequestH2 => text.contains(&format!("{count} succeeded, 0 failed")),
        };
        ensure!(output.status.success() && is_good, "{kind:?}: {text}");
        Ok(())
    }
}

/// A server that is ready, stopped when dropped.
struct Running(Child, PathBuf);

impl Running {
    fn start(command: &mut Command, address: SocketAddr, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().with_context(|| format!("cannot run {:?}", command.get_program()))?;
        let mut running = Self(process, log.to_owned());
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if running.0.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("it does not listen: {}", fs::read_to_string(log).unwrap_or_default().trim());
            }
            pause(Duration::from_millis(50));
        }
        Ok(running)
    }

    /// Lets callgrind count, or no more. Returns when it has heard.
    fn instrument(&self, on: bool) -> Result<()> {
        let id = self.0.id().to_string();
        let output =
            Command::new("callgrind_control").args(["-i", if on { "on" } else { "off" }, &id]).output();
        let output = output.context("cannot run callgrind_control")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && text.contains("OK"), "callgrind_control says: {text}");
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        self.terminate();
        let begun = Instant::now();
        while self.0.try_wait()?.is_none() {
            let said = || fs::read_to_string(&self.1).unwrap_or_default();
            ensure!(begun.elapsed() < PATIENCE, "the gateway does not end: {}", said().trim());
            pause(Duration::from_millis(50));
        }
        Ok(())
    }

    fn terminate(&self) {
        // A failure means that it is gone.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.0.id())]).status();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.terminate();
            let _ = self.0.wait();
        }
    }
}

fn configuration(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"[gateway]
workers = 1

[[listener]]
name = "instructions"
address = "{address}"

[[certificate-source]]
kind = "directory"
path = "certificates"

[[upstream]]
name = "sink"
endpoints = ["{upstream}"]

[[route]]
hosts = ["*"]
upstream = "sink"

[log]
filter = "error"
"#
    )
}

/// The count of one thread: the file's line `totals: N`.
fn total(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"));
    // The file without a number at its end is the process's, and empty.
    Ok(line.and_then(|line| line.trim().parse().ok()).unwrap_or_default())
}

fn said(program: &str, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).current_dir(root()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Another process could take it before the server does; the start fails then.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?.local_addr()?)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo).args(arguments).current_dir(root()).status();
    ensure!(status.context("cargo does not start")?.success(), "cargo {} failed", arguments.join(" "));
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ban is for workers; here one thread waits for another process"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}
