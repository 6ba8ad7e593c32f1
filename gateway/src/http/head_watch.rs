//! Follows the raw bytes of an HTTP/1.1 connection just closely enough to know three things that hyper hides: whether a
//! request head has begun, whether a head had both Content-Length and Transfer-Encoding, and what a head that hyper
//! refused was for.
//!
//! # Memo: why
//! hyper drops the Content-Length of such a request before anyone can see it, obeys the Transfer-Encoding and closes
//! afterwards. RFC 9112 section 6.3 allows that, and since framing is rebuilt it can not be smuggled through; but it is
//! an attack or a bug, so it is refused. Nothing but that refusal rests on this watch: should it ever lose its place, hyper's
//! rules still hold. It looks at line ends in heads only; bodies are skipped by length. The request line and Host of the
//! newest head are kept for the log line of one that hyper refuses: it shows nobody what it could not parse.

/// How much of a line is kept. The fields of interest are shorter, and of a request line the log shows no more.
const KEPT: usize = 320;

/// Where in the stream of requests the bytes are.
#[derive(Debug)]
pub struct HeadWatch {
    place: Place,
    line: Vec<u8>,
    /// The request line has been seen.
    begun: bool,
    length: Option<u64>,
    chunked: bool,
    heads: u64,
    conflict: Option<u64>,
    request_line: Vec<u8>,
    host: Vec<u8>,
}

/// What is known of a request head, however little of it makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// Counted from 1.
    pub number: u64,
    /// Without its end, and perhaps cut.
    pub request_line: &'a [u8],
    /// Empty if there was none.
    pub host: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    /// `chunk`: of a chunk, whose size line comes next, else of the whole body.
    Body {
        rest: u64,
        chunk: bool,
    },
    /// In the line that gives a chunk's size; `extension` once something other than a digit came.
    ChunkSize {
        size: u64,
        extension: bool,
    },
    /// `carriage`: the byte before was a carriage return. As hyper has it, no line of a trailer ends without one.
    Trailers {
        empty_line: bool,
        carriage: bool,
    },
    /// Not HTTP any more, or lost.
    Off,
}

impl HeadWatch {
    pub fn new() -> Self {
        Self {
            place: Place::Head,
            line: Vec::new(),
            begun: false,
            length: None,
            chunked: false,
            heads: 0,
            conflict: None,
            request_line: Vec::new(),
            host: Vec::new(),
        }
    }

    /// For connections that are not HTTP/1.1.
    pub fn off() -> Self {
        Self { place: Place::Off, ..Self::new() }
    }

    /// Whether a head has begun that is not complete.
    pub fn is_within_head(&self) -> bool {
        self.place == Place::Head && (self.begun || !self.line.is_empty())
    }

    /// Whether a body is under way.
    pub fn is_within_body(&self) -> bool {
        !matches!(self.place, Place::Head | Place::Off)
    }

    /// Which head, counted from 1, had both fields; the first one if several.
    pub fn conflict(&self) -> Option<u64> {
        self.conflict
    }

    /// The head that was begun last.
    pub fn newest(&self) -> Head<'_> {
        let number = self.heads + u64::from(self.is_within_head());
        if self.is_within_head() && !self.begun {
            return Head { number, request_line: &self.line, host: &[] };
        }
        Head { number, request_line: &self.request_line, host: &self.host }
    }

    /// Lets go of what is kept of a head that is complete.
    pub fn forget(&mut self) {
        if !self.is_within_head() {
            (self.line, self.request_line, self.host) = Default::default();
        }
    }

    pub fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Head => self.read_head(bytes),
                Place::Body { rest, chunk } => self.skip(rest, chunk, bytes),
                Place::ChunkSize { size, extension } => self.read_chunk_size(size, extension, bytes),
                Place::Trailers { empty_line, carriage } => self.read_trailers(empty_line, carriage, bytes),
                Place::Off => return,
            };
        }
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some((line, rest)) = split_line(bytes) else {
            let room = KEPT.saturating_sub(self.line.len());
            self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            return &[];
        };
        if self.line.is_empty() {
            self.end_line(line);
        } else {
            let room = KEPT.saturating_sub(self.line.len());
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(line.get(..room).unwrap_or(line));
            self.end_line(&whole);
        }
        rest
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match line.first() {
            // Empty lines before a request line are no part of it (RFC 9112 section 2.2).
            None if !self.begun => {}
            None => self.end_head(),
            Some(_) if !self.begun => {
                self.begun = true;
                self.host.clear();
                self.request_line.clear();
                self.request_line.extend_from_slice(line.get(..KEPT).unwrap_or(line));
            }
            Some(b'h' | b'H') => {
                if let Some(value) = value(line, b"host") {
                    let value = value.trim_ascii();
                    self.host.clear();
                    self.host.extend_from_slice(value.get(..KEPT).unwrap_or(value));
                }
            }
            Some(b'c' | b'C') => {
                if let Some(value) = value(line, b"content-length") {
                    self.length = Some(digits(value).unwrap_or(0));
                }
            }
            Some(b't' | b'T') => self.chunked |= value(line, b"transfer-encoding").is_some(),
            Some(_) => {}
        }
    }

    fn end_head(&mut self) {
        self.heads += 1;
        self.begun = false;
        let length = self.length.take();
        let chunked = std::mem::take(&mut self.chunked);
        if chunked && length.is_some() {
            self.conflict.get_or_insert(self.heads);
        }
        self.place = match length {
            _ if chunked => Place::ChunkSize { size: 0, extension: false },
            Some(rest) if rest > 0 => Place::Body { rest, chunk: false },
            _ => Place::Head,
        };
    }

    fn skip<'a>(&mut self, rest: u64, chunk: bool, bytes: &'a [u8]) -> &'a [u8] {
        let here = usize::try_from(rest).unwrap_or(usize::MAX).min(bytes.len());
        let rest = rest - here as u64;
        self.place = match rest {
            0 if chunk => Place::ChunkSize { size: 0, extension: false },
            0 => Place::Head,
            rest => Place::Body { rest, chunk },
        };
        bytes.get(here..).unwrap_or_default()
    }

    fn read_chunk_size<'a>(&mut self, mut size: u64, mut extension: bool, bytes: &'a [u8]) -> &'a [u8] {
        let mut bytes = bytes;
        while let [byte, rest @ ..] = bytes {
            bytes = rest;
            match char::from(*byte).to_digit(16) {
                _ if *byte == b'\n' => {
                    self.place = match size {
                        0 => Place::Trailers { empty_line: true, carriage: false },
                        // The line end after the data counts with it.
                        size => Place::Body { rest: size.saturating_add(2), chunk: true },
                    };
                    return bytes;
                }
                Some(digit) if !extension => {
                    if size > u64::MAX >> 4 {
                        self.place = Place::Off;
                        return &[];
                    }
                    size = size << 4 | u64::from(digit);
                }
                _ => extension = true,
            }
        }
        self.place = Place::ChunkSize { size, extension };
        bytes
    }

    fn read_trailers<'a>(&mut self, mut empty_line: bool, mut carriage: bool, bytes: &'a [u8]) -> &'a [u8] {
        let mut bytes = bytes;
        while let [byte, rest @ ..] = bytes {
            bytes = rest;
            match byte {
                b'\n' if carriage && empty_line => {
                    self.place = Place::Head;
                    return bytes;
                }
                b'\n' => empty_line = carriage,
                b'\r' => {}
                _ => empty_line = false,
            }
            carriage = *byte == b'\r';
        }
        self.place = Place::Trailers { empty_line, carriage };
        bytes
    }
}

