//! Plain TCP servers: what a handshake, a request and a body cost where nothing of TLS or HTTP is done.
//!
//! `cargo xtask bench` puts them beside the gateway as the floor of a figure, and uses one as an upstream that swallows
//! bodies. They are what the gateway is, less its work: one thread, tokio's current-thread runtime.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tokio::net::TcpListener;

mod handshake;
mod relay;
mod sink;

/// Plain TCP servers, for the floors of the benchmarks.
#[derive(Debug, Parser)]
#[command(name = "handfast-plain", version)]
struct Arguments {
    /// Where to listen
    #[arg(long)]
    address: SocketAddr,
    #[command(subcommand)]
    server: Server,
}

#[derive(Debug, Subcommand)]
enum Server {
    /// The asymmetric operations of a handshake on each connection, and nothing else of it
    Handshake(handshake::Arguments),
    /// Bytes to an upstream and back
    Relay { upstream: SocketAddr },
    /// HTTP/1.1 requests, each answered with `ok` when its body is read
    Sink,
}

/// Accept queue, as the other servers have it.
const BACKLOG: u32 = 4_096;

fn main() -> ExitCode {
    match serve(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system refuses a runtime")?;
    runtime.block_on(async {
        let listener = listen(arguments.address).context("cannot listen")?;
        match arguments.server {
            Server::Handshake(arguments) => handshake::serve(listener, &arguments).await,
            Server::Relay { upstream } => relay::serve(listener, upstream).await,
            Server::Sink => sink::serve(listener).await,
        }
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
