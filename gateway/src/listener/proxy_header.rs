//! The first stage of a connection: the PROXY protocol header, where the listener trusts its peer to send one.
//!
//! A peer in a trusted network must send one (a connection without is closed); from any other peer the bytes are left
//! alone, so that a client cannot choose its own address.

use std::io;

use handfast_wire::{ProxyHeader, ProxyHeaderError};
use ipnet::IpNet;

use crate::transport::{Ends, Transport, canonical};

/// Why no PROXY header could be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    #[error("the peer sent no valid PROXY header")]
    Invalid(#[from] ProxyHeaderError),
    #[error("the peer closed the connection within its PROXY header")]
    Closed,
    #[error("reading the PROXY header failed")]
    Read(#[source] io::Error),
}

/// Reads and consumes the header of a trusted peer and takes the addresses from it.
pub async fn read(mut transport: Transport, trusted: &[IpNet]) -> Result<Transport, HeaderError> {
    let peer = transport.ends().client.ip();
    if !trusted.iter().any(|network| network.contains(&peer)) {
        return Ok(transport);
    }
    loop {
        if let Some((header, length)) = ProxyHeader::read(transport.unread())? {
            transport.consume(length);
            let ends = apply(transport.ends(), header);
            transport.set_ends(ends);
            return Ok(transport);
        }
        if transport.read_ahead().await.map_err(HeaderError::Read)? == 0 {
            return Err(HeaderError::Closed);
        }
    }
}

/// A header without addresses (LOCAL, UNKNOWN: health checks of the proxy itself) leaves the socket's, and whoever asks is
/// told that they are.
fn apply(ends: &Ends, header: ProxyHeader) -> Ends {
    Ends {
        listener: ends.listener.clone(),
        client: header.source.map_or(ends.client, canonical),
        server: header.destination.map_or(ends.server, canonical),
        proxied: header.source.is_some(),
        proxy_fields: header.tlvs,
    }
}
