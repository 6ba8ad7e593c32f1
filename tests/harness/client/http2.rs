//! HTTP/2 by hand, frame by frame (RFC 9113 section 4): for what a client library hides, such as GOAWAY.

use crate::client::{Refusal, Session};

/// Frame types, RFC 9113 section 6.
pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
}

/// The flag of DATA and HEADERS that ends a stream; of SETTINGS and PING, that acknowledges.
pub const END_STREAM_OR_ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & END_STREAM_OR_ACK != 0
    }

    /// Whether a HEADERS frame begins with `:status: 200`, which is entry 8 of HPACK's static table.
    pub fn is_status_200(&self) -> bool {
        self.kind == kind::HEADERS && self.payload.first() == Some(&0x88)
    }
}

/// A connection that speaks HTTP/2.
pub struct Http2 {
    session: Session,
}

impl Http2 {
    /// Sends the preface on a session that agreed on `h2`.
    pub fn begin(session: Session) -> Result<Self, Refusal> {
        assert_eq!(session.alpn.as_deref(), Some("h2"), "the session did not agree on h2");
        let mut connection = Self { session };
        connection.session.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        connection.send(&Frame { kind: kind::SETTINGS, flags: 0, stream: 0, payload: Vec::new() })?;
        Ok(connection)
    }

    /// A GET of `path` on a stream of its own: 1, 3, 5 …
    pub fn get(&mut self, stream: u32, host: &str, path: &str) -> Result<(), Refusal> {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path)];
        self.request(stream, &fields)
    }

    /// A request without a body, with exactly these fields.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let payload = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
        self.send(&Frame { kind: kind::HEADERS, flags: END_STREAM_OR_ACK | END_HEADERS, stream, payload })
    }

    pub fn send(&mut self, frame: &Frame) -> Result<(), Refusal> {
        let length = u32::try_from(frame.payload.len()).expect("a small payload");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([frame.kind, frame.flags]);
        bytes.extend(frame.stream.to_be_bytes());
        bytes.extend(&frame.payload);
        self.session.send(&bytes)
    }

    /// The next frame. SETTINGS and PING are acknowledged on the way, as any client does.
    pub fn frame(&mut self) -> Result<Frame, Refusal> {
        let head = self.session.read_exact(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let payload = self.session.read_exact(length as usize)?;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if matches!(frame.kind, kind::SETTINGS | kind::PING) && frame.flags & END_STREAM_OR_ACK == 0 {
            let payload = if frame.kind == kind::PING { frame.payload.clone() } else { Vec::new() };
            // A peer that closes has no use for it.
            let _ = self.send(&Frame { kind: frame.kind, flags: END_STREAM_OR_ACK, stream: 0, payload });
        }
        Ok(frame)
    }

    /// Reads up to a frame that matches, and returns it.
    pub fn frame_where(&mut self, matches: impl Fn(&Frame) -> bool) -> Result<Frame, Refusal> {
        loop {
            let frame = self.frame()?;
            if matches(&frame) {
                return Ok(frame);
            }
        }
    }
}

/// A literal field without indexing and without Huffman coding (RFC 7541 section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    assert!(name.len() < 127 && value.len() < 127, "longer strings need a longer length");
    let mut bytes = vec![0x00, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(value.len() as u8);
    bytes.extend(value.as_bytes());
    bytes
}
