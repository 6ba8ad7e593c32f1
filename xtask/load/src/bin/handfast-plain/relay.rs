//! Two sockets and nothing between them: the least that passing a request or a body on can cost.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};

/// Of each direction. More brings nothing: it is what the sockets hold at a time.
const BUFFER: usize = 64 << 10;

pub(crate) async fn serve(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        // An error is the client's to report.
        tokio::spawn(connection(stream, upstream));
    }
}

async fn connection(mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await?;
    Ok(())
}
