//! One exchange with a responder, over plain HTTP as RFC 6960 appendix A and RFC 5019 section 5 have it.
//!
//! The URL is from a certificate, so from whoever had it issued. What may be done in their name is bounded: one connection,
//! one request, no redirect, no link-local address nor any other where clouds answer questions about the machine, 64 KiB, a few
//! seconds; and nothing of the answer is shown but that it was no OCSP response. A responder on a private network is
//! common with private authorities, so those addresses are not refused; who serves certificates of strangers sets
//! `ocsp = "files"`.

use std::error::Error;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{MAX_RESPONSE, OcspError};

/// From where on RFC 5019 section 5 wants POST: a GET is what caches between here and the responder can answer.
const MAX_GET: usize = 255;

/// Where a responder is and how it is asked.
#[derive(Debug, Clone)]
pub(super) struct Responder {
    authority: Authority,
    /// Starts with a slash.
    path: String,
}

impl Responder {
    pub(super) fn parse(url: &str) -> Result<Self, OcspError> {
        let refused = || OcspError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_invalid| refused())?;
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            // No userinfo: a responder asks for no password, and it does not belong into `Host`.
            (Some(scheme), Some(authority))
                if scheme == Scheme::HTTP && !authority.as_str().contains('@') =>
            {
                let path = parts.path_and_query.map_or_else(|| "/".to_owned(), |path| path.to_string());
                Ok(Self { authority, path })
            }
            _ => Err(refused()),
        }
    }

    /// `host:port`, as it is written in the certificate.
    pub(super) fn name(&self) -> &str {
        self.authority.as_str()
    }

    /// Asks. `post` is for responders that were asked by GET in vain.
    pub(super) async fn ask(
        &self,
        request: &[u8],
        post: bool,
        connect: Duration,
        total: Duration,
    ) -> Result<Bytes, OcspError> {
        let exchange = tokio::time::timeout(total, self.exchange(request, post, connect)).await;
        exchange.unwrap_or_else(|_elapsed| Err(self.too_slow(total)))
    }

    async fn exchange(&self, request: &[u8], post: bool, wait: Duration) -> Result<Bytes, OcspError> {
        let stream = tokio::time::timeout(wait, self.connect()).await;
        let stream = stream.unwrap_or_else(|_elapsed| Err(self.too_slow(wait)))?;
        let failed = |source| OcspError::Http { responder: self.name().to_owned(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let request = self.request(request, post)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            if response.status() != StatusCode::OK {
                let (responder, status) = (self.name().to_owned(), response.status().as_u16());
                return Err(OcspError::HttpStatus { responder, status });
            }
            let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
            body.map(|body| body.to_bytes()).map_err(|error| self.body_error(error))
        };
        // The connection moves the bytes; what ends it early reaches the answer as an error.
        let drive = async {
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            answer = answer => answer,
            () = drive => Err(self.unreachable(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    async fn connect(&self) -> Result<TcpStream, OcspError> {
        let host = self.authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = self.authority.port_u16().unwrap_or(80);
        let found = tokio::net::lookup_host((host, port)).await.map_err(|source| self.unreachable(source))?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in found {
            if !is_responders(address.ip()) {
                return Err(OcspError::Address { address: address.ip() });
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(last))
    }

    fn request(&self, request: &[u8], post: bool) -> Result<Request<Full<Bytes>>, OcspError> {
        let encoded = escaped(&BASE64.encode(request));
        // The path would end up behind a query.
        let short = encoded.len() <= MAX_GET && !self.path.contains('?');
        let builder = Request::builder().header(HOST, self.authority.as_str());
        let built = if short && !post {
            let path = format!("{}/{encoded}", self.path.trim_end_matches('/'));
            builder.uri(path).body(Full::default())
        } else {
            let builder = builder.method(Method::POST).uri(&self.path);
            let builder = builder.header(CONTENT_TYPE, "application/ocsp-request");
            builder.body(Full::new(Bytes::copy_from_slice(request)))
        };
        built.map_err(|_invalid| OcspError::Url { url: format!("http://{}{}", self.authority, self.path) })
    }

    fn body_error(&self, error: Box<dyn Error + Send + Sync>) -> OcspError {
        if error.is::<LengthLimitError>() {
            return OcspError::Long;
        }
        match error.downcast::<hyper::Error>() {
            Ok(source) => OcspError::Http { responder: self.name().to_owned(), source: *source },
            Err(other) => self.unreachable(io::Error::other(other)),
        }
    }

    fn unreachable(&self, source: io::Error) -> OcspError {
        OcspError::Connect { responder: self.name().to_owned(), source }
    }

    fn too_slow(&self, limit: Duration) -> OcspError {
        OcspError::Timeout { responder: self.name().to_owned(), seconds: limit.as_secs() }
    }
}

/// Where clouds answer questions about the machine outside of the link-local range: Alibaba, Oracle and Azure, and Amazon's
/// over IPv6.
const CLOUDS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether a responder may be there. The unspecified addresses are none: to connect to them is to connect to this machine.
fn is_responders(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_none = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => match address.segments() {
            // With an IPv4 address in it: NAT64 (RFC 6052 section 2.1) and 6to4 (RFC 3056 section 2).
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                let bits = u32::from(high) << 16 | u32::from(low);
                return is_responders(Ipv4Addr::from_bits(bits).into());
            }
            // The local NAT64 prefix (RFC 8215): where in it the IPv4 address is, only the network's operator knows.
            [0x64, 0xff9b, 1, ..] => true,
            _ => address.is_unicast_link_local(),
        },
    };
    !is_none && !address.is_unspecified() && !address.is_multicast() && !CLOUDS.contains(&address)
}

/// The characters of base64 that mean something else in a path.
fn escaped(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests;
