//! TLS that is not terminated here: the bytes go to an upstream as they came, the ClientHello first.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Upstream;
use crate::http::relay::{self, Relay};
use crate::transport::Transport;

/// Without a byte in either direction for so long, a relayed connection is over: its peers may have vanished without a
/// word, and it holds a place among the open connections. `[http]` does not apply, since what is inside is not known;
/// long enough for protocols that keep themselves alive every few minutes, and what nginx takes (`proxy_timeout`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// How a relayed connection ended.
pub(super) struct Ended {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) end: &'static str,
}

/// Connects to the first endpoint that answers and copies both ways until both sides have closed, nothing has moved for
/// [`IDLE_TIMEOUT`], or `drained` is over.
pub(super) async fn relay(
    client: Transport,
    upstream: &Arc<Upstream>,
    drained: impl Future<Output = ()>,
) -> Ended {
    let mut drained = pin!(drained);
    let server = tokio::select! {
        server = connect(upstream) => server,
        () = drained.as_mut() => return Ended { bytes_in: 0, bytes_out: 0, end: "drained" },
    };
    let Some(server) = server else {
        return Ended { bytes_in: 0, bytes_out: 0, end: "upstream-unreachable" };
    };
    let mut relay = Relay::new(client, server);
    let end = tokio::select! {
        ended = relay.run(&[], IDLE_TIMEOUT) => match ended {
            relay::Ended::Closed => "closed",
            relay::Ended::Idle => "idle",
            relay::Ended::Failed(_, error) if error.kind() == io::ErrorKind::ConnectionReset => "reset",
            relay::Ended::Failed(..) => "failed",
        },
        () = drained => "drained",
    };
    Ended { bytes_in: relay.bytes_in(), bytes_out: relay.bytes_out(), end }
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
