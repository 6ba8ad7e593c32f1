//! Just enough HTTP/1.1 to read one response from a stream, byte-exact and strict.

use std::io::{self, Read};

/// A response, its header names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, which [`crate::Upstream`] gives as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of {}: {:?}", self.status, self.text()))
    }
}

/// Reads one response. Bodies end by `content-length`, by `chunked` or by the end of the stream.
pub fn read_response(stream: &mut impl Read) -> io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(read_byte(stream)?);
    }
    let (status, headers) = parse_head(&head)?;
    let mut response = Response { status, headers, body: Vec::new() };
    let chunked =
        response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    if status < 200 || status == 204 || status == 304 {
        return Ok(response);
    }
    if chunked {
        read_chunks(stream, &mut response.body)?;
    } else if let Some(length) = response.header("content-length").map(str::parse::<usize>) {
        response.body = vec![0; length.map_err(|_| invalid("content-length"))?];
        stream.read_exact(&mut response.body)?;
    } else {
        stream.read_to_end(&mut response.body)?;
    }
    Ok(response)
}

/// Status and fields of a head, with its final empty line or without.
pub(crate) fn parse_head(head: &[u8]) -> io::Result<(u16, Vec<(String, String)>)> {
    let text = str::from_utf8(head).map_err(|_| invalid("response head"))?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers = lines.map(|line| {
        line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok((
        status.ok_or_else(|| invalid("status line"))?,
        headers.collect::<Option<_>>().ok_or_else(|| invalid("header field"))?,
    ))
}

fn read_chunks(stream: &mut impl Read, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| invalid("chunk size"))?;
        if size == 0 {
            while !read_line(stream)?.is_empty() {}
            return Ok(());
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        if !read_line(stream)?.is_empty() {
            return Err(invalid("chunk end"));
        }
    }
}

fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(read_byte(stream)?);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|_| invalid("line"))
}

fn read_byte(stream: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("invalid {what} in the response"))
}
