//! Requests that hyper refuses before anyone here hears of them: each leaves a line and a count all the same.
//!
//! # Memo: where they come from
//! * HTTP/1.1: what hyper can not parse, or what is larger than `max-header-bytes`, it answers by itself (400, 414, 431)
//!   and ends the connection with a parse error. The status is read from what it wrote, what the request was for from
//!   [`HeadWatch`](super::head_watch::HeadWatch). The answer has no `x-request-id`: hyper has no place for one, and to
//!   slip it into bytes on their way out would mean to know for certain which bytes those are.
//! * HTTP/2, one stream: see [`FrameWatch`](super::frame_watch::FrameWatch).
//! * HTTP/2, the connection: ended with GOAWAY for an error of the client's. One line; the requests that were under way
//!   have their own. Nothing but HTTP/2 after it was agreed on, the preface missing, counts here too.
//! * A head that does not end: answered here, with 408 and an id.

use http::{HeaderValue, Method, StatusCode, Uri, Version};

use super::End;
use super::client_io::Parted;
use super::frame_watch::{REFUSED_STREAM, Refused, error_name};
use super::head_watch::HeadWatch;
use super::outcome::{ErrorKind, Refusal};
use super::session::{Ended, Session};
use crate::config::Protocol;
use crate::telemetry::error_chain;

/// hyper ended a connection with an error: tells of the request that it refused, if it did.
pub(super) fn of_connection<I>(session: &Session, ended: &Ended, parted: &Parted<I>) {
    let Some(error) = &ended.error else { return };
    let detail = Some(error_chain(error));
    match session.protocol() {
        Protocol::Http1 if error.is_parse() => {
            let too_large = error.is_parse_too_large();
            let kind = if too_large { ErrorKind::HeadTooLarge } else { ErrorKind::BadRequest };
            let status = answered(&parted.tail);
            Refusal { status, detail, ..known(session, &parted.heads, kind) }.report(session);
        }
        Protocol::Http2 if ended.end == End::ProtocolError => {
            let (code, begun) = {
                let frames = session.frames();
                (frames.error(), frames.is_begun())
            };
            // Without either, it was the client that ended the connection with an error.
            if code != 0 || !begun {
                Refusal { detail, ..unknown(Version::HTTP_2, ErrorKind::ProtocolError) }.report(session);
            }
        }
        _ => {}
    }
}

/// h2 refused a request and went on.
pub(super) fn of_stream(session: &Session, refused: Refused) {
    let refusal = match refused {
        Refused::Answered => Refusal {
            status: Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            ..unknown(Version::HTTP_2, ErrorKind::HeadTooLarge)
        },
        Refused::Reset(code) => {
            let kind = if code == REFUSED_STREAM { ErrorKind::Limit } else { ErrorKind::ProtocolError };
            let detail = Some(format!("the stream was reset with {}", error_name(code)));
            Refusal { detail, ..unknown(Version::HTTP_2, kind) }
        }
        Refused::TakenBack => unknown(Version::HTTP_2, ErrorKind::ClientGone),
    };
    refusal.report(session);
}

/// A head did not end within `header_timeout`. `answered`: the client was sent a 408 with this id.
pub(super) fn of_unfinished_head(
    session: &Session,
    heads: &HeadWatch,
    request_id: HeaderValue,
    answered: bool,
) {
    let status = answered.then_some(StatusCode::REQUEST_TIMEOUT);
    let request_id = answered.then_some(request_id);
    Refusal { status, request_id, ..known(session, heads, ErrorKind::ClientTimeout) }.report(session);
}

fn unknown(version: Version, error: ErrorKind) -> Refusal {
    Refusal {
        version,
        method: None,
        uri: None,
        authority: None,
        request_id: None,
        status: None,
        error,
        detail: None,
    }
}

/// With what can be read of the head after all the requests that were begun.
fn known(session: &Session, heads: &HeadWatch, error: ErrorKind) -> Refusal {
    let mut refusal = unknown(Version::HTTP_11, error);
    let head = heads.newest();
    // Of heads that were sent ahead only the last is known.
    if head.number != session.requests() + 1 {
        return refusal;
    }
    let mut words = head.request_line.splitn(3, |byte| *byte == b' ');
    let (method, target) = (words.next(), words.next());
    refusal.uri = target.and_then(|word| Uri::try_from(word).ok());
    // Without a target behind it, it may be half a word.
    refusal.method = method.filter(|_| target.is_some()).and_then(|word| Method::from_bytes(word).ok());
    if words.next() == Some(b"HTTP/1.0") {
        refusal.version = Version::HTTP_10;
    }
    if !head.host.is_empty() {
        refusal.authority = HeaderValue::from_bytes(head.host).ok();
    }
    refusal
}

/// The status of hyper's own answer: the last head that was written, if there was time for one.
fn answered(tail: &[u8]) -> Option<StatusCode> {
    const VERSION: &[u8] = b"HTTP/1.";
    let start = tail.windows(VERSION.len()).rposition(|window| window == VERSION)?;
    let status = tail.get(start + VERSION.len()..)?.split(|byte| *byte == b' ').nth(1)?;
    StatusCode::from_bytes(status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_last_head() {
        assert_eq!(answered(b"ok\r\nHTTP/1.1 431 Too Large\r\n\r\n"), StatusCode::from_u16(431).ok());
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.0 400 Bad\r\n"), Some(StatusCode::BAD_REQUEST));
        for none in [&b""[..], b"the end of a body", b"HTTP/1.1", b"HTTP/1.1 4"] {
            assert_eq!(answered(none), None);
        }
    }
}
