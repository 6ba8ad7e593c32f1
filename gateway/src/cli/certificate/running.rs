//! The running gateway of a configuration, asked over its admin listener.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::admin::certificates::{Listing, Query};
use crate::config::Admin;

/// For one page, from connecting to its end. The gateway itself gives up after 5 s.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read of a page: far more than a thousand certificates with a hundred long names each.
const LARGEST: usize = 64 << 20;

/// A gateway that has answered.
pub(super) struct Running {
    runtime: Runtime,
    address: SocketAddr,
}

/// Why the state of a running gateway is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunningError {
    #[error("the configuration has no [admin] to ask a running gateway at")]
    NoAdmin,
    #[error("[admin] has port 0, so where a running gateway is to be asked is not known")]
    NoPort,
    #[error("no gateway answers at {address}")]
    NoAnswer { address: SocketAddr, source: io::Error },
    #[error("the answer from {address} broke off")]
    Http { address: SocketAddr, source: hyper::Error },
    #[error("what answers at {address} is not a gateway that lists certificates ({status})")]
    Stranger { address: SocketAddr, status: StatusCode },
    #[error("the answer from {address} is not understood; is that gateway of another version?")]
    Malformed { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the system refuses a runtime")]
    System(#[source] io::Error),
}

impl Running {
    /// Finds out whether a gateway answers.
    pub(super) fn find(admin: Option<&Admin>) -> Result<Self, RunningError> {
        let mut address = admin.ok_or(RunningError::NoAdmin)?.address;
        if address.port() == 0 {
            return Err(RunningError::NoPort);
        }
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let runtime = Builder::new_current_thread().enable_all().build().map_err(RunningError::System)?;
        let running = Self { runtime, address };
        running.ask(&Query::Page { after: None, limit: 1 })?;
        Ok(running)
    }

    pub(super) fn ask(&self, query: &Query) -> Result<Listing, RunningError> {
        let address = self.address;
        self.runtime.block_on(async {
            let asked = tokio::time::timeout(TIMEOUT, get(address, &query.uri())).await;
            asked.unwrap_or_else(|_elapsed| {
                Err(RunningError::NoAnswer { address, source: io::ErrorKind::TimedOut.into() })
            })
        })
    }
}

async fn get(address: SocketAddr, uri: &str) -> Result<Listing, RunningError> {
    let http = |source| RunningError::Http { address, source };
    let stream =
        TcpStream::connect(address).await.map_err(|source| RunningError::NoAnswer { address, source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let request = Request::get(uri).header(HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|source| RunningError::Malformed { address, source: source.into() })?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(http)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(RunningError::Stranger { address, status });
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|source| RunningError::Malformed { address, source })?;
    connection.abort();
    serde_json::from_slice(&body.to_bytes())
        .map_err(|source| RunningError::Malformed { address, source: source.into() })
}
