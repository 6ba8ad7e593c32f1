//! The record layer under a ClientHello: finds the one handshake message and joins its fragments.
//!
//! Called by [`ClientHello::read`](super::ClientHello::read) with everything read so far, so it walks the records
//! anew at each call: a step of a few nanoseconds per record, of which there are at most 1,024. Bytes are judged
//! strictly in the order they came in, which is what makes an answer final whatever follows.

use super::{ClientHello, ClientHelloError};

/// Content type, legacy version, length.
pub(super) const HEADER: usize = 5;

const MAX_FRAGMENT: u16 = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Handshake type, 24-bit length, `legacy_version`: what can be judged before the message is complete.
const MESSAGE_HEAD: usize = 6;
const MESSAGE_HEADER: usize = 4;

/// The whole handshake message with its header, or `None` while it is incomplete.
pub(super) fn assemble(buffer: &[u8]) -> Result<Option<Vec<u8>>, ClientHelloError> {
    if !opens_as_tls(buffer)? {
        return Ok(None);
    }
    let mut head = Head::default();
    let mut collected = 0_usize;
    let mut records = Records { rest: buffer, count: 0 };
    while let Some(fragment) = records.next_fragment()? {
        head.feed(fragment)?;
        collected = collected.saturating_add(fragment.len());
        if let Some(length) = head.message_length()
            && collected >= length
        {
            return join(buffer, length).map(Some);
        }
    }
    Ok(None)
}

/// Copies the first `length` bytes of the fragments, which are known to be there.
fn join(buffer: &[u8], length: usize) -> Result<Vec<u8>, ClientHelloError> {
    let mut message = Vec::with_capacity(length);
    let mut records = Records { rest: buffer, count: 0 };
    while message.len() < length
        && let Some(fragment) = records.next_fragment()?
    {
        let missing = length.saturating_sub(message.len());
        message.extend_from_slice(fragment.get(..missing).unwrap_or(fragment));
    }
    Ok(message)
}

/// Whether the first record is a TLS handshake record; `false` while that is undecided.
///
/// Names what else it may be, since "plain HTTP to the TLS port" and an old client are what an operator has to tell
/// from noise. An HTTP method is waited for to its last byte: it comes in one segment with the rest of the request.
fn opens_as_tls(buffer: &[u8]) -> Result<bool, ClientHelloError> {
    match buffer {
        [] | [HANDSHAKE] => Ok(false),
        [HANDSHAKE, 3, ..] => Ok(true),
        // change_cipher_spec, alert, application_data, heartbeat
        [20 | 21 | 23 | 24] => Ok(false),
        [kind @ (20 | 21 | 23 | 24), 3, ..] => Err(ClientHelloError::UnexpectedRecord(*kind)),
        // SSL 2.0 (RFC 5246 appendix E.2): a two-byte length with the top bit set, the message type, the version.
        [0x80..=0xff, _, CLIENT_HELLO, 0 | 3, ..] => Err(ClientHelloError::Ssl2),
        [0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, CLIENT_HELLO] => Ok(false),
        _ if METHODS.iter().any(|method| buffer.starts_with(method)) => Err(ClientHelloError::PlainHttp),
        _ if METHODS.iter().any(|method| method.starts_with(buffer)) => Ok(false),
        _ => Err(ClientHelloError::NotTls),
    }
}

/// How a plain HTTP request begins; the last is the preface of HTTP/2 (RFC 9113 section 3.4).
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/2",
];

/// Walks the records of a buffer.
struct Records<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Records<'a> {
    /// The payload of the next record, or as much of it as is there; `None` when its header is incomplete.
    fn next_fragment(&mut self) -> Result<Option<&'a [u8]>, ClientHelloError> {
        if !self.rest.is_empty() && self.count >= ClientHello::MAX_RECORDS {
            return Err(ClientHelloError::TooManyRecords);
        }
        let (length, payload) = match self.rest {
            [] | [HANDSHAKE] | [HANDSHAKE, 3] | [HANDSHAKE, 3, _] | [HANDSHAKE, 3, _, _] => return Ok(None),
            // The low byte of the version is ignored, as RFC 8446 section 5.1 wants: 0x0301 and 0x0303 are usual.
            [HANDSHAKE, 3, _, high, low, payload @ ..] => (u16::from_be_bytes([*high, *low]), payload),
            [HANDSHAKE, version, ..] => return Err(ClientHelloError::RecordVersion(*version)),
            [kind, ..] => return Err(ClientHelloError::UnexpectedRecord(*kind)),
        };
        match length {
            0 => return Err(ClientHelloError::EmptyRecord),
            1..=MAX_FRAGMENT => {}
            _ => return Err(ClientHelloError::RecordOverflow(length)),
        }
        self.count = self.count.saturating_add(1);
        let (fragment, rest) = payload.split_at_checked(length.into()).unwrap_or((payload, &[]));
        self.rest = rest;
        Ok(Some(fragment))
    }
}

/// The first bytes of the message, gathered from however many fragments.
#[derive(Default)]
struct Head {
    bytes: [u8; MESSAGE_HEAD],
    filled: usize,
}

impl Head {
    fn feed(&mut self, fragment: &[u8]) -> Result<(), ClientHelloError> {
        if self.filled == MESSAGE_HEAD {
            return Ok(());
        }
        for (slot, byte) in self.bytes.iter_mut().skip(self.filled).zip(fragment) {
            *slot = *byte;
            self.filled = self.filled.saturating_add(1);
        }
        let [kind, length @ .., version_high, version_low] = self.bytes;
        if self.filled >= 1 && kind != CLIENT_HELLO {
            return Err(ClientHelloError::UnexpectedMessage(kind));
        }
        let [high, middle, low] = length;
        let announced = u32::from_be_bytes([0, high, middle, low]);
        if self.filled >= MESSAGE_HEADER && announced > MAX_BODY {
            return Err(ClientHelloError::MessageTooLong(announced));
        }
        // Without this, what is taken for the version below could lie behind the end of the message.
        if self.filled >= MESSAGE_HEADER && announced < MIN_BODY {
            return Err(ClientHelloError::Malformed { field: "ClientHello" });
        }
        // A later major version is no error: the client offers at least TLS 1.2 below it (RFC 5246 appendix E.1).
        if self.filled == MESSAGE_HEAD && version_high < 3 {
            return Err(ClientHelloError::ProtocolVersion(u16::from_be_bytes([version_high, version_low])));
        }
        Ok(())
    }

    /// The length of the message with its header, once the header is there.
    fn message_length(&self) -> Option<usize> {
        let [_, _, middle, low, ..] = self.bytes;
        (self.filled >= MESSAGE_HEADER)
            .then(|| usize::from(u16::from_be_bytes([middle, low])).saturating_add(MESSAGE_HEADER))
    }
}

/// Version, random, an empty session id, one cipher suite, one compression method.
const MIN_BODY: u32 = 2 + 32 + 1 + (2 + 2) + (1 + 1);
const MAX_BODY: u32 = (ClientHello::MAX_MESSAGE - MESSAGE_HEADER) as u32;
