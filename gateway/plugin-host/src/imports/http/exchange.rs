//! One request of a guest: what it is made of, its body, and the wait for what comes of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::fields::Fields;
use super::values::{ErrorCode, Method, Scheme};
use super::{PATH_BYTES, Weight};
use crate::error::Stop;
use crate::http::{HttpClient, HttpError, HttpExchange, HttpRequest, HttpResponse};

/// Fields of a request, and bytes of all of them.
const FIELDS: usize = 64;
const FIELD_BYTES: usize = 16 << 10;

/// A request that is being made.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) path: Option<String>,
    pub(super) fields: Fields,
    pub(super) body: Option<Shared>,
}

impl Request {
    pub(super) fn new(fields: Fields) -> Self {
        Self { method: Method::Get, scheme: None, authority: None, path: None, fields, body: None }
    }
}

/// Its body: in the hands of the guest, and of the request or what came of it.
pub(super) type Shared = Arc<Mutex<Body>>;

pub(in crate::imports) struct Body {
    bytes: Vec<u8>,
    most: usize,
    weight: Weight,
    state: BodyState,
    streamed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    Open,
    Finished,
    /// Dropped before its end, or too large.
    Failed,
}

impl Body {
    pub(super) fn shared(weight: Weight, client: Option<&dyn HttpClient>) -> Shared {
        let most = client.map_or(0, HttpClient::max_request_bytes);
        let body = Self { bytes: Vec::new(), most, weight, state: BodyState::Open, streamed: false };
        Arc::new(Mutex::new(body))
    }

    /// Whether this is the first to ask for its stream.
    pub(super) fn open_stream(&mut self) -> bool {
        !std::mem::replace(&mut self.streamed, true)
    }

    /// How much more it may have.
    pub(in crate::imports) fn room(&self) -> usize {
        if self.state == BodyState::Open { self.most.saturating_sub(self.bytes.len()) } else { 0 }
    }

    /// False if there is no room for it, or if it has ended: then it is no body any more.
    pub(in crate::imports) fn write(&mut self, bytes: &[u8]) -> Result<bool, Stop> {
        if bytes.len() > self.room() {
            self.abandon();
            return Ok(false);
        }
        self.weight.add(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(true)
    }

    /// Whether it is whole.
    pub(super) fn finish(&mut self) -> bool {
        if self.state == BodyState::Open {
            self.state = BodyState::Finished;
        }
        self.state == BodyState::Finished
    }

    pub(super) fn abandon(&mut self) {
        if self.state == BodyState::Open {
            self.state = BodyState::Failed;
        }
    }
}

pub(in crate::imports) fn lock(body: &Shared) -> MutexGuard<'_, Body> {
    body.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call, from `handle` to what the guest is given.
pub(in crate::imports) struct Exchange(Stage);

enum Stage {
    /// The guest has not finished the body yet.
    Writing {
        request: HttpRequest,
        body: Shared,
        client: Arc<dyn HttpClient>,
    },
    Sent(HttpExchange),
    Done(Result<Arc<HttpResponse>, HttpError>),
    Taken,
}

impl Exchange {
    pub(super) fn begin(
        request: Request,
        patience: Option<u64>,
        client: Arc<dyn HttpClient>,
    ) -> Result<Self, ErrorCode> {
        let Request { method, scheme, authority, path, fields, body } = request;
        if method.is_tunnel() {
            return Err(ErrorCode::HttpRequestMethodInvalid);
        }
        let path = path.filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
        if path.len() > PATH_BYTES {
            return Err(ErrorCode::HttpRequestUriTooLong);
        }
        let fields = fields.into_entries();
        let size = fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        if fields.len() > FIELDS || size > FIELD_BYTES {
            return Err(ErrorCode::HttpRequestHeaderSectionSize(u32::try_from(size).ok()));
        }
        let request = HttpRequest {
            method: method.as_str().to_owned(),
            secure: !matches!(scheme, Some(Scheme::Http)),
            authority: authority.ok_or(ErrorCode::HttpRequestUriInvalid)?,
            path,
            fields,
            body: Vec::new(),
            patience: patience.map(Duration::from_nanos),
        };
        let mut exchange = Self(match body {
            Some(body) => Stage::Writing { request, body, client },
            None => Stage::Sent(client.send(request)),
        });
        exchange.dispatch();
        Ok(exchange)
    }

    /// Whether there is something to take.
    pub(in crate::imports) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.dispatch();
        match &mut self.0 {
            Stage::Writing { .. } => false,
            Stage::Sent(exchange) => match Pin::as_mut(exchange).poll(context) {
                Poll::Pending => false,
                Poll::Ready(result) => {
                    self.0 = Stage::Done(result);
                    true
                }
            },
            Stage::Done(_) | Stage::Taken => true,
        }
    }

    /// What came of the call; `Err` for who asks a second time, `None` as long as nothing did.
    pub(super) fn take(&mut self) -> Option<Result<Result<Arc<HttpResponse>, HttpError>, ()>> {
        // Whoever waits polls again, with a waker of its own.
        if !self.poll(&mut Context::from_waker(Waker::noop())) {
            return None;
        }
        match std::mem::replace(&mut self.0, Stage::Taken) {
            Stage::Done(result) => Some(Ok(result)),
            _ => Some(Err(())),
        }
    }

    /// Sends a request whose body has come to its end.
    fn dispatch(&mut self) {
        let Stage::Writing { body, .. } = &self.0 else { return };
        let state = lock(body).state;
        if state == BodyState::Open {
            return;
        }
        let Stage::Writing { mut request, body, client } = std::mem::replace(&mut self.0, Stage::Taken)
        else {
            return;
        };
        if state == BodyState::Failed {
            self.0 = Stage::Done(Err(HttpError::RequestTooLarge));
            return;
        }
        request.body = std::mem::take(&mut lock(&body).bytes);
        self.0 = Stage::Sent(client.send(request));
    }
}

/// What a response takes of a guest's budget.
pub(super) fn size(response: &HttpResponse) -> usize {
    let fields = response.fields.iter().map(|(name, value)| name.len() + value.len());
    fields.sum::<usize>() + response.body.len()
}
