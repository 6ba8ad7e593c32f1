//! TLS that is not terminated here: the bytes go to an upstream as they came, the ClientHello first.

use std::io;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Upstream;
use crate::transport::Transport;

/// How a relayed connection ended.
pub(super) struct Ended {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) end: &'static str,
}

impl Ended {
    pub(super) fn drained() -> Self {
        Self { bytes_in: 0, bytes_out: 0, end: "drained" }
    }
}

/// Connects to the first endpoint that answers and copies both ways until both sides have closed.
pub(super) async fn relay(mut client: Transport, upstream: &Arc<Upstream>) -> Ended {
    let Some(mut server) = connect(upstream).await else {
        return Ended { bytes_in: 0, bytes_out: 0, end: "upstream-unreachable" };
    };
    match copy_bidirectional(&mut client, &mut server).await {
        Ok((bytes_in, bytes_out)) => Ended { bytes_in, bytes_out, end: "closed" },
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            Ended { bytes_in: 0, bytes_out: 0, end: "reset" }
        }
        Err(_) => Ended { bytes_in: 0, bytes_out: 0, end: "failed" },
    }
}

async fn connect(upstream: &Upstream) -> Option<TcpStream> {
    for endpoint in &upstream.endpoints {
        if let Ok(Ok(stream)) = timeout(upstream.connect_timeout, TcpStream::connect(endpoint)).await {
            // Handshake flights must not wait for an acknowledgement.
            let _ = stream.set_nodelay(true);
            return Some(stream);
        }
    }
    None
}
