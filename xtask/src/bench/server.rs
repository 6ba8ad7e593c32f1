//! A server under test: started on its core, waited for, stopped.
//!
//! Settings are as equal as the servers allow: one worker, no logs, session tickets on (two after each TLS 1.3
//! handshake), no session cache, an accept queue of 4,096, connections to clients and upstreams kept. Everything else is
//! the server's default. What the client fixes (version, group, cipher, protocol) needs no setting.

use std::fmt;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::certificates::Named;
use super::ground::Ground;
use super::processor::{memory_of_tree, placed};

mod caddy;
mod handfast;
mod haproxy;
mod hitch;
mod nginx;
mod plain;
mod upstream;

pub(super) use caddy::CADDY;
pub(super) use handfast::{
    HANDFAST, HANDFAST_C, HANDFAST_C_REUSED, HANDFAST_CHAIN, HANDFAST_CUSTOM, HANDFAST_GO, HANDFAST_GO_FRESH,
    HANDFAST_JAVASCRIPT, HANDFAST_JAVASCRIPT_FRESH, HANDFAST_NO_POLICY, HANDFAST_PYTHON,
    HANDFAST_PYTHON_FRESH, HANDFAST_RUST, HANDFAST_RUST_REUSED, HANDFAST_SCALE, rust, start_plugin,
    start_workers,
};
pub(super) use haproxy::{HAPROXY, HAPROXY_SCALE};
pub(super) use hitch::HITCH;
pub(super) use nginx::{NGINX, NGINX_LUA, NGINX_SCALE};
pub(super) use plain::{
    FLOOR, FLOOR_MLKEM, FLOOR_P256, FLOOR_RESUMED, FLOOR_RESUMED_MLKEM, FLOOR_SILENT, FLOOR_TCP, RELAY,
    start_sink,
};
pub(super) use upstream::start as start_upstream;

/// A start takes milliseconds, with 100,000 certificates minutes.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(10);

/// A server that can be measured.
#[derive(Debug)]
pub(super) struct Subject {
    /// Public: the JSON has it.
    pub(super) name: &'static str,
    /// In the table.
    pub(super) title: &'static str,
    pub(super) start: fn(&Ground, &Setting<'_>) -> Result<Server>,
}

/// What all servers of a figure get.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    /// Where the certificates lie, as `NAME.crt` and `NAME.key`.
    pub(super) folder: &'a Path,
    pub(super) certificates: &'a [Named],
    /// Where requests go, if the figure makes any.
    pub(super) upstream: Option<SocketAddr>,
}

impl Setting<'_> {
    /// Of the certificates, as the load generator takes them.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> =
            self.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
        names.join(",")
    }
}

/// A running one. Dropped without [`Server::stop`], it is asked to end as well.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
    plain: Option<Plain>,
}

/// What a server without TLS expects of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// The turns of a handshake.
    Turns,
    /// Nothing: it closes.
    Silent,
    Http,
}

/// A server that does not accept connections in time.
#[derive(Debug)]
pub(super) struct NotReady {
    /// What it has in memory so far.
    mebibytes: u64,
    said: String,
}

impl NotReady {
    /// For a table.
    pub(super) fn shortly(&self) -> String {
        format!("not ready after {} s, with {} MiB", PATIENCE.as_secs(), self.mebibytes)
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.shortly(), self.said)
    }
}

impl std::error::Error for NotReady {}

impl Server {
    /// Starts a command on the server's core and waits until it accepts connections.
    fn start(ground: &Ground, name: &str, command: &Command, address: SocketAddr) -> Result<Self> {
        Self::start_on(ground, &ground.server_core.to_string(), name, command, address)
    }

    /// On these cores, as taskset(1) lists them.
    fn start_on(
        ground: &Ground,
        cores: &str,
        name: &str,
        command: &Command,
        address: SocketAddr,
    ) -> Result<Self> {
        let log = ground.folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let process = placed(cores)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let mut server = Self { process, address, log, plain: None };
        server.ready()?;
        Ok(server)
    }

    fn plain(mut self, plain: Plain) -> Self {
        self.plain = Some(plain);
        self
    }

    /// How the load generator talks to it, where not by TLS.
    pub(super) fn load_option(&self) -> Option<&'static str> {
        match self.plain? {
            Plain::Turns => Some("--plain=turns"),
            Plain::Silent => Some("--plain=silent"),
            Plain::Http => None,
        }
    }

    pub(super) fn scheme(&self) -> &'static str {
        match self.plain {
            Some(_) => "http",
            None => "https",
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.terminate();
        let begun = Instant::now();
        while self.process.try_wait()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "the server does not stop: {}", self.said());
            pause(LOOK);
        }
        Ok(())
    }

    fn ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("the server ended ({status}): {}", self.said());
            }
            if begun.elapsed() > PATIENCE {
                let mebibytes = memory_of_tree(self.id())? >> 20;
                return Err(NotReady { mebibytes, said: self.said() }.into());
            }
            pause(LOOK);
        }
        Ok(())
    }

    fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{}\n(from {})", text.trim(), self.log.display())
    }

    /// SIGTERM: it reaches the workers of nginx too, which SIGKILL to the master would leave behind.
    fn terminate(&mut self) {
        let kill = format!("kill -TERM {}", self.process.id());
        // Nothing to do about a failure: the process is gone then.
        let _ = Command::new("sh").args(["-c", &kill]).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.terminate();
            let _ = self.process.wait();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ban is for workers; here one thread waits for another process"
)]
pub(super) fn pause(time: Duration) {
    thread::sleep(time);
}

/// An address nobody listens on. Another process could take it before the server does; the start fails then.
fn free_address() -> Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(probe.local_addr()?)
}
