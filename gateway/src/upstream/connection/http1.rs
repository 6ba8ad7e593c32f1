//! An HTTP/1.1 connection to an endpoint.
//!
//! # Memo: who drives it
//! hyper splits a client connection into a handle and a future that does the work, which one usually spawns. Here the
//! task that waits for the response polls both: no task switch per request, the upstream is read exactly as fast as the
//! client, and dropping the response closes the connection, which is all HTTP/1.1 knows as a cancel. The cost: while a
//! client does not take its response, the rest of its request is not sent on either.
//!
//! A resting connection is polled by nobody. [`take`] polls it once before use, which finds the end or the stray bytes
//! that the reactor has seen by then; what slips through is the retry's business (see the parent).

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::alarm::Alarm;
use super::super::endpoint::Lease;
use super::super::request_body::Progress;
use super::super::socket::Socket;
use super::super::{Reply, RequestBody, ResponseBody, SendError, lock};
use super::{BUFFER, MAX_HEAD, Timeouts};

/// A connection between two requests, or in the hands of one.
pub struct Http1 {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    rested_since: Instant,
    reused: bool,
    pub(crate) alarm: Alarm,
}

/// The half that does the work.
struct Driver {
    connection: Box<Connection<TokioIo<Socket>, RequestBody>>,
    /// Not to be polled again.
    done: bool,
}

/// A failed exchange, with the request if nothing of it was written.
pub(crate) struct Failure {
    pub error: SendError,
    pub unsent: Option<Box<Request<RequestBody>>>,
}

/// A socket that has left HTTP, and what was read beyond the 101.
pub struct Switched {
    pub socket: TcpStream,
    pub early: Bytes,
    /// Keeps the endpoint's count right while the tunnel is open.
    _lease: Lease,
}

/// A connection that rested and still seems fit.
pub(crate) fn take(lease: &Lease, idle_timeout: Duration) -> Option<Http1> {
    loop {
        let mut connection = lock(&lease.endpoint().resting).pop()?;
        if connection.is_usable(idle_timeout) {
            connection.reused = true;
            return Some(connection);
        }
    }
}

pub(crate) async fn open(lease: &Lease, connect_timeout: Duration) -> Result<Http1, SendError> {
    let socket = lease.endpoint().connect(connect_timeout).await?;
    let mut builder = Builder::new();
    builder.max_buf_size(BUFFER).max_header_size(MAX_HEAD);
    let failed = |source| SendError::Handshake { endpoint: lease.endpoint().name().clone(), source };
    let (sender, connection) = builder.handshake(TokioIo::new(Socket(socket))).await.map_err(failed)?;
    let driver = Driver { connection: Box::new(connection), done: false };
    Ok(Http1 { sender, driver, rested_since: Instant::now(), reused: false, alarm: Alarm::default() })
}

impl Http1 {
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Neither too old nor closed by the upstream. Wakes nobody: whoever uses the connection then polls it at once.
    pub(crate) fn is_usable(&mut self, idle_timeout: Duration) -> bool {
        self.rested_since.elapsed() < idle_timeout && self.is_fit()
    }

    fn is_fit(&mut self) -> bool {
        self.driver.poll(&mut Context::from_waker(Waker::noop())).is_pending() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the response.
    pub(in crate::upstream) async fn exchange(
        mut self,
        request: Request<RequestBody>,
        lease: Lease,
        max_idle: usize,
        timeouts: Timeouts,
    ) -> Result<Reply, Failure> {
        let progress = request.body().progress();
        let response = match self.response(request, &lease, progress.as_deref(), timeouts).await {
            Ok(response) => response,
            Err(failure) => return Err(failure),
        };
        let endpoint = lease.endpoint().clone();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let switched = self.driver.switch(lease).await;
            return match switched {
                Some(socket) => Ok(Reply::Switched { response: response.map(drop), socket, endpoint }),
                None => {
                    let error = SendError::Closed { endpoint: endpoint.name().clone() };
                    Err(Failure { error, unsent: None })
                }
            };
        }
        let (head, incoming) = response.into_parts();
        let mut body = ResponseBody::http1(incoming, self, lease, max_idle, timeouts.body, progress);
        // A response without a body is over now; nobody will poll it to find out.
        body.settle();
        Ok(Reply::Response { response: Response::from_parts(head, body), endpoint })
    }

    async fn response(
        &mut self,
        request: Request<RequestBody>,
        lease: &Lease,
        progress: Option<&Progress>,
        timeouts: Timeouts,
    ) -> Result<Response<Incoming>, Failure> {
        let started = Instant::now();
        // The request is queued by this call, not by the first poll.
        let mut answer = pin!(self.sender.try_send_request(request));
        let (driver, alarm) = (&mut self.driver, &mut self.alarm);
        let endpoint = || lease.endpoint().name().clone();
        poll_fn(|context| {
            let driven = driver.poll(context);
            // Only the driver completes it, so nobody need be woken: this would be the task that runs already.
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(answer.map_err(|mut error| {
                    let unsent = error.take_message().map(Box::new);
                    let source = error.into_error();
                    let error = match progress {
                        Some(progress) if progress.has_failed() => SendError::ClientBody,
                        _ => SendError::Broken { endpoint: endpoint(), source },
                    };
                    Failure { error, unsent }
                }));
            }
            if let Poll::Ready(result) = driven {
                let error = match result {
                    Err(source) => SendError::Broken { endpoint: endpoint(), source },
                    Ok(()) => SendError::Closed { endpoint: endpoint() },
                };
                return Poll::Ready(Err(Failure { error, unsent: None }));
            }
            let deadline = super::deadline(started, progress, timeouts);
            if alarm.poll(context, deadline).is_ready() {
                return Poll::Ready(Err(Failure {
                    error: super::overdue(endpoint(), progress, timeouts),
                    unsent: None,
                }));
            }
            Poll::Pending
        })
        .await
    }

    /// Moves bytes, both ways.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        // An error reaches whoever waits for the response or its body; here it would only be told twice.
        let _ = self.driver.poll(context);
    }

    /// Puts the connection back, if it is fit and there is room.
    pub(crate) fn rest(mut self, lease: &Lease, max_idle: usize) {
        if !self.driver.done && (self.sender.is_ready() || self.is_fit()) {
            self.rested_since = Instant::now();
            let mut resting = lock(&lease.endpoint().resting);
            if resting.len() < max_idle {
                resting.push(self);
            }
        }
    }
}

impl Driver {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        if self.done {
            return Poll::Pending;
        }
        let polled = self.connection.poll_without_shutdown(context);
        self.done = polled.is_ready();
        polled
    }

    /// The socket after a 101. `None` if the connection broke at that moment.
    async fn switch(mut self, lease: Lease) -> Option<Switched> {
        if !self.done {
            poll_fn(|context| self.poll(context)).await.ok()?;
        }
        let parts = self.connection.into_parts();
        Some(Switched { socket: parts.io.into_inner().0, early: parts.read_buf, _lease: lease })
    }
}

impl std::fmt::Debug for Http1 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Http1").field("reused", &self.reused).finish_non_exhaustive()
    }
}