impl Default for HeadWatch {
    fn default() -> Self {
        Self::new()
    }
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// What follows the colon, if the line is this field.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (field, rest) = line.split_at_checked(name.len())?;
    if field.eq_ignore_ascii_case(name) { rest.strip_prefix(b":") } else { None }
}

/// `None` for anything that hyper refuses anyway.
fn digits(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const SIZED: &str = "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nab\ncd";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\na\nb\r\n10\r\n0123456789abcdef\r\n0\r\nt: 1\r\n\r\n";
    const BOTH: &str =
        "POST / HTTP/1.1\r\ncontent-Length: 5\r\nHost: a\r\nTransfer-encoding: chunked\r\n\r\n";

    fn watch(text: &str, piece: usize) -> HeadWatch {
        let mut watch = HeadWatch::new();
        for piece in text.as_bytes().chunks(piece) {
            watch.read(piece);
        }
        watch
    }

    #[test]
    fn a_head_with_both_fields_is_found_wherever_it_is_and_however_it_comes() {
        let text = [PLAIN, SIZED, CHUNKED, "\r\n", PLAIN, CHUNKED, SIZED, BOTH].concat();
        for piece in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(watch(&text, piece).conflict(), Some(7), "in pieces of {piece}");
        }
        let reversed = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(watch(reversed, 4096).conflict(), Some(1));
    }

    /// They were taken for ends of lines, so that the watch counted a head more than hyper did.
    #[test]
    fn bare_line_feeds_in_a_trailer_end_nothing() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        for trailers in ["t: 1\n\nx: y\r\n\r\n", "t: 1\r\n\nx\r\n\r\n", "t\n\r\n\r\n"] {
            let text = [head, trailers, BOTH].concat();
            for piece in [1, 3, 4096] {
                assert_eq!(watch(&text, piece).conflict(), Some(2), "{trailers:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn ordinary_requests_have_no_conflict_and_leave_the_watch_between_heads() {
        let text = [SIZED, CHUNKED, PLAIN, CHUNKED, CHUNKED, SIZED].concat();
        for piece in [1, 5, 4096] {
            let watch = watch(&text, piece);
            assert_eq!((watch.conflict(), watch.heads), (None, 6), "in pieces of {piece}");
            assert!(!watch.is_within_head());
        }
    }

    #[test]
    fn a_head_that_has_begun_is_noticed_from_its_first_byte() {
        assert!(watch("G", 1).is_within_head());
        assert!(watch("GET / HTTP/1.1\r\n", 4096).is_within_head());
        assert!(!watch("", 1).is_within_head());
        assert!(!watch(PLAIN, 4096).is_within_head());
    }

    #[test]
    fn what_a_head_was_for_is_known_however_far_it_came() {
        for piece in [1, 4096] {
            let newest = watch(&[SIZED, PLAIN].concat(), piece);
            let whole = Head { number: 2, request_line: b"GET / HTTP/1.1", host: b"a" };
            assert_eq!(newest.newest(), whole, "in pieces of {piece}");
            let begun = watch(&[PLAIN, "GET /x HTTP/1.0\r\nX: "].concat(), piece);
            let half = Head { number: 2, request_line: b"GET /x HTTP/1.0", host: b"" };
            assert_eq!(begun.newest(), half, "in pieces of {piece}");
            let endless = watch(&[PLAIN, "GET /", &"x".repeat(9_000)].concat(), piece);
            let Head { number, request_line, host } = endless.newest();
            assert!(number == 2 && request_line.starts_with(b"GET /xx") && host.is_empty());
            assert_eq!(request_line.len(), KEPT);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_survived_alike(
            text in "(POST|c|t|C|content-length: |transfer-encoding: x|:|\r\n|\n|[0-9a-f;]| ){0,40}", piece in 1usize..9,
        ) {
            prop_assert_eq!(watch(&text, piece).conflict(), watch(&text, 4096).conflict());
        }
    }
}
