//! `handfast demo`: the whole gateway on one machine, with nothing prepared.
//!
//! Writes a scratch folder (a development CA, certificates in two key types, plugins, a configuration), starts a
//! built-in upstream that shows what it received, runs the gateway exactly as `handfast run` would, and prints
//! commands to paste. Nothing in the gateway knows that it is a demo.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, ConfigError, Log, LogFormat};
use crate::policy::Last;
use crate::server::{self, ServerError, Start};
use crate::telemetry;

mod commands;
mod pki;
mod scratch;
mod upstream;

use scratch::Scratch;

/// The port a browser user would guess. Where this one or the next is taken, any free ones are used.
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
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs the demo until it is interrupted. A folder of the demo's own choice is removed at the end.
pub fn run(folder: Option<PathBuf>) -> Result<(), DemoError> {
    let upstream = upstream::start().map_err(DemoError::Upstream)?;
    let scratch = Scratch::create(folder)?;
    scratch.fill()?;
    // The filter is ours and parses.
    let log = telemetry::start(&Log { format: LogFormat::Text, filter: "info".to_owned() }).ok();
    let usual = Ports { listener: USUAL_PORT, admin: USUAL_ADMIN_PORT };
    let done = match serve(&scratch, usual, upstream) {
        Err(DemoError::Server(ServerError::Bind { .. } | ServerError::Admin { .. })) => {
            serve(&scratch, Ports { listener: 0, admin: 0 }, upstream)
        }
        done => done,
    };
    drop(log);
    done
}

/// The ports to listen on; 0 for any free one.
#[derive(Debug, Clone, Copy)]
struct Ports {
    listener: u16,
    admin: u16,
}

fn serve(scratch: &Scratch, ports: Ports, upstream: SocketAddr) -> Result<(), DemoError> {
    scratch.configure(ports, upstream)?;
    let config = Config::load(&scratch.config())?;
    let start = Start { config, path: scratch.config(), last: Last::Embedded };
    Ok(server::run(start, |addresses| commands::print(scratch, addresses))?)
}
