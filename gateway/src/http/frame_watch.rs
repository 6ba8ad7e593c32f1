//! Follows the frames of an HTTP/2 connection just closely enough to know which requests were refused before anyone
//! here heard of them.
//!
//! # Memo: why
//! h2 refuses requests by itself: a head that is too large with 431, a malformed one or one stream too many with
//! RST_STREAM. hyper is not told, so nothing would be logged or counted. Heads that the client has completed are
//! counted here, requests that reached the service by the session; once hyper has taken all that was read, the
//! difference was refused, and the frames that went out say how. What such a request was for is inside its compressed
//! head, which is not read a second time. Nothing but the line and the count of such a request rests on this watch.

/// Requests of one read whose fate is open. A client that fills this opens streams only to have them refused, and h2
/// ends its connection; the watch gives up before.
const WAITING: usize = 4_096;

/// RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// Of a payload: what RST_STREAM and GOAWAY say.
const START: usize = 8;

/// RFC 9113 section 6.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Both directions of a connection.
#[derive(Debug)]
pub struct FrameWatch {
    /// What of the client's preface has not come yet.
    preface: &'static [u8],
    received: Frames,
    sent: Frames,
    /// The highest stream that the client has opened.
    newest: u32,
    /// Whether its head goes on in CONTINUATION frames.
    continues: bool,
    /// Completed heads, without those that were told as refused or will not be answered.
    opened: u64,
    waiting: Vec<Waiting>,
    last: Option<u32>,
    error: u32,
    off: bool,
}

/// How h2 refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// With a response of its own, which is always a 431.
    Answered,
    /// With RST_STREAM and this error code.
    Reset(u32),
    /// Not any more: the client took the request back before h2 had said anything, and then h2 says nothing.
    TakenBack,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    stream: u32,
    refused: Option<Refused>,
    /// By the client's RST_STREAM.
    taken_back: bool,
}

impl FrameWatch {
    pub fn new() -> Self {
        Self {
            preface: PREFACE,
            received: Frames::default(),
            sent: Frames::default(),
            newest: 0,
            continues: false,
            opened: 0,
            waiting: Vec::new(),
            last: None,
            error: 0,
            off: false,
        }
    }

    /// Whether the client has begun as HTTP/2 does.
    pub fn is_begun(&self) -> bool {
        self.preface.is_empty()
    }

    /// The error code that the connection was ended with by GOAWAY; 0 for none.
    pub fn error(&self) -> u32 {
        self.error
    }

    pub fn received(&mut self, mut bytes: &[u8]) {
        while let ([expected, preface @ ..], [byte, rest @ ..]) = (self.preface, bytes) {
            if byte != expected {
                // h2 ends such a connection at once.
                return;
            }
            (self.preface, bytes) = (preface, rest);
        }
        let Self { received, newest, continues, opened, waiting, off, .. } = self;
        received.read(bytes, |frame| {
            if frame.kind == RST_STREAM {
                if let Some(waiting) = find(waiting, frame.stream) {
                    waiting.taken_back = true;
                }
                return;
            }
            let completes = frame.flags & END_HEADERS != 0;
            match frame.kind {
                // On a stream that is open already these are trailers.
                HEADERS if frame.stream > *newest => {
                    *newest = frame.stream;
                    *continues = !completes;
                }
                CONTINUATION if *continues && frame.stream == *newest => *continues = !completes,
                _ => return,
            }
            if *continues || *off {
                return;
            }
            if waiting.len() == WAITING {
                *off = true;
                *waiting = Vec::new();
                return;
            }
            *opened += 1;
            waiting.push(Waiting { stream: *newest, refused: None, taken_back: false });
        });
    }

