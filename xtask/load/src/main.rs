//! A load generator: TLS handshakes, as fast as one core makes them or at a fixed rate.
//!
//! `cargo xtask bench` runs it beside the server under test and reads the JSON it prints. It measures what a client
//! sees; what the server spends is measured by the rig, from outside.
//!
//! One thread, since it gets one core. For what a handshake costs, a fixed number of connections at a time, each replaced
//! as it closes; for how long one takes, a fixed number a second.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use handshake::{Client, Handshakes};
use rustls::pki_types::{InvalidDnsNameError, ServerName};

mod certificate;
mod change;
mod handshake;
mod hang;
mod hold;
mod pace;
mod plain;
mod report;
mod request;
mod run;

use plain::Plain;
use run::{Bounds, Operation};

/// Makes TLS connections, closes them, and prints what became of them as JSON.
#[derive(Debug, Parser)]
#[command(name = "handfast-load", disable_version_flag = true)]
struct Arguments {
    /// Where the server listens
    #[arg(long)]
    address: SocketAddr,
    /// Server names, asked for in turn; each must be in the certificate that answers
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", value_parser = server_name)]
    server_names: Vec<ServerName<'static>>,
    /// A file of further server names, one a line
    #[arg(long, value_name = "FILE", required_unless_present = "server_names")]
    server_names_file: Option<PathBuf>,
    /// Connections at a time
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Stop after this many seconds
    #[arg(long, required_unless_present_any = ["count", "until_changed", "hold", "hang"])]
    seconds: Option<f64>,
    /// Stop after this many handshakes
    #[arg(long)]
    count: Option<u64>,
    /// The one version offered
    #[arg(long, value_enum, default_value_t = Version::Tls13)]
    version: Version,
    /// The one key exchange offered
    #[arg(long, value_enum, default_value_t = Group::X25519)]
    group: Group,
    /// The one cipher offered
    #[arg(long, value_enum, default_value_t = Cipher::Aes128)]
    cipher: Cipher,
    /// The protocol offered by ALPN
    #[arg(long, default_value = "http/1.1")]
    alpn: String,
    /// Resume: a full handshake for each name and connection, tickets from then on
    #[arg(long)]
    resume: bool,
    /// Instead of a load: one handshake after the other until another certificate answers than at first. Prints a line
    /// once the first is known, and when (microseconds since 1970) the handshake that saw the other began and ended
    #[arg(long, conflicts_with_all = ["seconds", "count"])]
    until_changed: bool,
    /// Never sleep, so that the server need not wake this process
    #[arg(long)]
    awake: bool,
    /// Send a request on each connection and read its answer
    #[arg(long)]
    request: bool,
    /// Instead of a load: open this many connections and keep them until standard input ends
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seconds", "count", "until_changed"])]
    hold: Option<usize>,
    /// Instead of a load: keep this many handshakes begun and unfinished until standard input ends
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["seconds", "count", "until_changed", "hold"])]
    hang: Option<usize>,
    /// So many handshakes a second, each on its own connection at its own time; latencies count from when each was due
    #[arg(long, requires = "seconds", conflicts_with_all = ["count", "awake"])]
    rate: Option<f64>,
    /// No TLS: the client's part of a connection to `handfast-plain handshake`
    #[arg(long, value_enum)]
    plain: Option<Plain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Group {
    X25519,
    Secp256r1,
    X25519mlkem768,
}

/// With the key and the signature left to the certificate, this fixes everything that servers could choose.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cipher {
    Aes128,
    Aes256,
    Chacha20,
}

fn main() -> ExitCode {
    match load(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(text.to_owned())
}

fn names_of(file: &Path) -> Result<Vec<ServerName<'static>>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let name = |line| server_name(line).with_context(|| format!("`{line}` is no server name"));
    text.lines().map(name).collect()
}

fn load(arguments: Arguments) -> Result<()> {
    let client = Client {
        version: arguments.version,
        group: arguments.group,
        cipher: arguments.cipher,
        alpn: arguments.alpn,
        resume: arguments.resume,
        request: arguments.request,
    };
    let mut server_names = arguments.server_names;
    if let Some(file) = &arguments.server_names_file {
        server_names.extend(names_of(file)?);
    }
    let handshakes = Handshakes::new(arguments.address, server_names, &client)?;
    if arguments.until_changed {
        return change::wait(&handshakes);
    }
    if let Some(count) = arguments.hold {
        return hold::hold(handshakes, count, arguments.connections);
    }
    if let Some(count) = arguments.hang {
        return hang::hang(arguments.address, count);
    }
    if let (Some(rate), Some(seconds)) = (arguments.rate, arguments.seconds) {
        println!("{}", pace::run(handshakes, rate, seconds)?.json());
        return Ok(());
    }
    let operation = match arguments.plain {
        Some(plain) => Operation::Plain(arguments.address, plain),
        None => Operation::Handshake(handshakes),
    };
    let bounds = Bounds { seconds: arguments.seconds, count: arguments.count };
    let report = run::run(operation, arguments.connections, bounds, arguments.awake)?;
    println!("{}", report.json());
    Ok(())
}
