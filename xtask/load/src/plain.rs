//! The client's part of a connection without TLS, to a server that is the floor of a figure.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use handfast_load::{FINISHED, FLIGHT, GOODBYE, HELLO, TICKETS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::handshake::Done;

const PATIENCE: Duration = Duration::from_secs(5);

/// How much is said on a plain connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plain {
    /// The turns of a handshake
    Turns,
    /// Nothing: the server closes
    Silent,
}

pub(crate) async fn one(address: SocketAddr, plain: Plain) -> io::Result<Done> {
    tokio::time::timeout(PATIENCE, connection(address, plain))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "the server takes too long")))
}

async fn connection(address: SocketAddr, plain: Plain) -> io::Result<Done> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if plain == Plain::Turns {
        stream.write_all(&[b'.'; HELLO]).await?;
        stream.read_exact(&mut [0; FLIGHT]).await?;
        stream.write_all(&[b'.'; FINISHED]).await?;
        stream.write_all(&[b'.'; GOODBYE]).await?;
        stream.shutdown().await?;
        stream.read_exact(&mut [0; TICKETS]).await?;
    }
    let latency = begun.elapsed();
    match stream.read(&mut [0; 16]).await? {
        0 => Ok(Done { latency, resumed: false }),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "the server said something nobody asked for")),
    }
}
