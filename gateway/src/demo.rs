//! `handfast demo`: the whole gateway on one machine, with nothing prepared.
//!
//! Writes a scratch folder (a development CA, certificates in two key types, plugins, a configuration), starts a
//! built-in upstream that shows what it received, runs the gateway exactly as `handfast run` would, and prints
//! commands to paste. Nothing in the gateway knows that it is a demo.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use crate::config::{Config, ConfigError};
use crate::policy::Last;
use crate::server::{self, ServerError, Start};
use crate::telemetry;

mod commands;
mod pki;
mod scratch;
mod upstream;

use scratch::Scratch;

/// The port a browser user would guess; another is taken where this one is.
const USUAL_PORT: u16 = 8443;
const USUAL_ADMIN_PORT: u16 = 9901;

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("cannot write {}: name another place with --folder", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the folder {} is not empty: name a new one with --folder", path.display())]
    NotEmpty { path: PathBuf },
    #[error("the development certificates cannot be made")]
    Pki(#[from] rcgen::Error),
    #[error("the built-in upstream does not start")]
    Upstream(#[source] io::Error),
    #[error("no free port on 127.0.0.1")]
    Port(#[source] io::Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs the demo until it is interrupted. A folder of the demo's own choice is removed at the end.
pub fn run(folder: Option<PathBuf>) -> Result<(), DemoError> {
    let port = free_port(USUAL_PORT)?;
    let admin_port = free_port(USUAL_ADMIN_PORT)?;
    let upstream = upstream::start().map_err(DemoError::Upstream)?;
    let scratch = Scratch::create(folder)?;
    scratch.fill(port, admin_port, upstream)?;

    let config = Config::load(&scratch.config())?;
    // A filter that does not parse would be ours: the demo goes on without a log.
    let guard = telemetry::start(&config.log).ok();
    let start = Start { config, path: scratch.config(), last: Last::Embedded };
    let done = server::run(start, |_| commands::print(&scratch, port, admin_port));
    drop(guard);
    Ok(done?)
}

/// The usual port, or any free one where it is taken.
fn free_port(usual: u16) -> Result<u16, DemoError> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let socket = bind(usual).or_else(|_| bind(0)).map_err(DemoError::Port)?;
    socket.local_addr().map(|address| address.port()).map_err(DemoError::Port)
}
