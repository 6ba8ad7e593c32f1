//! Why a request got no response.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Each variant is one thing an operator can act on; `http` maps it to a status.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the upstream has no other endpoint")]
    NoEndpoint,
    #[error("cannot resolve {endpoint}; check the upstream's endpoints and the resolver")]
    Resolve { endpoint: Arc<str>, source: io::Error },
    #[error("cannot connect to {endpoint}; is it running?")]
    Connect { endpoint: Arc<str>, source: io::Error },
    #[error("{endpoint} did not accept a connection within {timeout:?}")]
    ConnectTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("{endpoint} did not speak HTTP")]
    Handshake { endpoint: Arc<str>, source: hyper::Error },
    #[error("{endpoint} broke off before its response was complete")]
    Broken { endpoint: Arc<str>, source: hyper::Error },
    #[error("{endpoint} closed the connection before its response")]
    Closed { endpoint: Arc<str> },
    #[error("{endpoint} sent no response within {timeout:?}")]
    ResponseTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("{endpoint} accepted no more of the request for {timeout:?}")]
    RequestTimeout { endpoint: Arc<str>, timeout: Duration },
    #[error("the client sent no more of its request for {timeout:?}")]
    ClientTimeout { timeout: Duration },
    #[error("the client's request body broke off")]
    ClientBody,
}

impl SendError {
    /// What a kept connection that the upstream had closed meanwhile looks like.
    pub(super) fn may_be_stale(&self) -> bool {
        matches!(self, Self::Broken { .. } | Self::Closed { .. })
    }
}
