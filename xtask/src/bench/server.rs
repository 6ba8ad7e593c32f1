//! A server under test: started on its core, waited for, stopped.
//!
//! Settings are as equal as the servers allow: one worker, no logs, session tickets on (two after each TLS 1.3
//! handshake), no session cache, an accept queue of 4,096, connections to clients and upstreams kept. Everything else is
//! the server's default. What the client fixes (version, group, cipher, protocol) needs no setting.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::certificates::Named;
use super::ground::Ground;

mod handfast;
mod haproxy;
mod hitch;
mod nginx;
mod upstream;

pub(super) use handfast::{HANDFAST, HANDFAST_CUSTOM, HANDFAST_NO_POLICY, HANDFAST_SCALE};
pub(super) use haproxy::{HAPROXY, HAPROXY_SCALE};
pub(super) use hitch::HITCH;
pub(super) use nginx::{NGINX, NGINX_LUA, NGINX_SCALE};
pub(super) use upstream::start as start_upstream;

/// A start takes milliseconds, with 100,000 certificates minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// Ten thousand clients, and their upstreams: the soft limit; only root could raise the hard one.
pub(super) const DESCRIPTORS: &str = "--nofile=20000:";
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

/// A running one. Dropped without [`Server::stop`], it is asked to end as well.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts a command on the server's core and waits until it accepts connections.
    fn start(ground: &Ground, name: &str, command: &Command, address: SocketAddr) -> Result<Self> {
        Self::start_on(ground, ground.server_core, name, command, address)
    }

    fn start_on(
        ground: &Ground,
        core: usize,
        name: &str,
        command: &Command,
        address: SocketAddr,
    ) -> Result<Self> {
        let log = ground.folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let process = Command::new("prlimit")
            .args([DESCRIPTORS, "taskset", "--cpu-list", &core.to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let mut server = Self { process, address, log };
        server.ready()?;
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// prlimit becomes taskset and that the server, so its process is the server's.
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
            ensure!(begun.elapsed() < PATIENCE, "the server does not listen: {}", self.said());
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
