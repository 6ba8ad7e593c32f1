//! One GET request, and an answer that is read to its end, over HTTP/1.1 or HTTP/2.
//!
//! No HTTP library: the bytes are always the same, and a library's work would be this side's alone. The answer is known
//! by its body: the rig's upstream ends each with [`END`].

use std::io::{self, ErrorKind};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// How every body of the rig's upstream ends.
const END: &[u8] = b"ok\n";

/// RFC 9113 section 3.4: what an HTTP/2 client says first; then an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// RFC 9113 section 6.5: SETTINGS, acknowledged.
const ACKNOWLEDGED: &[u8] = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00";

pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// For the server name that the connection was made for: servers may refuse any other (RFC 9110 section 15.5.20).
    pub(crate) fn over(alpn: &str, authority: &str) -> Self {
        let bytes = match alpn {
            "h2" => [PREFACE, &headers(authority), ACKNOWLEDGED].concat(),
            _ => format!("GET / HTTP/1.1\r\nhost: {authority}\r\n\r\n").into_bytes(),
        };
        Self { bytes }
    }

    pub(crate) async fn exchange(&self, stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
        stream.write_all(&self.bytes).await?;
        let mut read = Vec::new();
        while !read.windows(END.len()).any(|window| window == END) {
            if stream.read_buf(&mut read).await? == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server closed before its answer ended",
                ));
            }
        }
        Ok(())
    }
}

/// RFC 9113 section 6.2, RFC 7541: HEADERS of stream 1 with END_STREAM and END_HEADERS; method, scheme and path are
/// entries 2, 7 and 4 of the static table, the authority is a literal with the name of entry 1. A name of the rig has fewer
/// than 127 bytes, so every length fits one byte.
fn headers(authority: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x41, authority.len() as u8];
    block.extend_from_slice(authority.as_bytes());
    let mut frame = vec![0, 0, block.len() as u8, 1, 0x05, 0, 0, 0, 1];
    frame.extend_from_slice(&block);
    frame
}
