//! One connection to an endpoint: [`http1`] carries a request at a time, [`http2`] many.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SendError;
use super::request_body::Progress;

pub mod http1;
pub mod http2;

/// Bytes that a connection may hold in each direction. A client that reads slowly costs two of these (ours from the
/// upstream, ours to the client), and one chunk on its way: below 256 KiB in all.
pub(super) const BUFFER: usize = 64 << 10;
/// A response head; hyper answers a longer one with an error. The most that fits the buffer.
const MAX_HEAD: usize = BUFFER;

/// The bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// From the end of the request to the head of the response.
    pub response: Duration,
    /// The longest pause within a body, either way.
    pub body: Duration,
}

/// When the wait for a response is over: the client or the upstream stands still within the request, or the response
/// is due.
fn deadline(started: Instant, progress: Option<&Progress>, timeouts: Timeouts) -> Instant {
    match progress {
        None => started + timeouts.response,
        Some(progress) if progress.is_complete() => progress.moved_at() + timeouts.response,
        Some(progress) => progress.moved_at() + timeouts.body,
    }
}

/// Whose fault a passed deadline is.
fn overdue(endpoint: Arc<str>, progress: Option<&Progress>, timeouts: Timeouts) -> SendError {
    match progress {
        Some(progress) if !progress.is_complete() && progress.waits_for_client() => {
            SendError::ClientTimeout { timeout: timeouts.body }
        }
        Some(progress) if !progress.is_complete() => {
            SendError::RequestTimeout { endpoint, timeout: timeouts.body }
        }
        _ => SendError::ResponseTimeout { endpoint, timeout: timeouts.response },
    }
}
