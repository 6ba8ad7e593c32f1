//! An upstream that reads each request's body to its end and then answers `ok`.
//!
//! nginx, the upstream of the other figures, would answer before it has read a body that nobody wants, and then a proxy
//! need not send all of it.

use std::io;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";

/// How a chunked body ends (RFC 9112 section 7.1) that has no trailers and ended a chunk before.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

const BUFFER: usize = 256 << 10;

pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        // An error is the proxy's to report.
        tokio::spawn(connection(stream));
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut read = Vec::with_capacity(BUFFER);
    loop {
        let Some(head) = head(&mut stream, &mut read).await? else { return Ok(()) };
        let text = String::from_utf8_lossy(read.get(..head).unwrap_or_default()).to_ascii_lowercase();
        read.drain(..head);
        match length(&text) {
            Some(length) => swallow(&mut stream, &mut read, length).await?,
            None if text.contains("transfer-encoding: chunked") => chunks(&mut stream, &mut read).await?,
            None => {}
        }
        stream.write_all(ANSWER).await?;
    }
}

/// Reads until there is a whole head, and says how long it is; nothing where the connection ended instead.
async fn head(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
}

fn length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()
}

async fn swallow(stream: &mut TcpStream, read: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let mut left = length;
    loop {
        let own = left.min(read.len());
        read.drain(..own);
        left -= own;
        if left == 0 {
            return Ok(());
        }
        more(stream, read).await?;
    }
}

/// The bodies of the benchmarks do not look like the end of one.
async fn chunks(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<()> {
    while !read.ends_with(LAST_CHUNK) {
        let old = read.len().saturating_sub(LAST_CHUNK.len());
        read.drain(..old);
        more(stream, read).await?;
    }
    read.clear();
    Ok(())
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(read).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_is_read_from_its_head() {
        assert_eq!(length("post / http/1.1\r\ncontent-length: 12\r\n\r\n"), Some(12));
        assert_eq!(length("get / http/1.1\r\nhost: a\r\n\r\n"), None);
    }
}