    pub fn sent(&mut self, bytes: &[u8]) {
        let Self { sent, waiting, last, error, .. } = self;
        sent.read(bytes, |frame| {
            let [first, second] = frame.start;
            let refused = match frame.kind {
                HEADERS => Refused::Answered,
                RST_STREAM => Refused::Reset(first),
                GOAWAY => {
                    *last = Some(first);
                    *error = second;
                    return;
                }
                _ => return,
            };
            if let Some(waiting) = find(waiting, frame.stream) {
                waiting.refused.get_or_insert(refused);
            }
        });
    }

    /// What was refused since it was asked last. `delivered`: the requests that ever reached the service. To be asked
    /// when hyper has taken all that was received and written all that it had to say about it.
    pub fn refused(&mut self, delivered: u64) -> Vec<Refused> {
        let mut told = Vec::new();
        if self.off {
            return told;
        }
        if let Some(last) = self.last {
            // RFC 9113 section 6.8: passed over without an answer, to be sent again elsewhere.
            let before = self.waiting.len();
            self.waiting.retain(|waiting| waiting.stream <= last);
            self.opened = self.opened.saturating_sub((before - self.waiting.len()) as u64);
        }
        let mut left = self.opened.saturating_sub(delivered);
        self.waiting.retain(|waiting| match waiting.refused {
            Some(refused) if left > 0 => {
                left -= 1;
                told.push(refused);
                false
            }
            _ => true,
        });
        // What is missing then was among these: who takes back what was refused must not leave a difference behind, by
        // which later answers would be taken for refusals.
        self.waiting.retain(|waiting| {
            let is_missing = left > 0 && waiting.taken_back;
            if is_missing {
                left -= 1;
                told.push(Refused::TakenBack);
            }
            !is_missing
        });
        self.opened = self.opened.saturating_sub(told.len() as u64);
        if left == 0 {
            self.waiting.clear();
        }
        told
    }
}

impl Default for FrameWatch {
    fn default() -> Self {
        Self::new()
    }
}

/// They are ordered, since each stream that a client opens has a higher number than the one before.
fn find(waiting: &mut [Waiting], stream: u32) -> Option<&mut Waiting> {
    let position = waiting.binary_search_by_key(&stream, |waiting| waiting.stream).ok()?;
    waiting.get_mut(position)
}

/// RFC 9113 section 7.
pub fn error_name(code: u32) -> &'static str {
    const NAMES: [&str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied().unwrap_or("unknown error")
}

/// REFUSED_STREAM: more streams than the client may open at once.
pub const REFUSED_STREAM: u32 = 7;

/// One direction, cut into frames.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD],
    head_length: usize,
    start: [u8; START],
    start_length: usize,
    /// Of the payload, still to come.
    rest: usize,
}

/// A frame that is complete.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// The first two numbers of its payload.
    start: [u32; 2],
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8], mut complete: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.head_length < HEAD {
                bytes = fill(&mut self.head, &mut self.head_length, bytes);
                if self.head_length < HEAD {
                    return;
                }
                let [high, middle, low, ..] = self.head;
                self.rest = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                (self.start, self.start_length) = ([0; START], 0);
            }
            let (payload, behind) = bytes.split_at_checked(self.rest).unwrap_or((bytes, &[]));
            fill(&mut self.start, &mut self.start_length, payload);
            self.rest -= payload.len();
            bytes = behind;
            if self.rest == 0 {
                self.head_length = 0;
                complete(self.frame());
            }
        }
    }

    fn frame(&self) -> Frame {
        let [_, _, _, kind, flags, a, b, c, d] = self.head;
        let [e, f, g, h, i, j, k, l] = self.start;
        // The highest bit of a stream's number is reserved (section 4.1).
        let number = |bytes| u32::from_be_bytes(bytes) & (u32::MAX >> 1);
        Frame {
            kind,
            flags,
            stream: number([a, b, c, d]),
            start: [number([e, f, g, h]), number([i, j, k, l])],
        }
    }
}

/// Copies what there is room for and returns the rest.
fn fill<'a>(buffer: &mut [u8], length: &mut usize, bytes: &'a [u8]) -> &'a [u8] {
    let room = buffer.get_mut(*length..).unwrap_or_default();
    let taken = room.len().min(bytes.len());
    for (place, byte) in room.iter_mut().zip(bytes) {
        *place = *byte;
    }
    *length += taken;
    bytes.get(taken..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn request(stream: u32) -> Vec<u8> {
        frame(HEADERS, END_HEADERS, stream, b"head")
    }

    fn watch(frames: &[Vec<u8>], piece: usize) -> FrameWatch {
        let mut watch = FrameWatch::new();
        let bytes = [PREFACE, &frames.concat()].concat();
        for piece in bytes.chunks(piece) {
            watch.received(piece);
        }
        watch
    }

    #[test]
    fn what_does_not_reach_the_service_was_refused_as_the_frames_say() {
        for piece in [1, 7, 4096] {
            let mut watch = watch(
                &[
                    frame(4, 0, 0, &[]),
                    request(1),
                    frame(0, 0, 1, &[0; 100]),
                    frame(HEADERS, 0, 3, &[0; 30]),
                    frame(CONTINUATION, END_HEADERS, 3, &[0; 3]),
                    request(5),
                    frame(HEADERS, END_HEADERS | 1, 1, b"trailers"),
                ],
                piece,
            );
            assert!(watch.is_begun());
            let sent = [frame(RST_STREAM, 0, 3, &[0, 0, 0, 1]), frame(HEADERS, 5, 5, b"431")].concat();
            sent.chunks(piece).for_each(|piece| watch.sent(piece));
            assert_eq!(watch.refused(1), [Refused::Reset(1), Refused::Answered], "in pieces of {piece}");
            assert_eq!(watch.refused(1), []);
        }
    }

    #[test]
    fn responses_and_resets_of_requests_that_were_delivered_are_no_refusals() {
        let mut watch = watch(&[request(1), request(3)], 4096);
        assert_eq!(watch.refused(2), []);
        watch.sent(&[frame(HEADERS, 4, 1, b"200"), frame(RST_STREAM, 0, 3, &[0, 0, 0, 2])].concat());
        assert_eq!(watch.refused(2), []);
        watch.received(&request(5));
        watch.sent(&frame(RST_STREAM, 0, 5, &[0, 0, 0, 7]));
        assert_eq!(watch.refused(2), [Refused::Reset(REFUSED_STREAM)]);
    }

    #[test]
    fn a_refused_request_that_the_client_takes_back_is_told_and_leaves_nothing_behind() {
        let taken_back = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        let mut watch = watch(&[request(1), taken_back(1), request(3), request(5), taken_back(5)], 4096);
        watch.sent(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 7]));
        // The last one was delivered before it was taken back.
        assert_eq!(watch.refused(1), [Refused::Reset(REFUSED_STREAM), Refused::TakenBack]);
        assert!(watch.waiting.is_empty());
        watch.received(&request(7));
        watch.sent(&frame(HEADERS, 4, 7, b"200"));
        assert_eq!(watch.refused(2), []);
    }

    #[test]
    fn a_client_that_speaks_something_else_has_not_begun() {
        let mut watch = FrameWatch::new();
        watch.received(b"PRI * HTTP/1.1\r\nhost: a.example\r\n\r\n and more than a preface");
        assert!(!watch.is_begun());
    }

    #[test]
    fn what_comes_after_goaway_is_passed_over() {
        let mut watch = watch(&[request(1), request(3)], 4096);
        watch.sent(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]));
        assert_eq!(watch.error(), 11);
        assert_eq!(watch.refused(1), []);
        assert_eq!(watch.refused(1), []);
    }

    #[test]
    fn a_flood_of_streams_costs_no_memory() {
        let mut watch = watch(&[], 4096);
        (0..=WAITING as u32).for_each(|number| watch.received(&request(2 * number + 1)));
        assert!(watch.off && watch.waiting.capacity() == 0);
        assert_eq!(watch.refused(0), []);
    }
}
