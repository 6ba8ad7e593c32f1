//! One request through the gateway: judged, routed, sent on, answered.
//!
//! hyper calls [`respond`] for each request of a connection. It never fails: whatever goes wrong before the response's
//! head becomes an answer, and what goes wrong afterwards is an error of its body, which cuts the response off.

use std::convert::Infallible;
use std::sync::Arc;

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::Answer;
use super::body::Body;
use super::header::{self, Found, ResponseError};
use super::outcome::{ErrorKind, Record};
use super::request::{self, Authority};
use super::session::Session;
use super::tunnel::Tunnel;
use super::{Routing, request_id};
use crate::config;
use crate::upstream::{Reply, RequestBody, SendError};

/// A request that may go to an upstream.
struct Admitted {
    authority: Authority,
    found: Found,
    upstream: Arc<config::Upstream>,
    /// The path without dot segments, if it had any.
    resolved: Option<String>,
}

pub(super) async fn respond(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (mut head, incoming) = request.into_parts();
    let mut record = Record::new(&session, &head, request_id::generate());
    let http1 = head.version != Version::HTTP_2;
    let routing = (session.context.routing)();
    let admitted = match judge(&session, &routing, &head, &mut record) {
        Ok(admitted) => admitted,
        Err(answer) => return Ok(answer.into_response(record, &head.method, http1)),
    };
    let method = head.method.clone();
    let patience = admitted.upstream.response_timeout;
    // HTTP/2 upstreams carry all requests over a few connections; there is nothing to count.
    let permit = match admitted.upstream.protocol {
        config::Protocol::Http1 => match session.upstream_connection(patience).await {
            Some(permit) => Some(permit),
            None => return Ok(OVER_LIMIT.into_response(record, &method, http1)),
        },
        config::Protocol::Http2 => None,
    };
    let upgrade = if admitted.found.websocket { head.extensions.remove::<OnUpgrade>() } else { None };
    let body = RequestBody::new(incoming);
    record.request_body = body.progress();
    record.outcome.upstream = Some(admitted.upstream.clone());
    let pool = session.context.pools.pool(&admitted.upstream);
    let request = match outgoing(&session, head, admitted, &record, body) {
        Ok(request) => request,
        Err(answer) => return Ok(answer.into_response(record, &method, http1)),
    };
    let reply = pool.send(request, routing.http.body_timeout).await;
    Ok(match reply {
        Ok(Reply::Response { mut response, endpoint }) => {
            record.outcome.endpoint = Some(endpoint.name().clone());
            let close = session.closes_after_response();
            let status = response.status();
            match header::to_client(status, response.headers_mut(), record.request_id().clone(), close) {
                Ok(()) => {
                    if !http1 {
                        header::detach(response.headers_mut());
                    }
                    deliver(response, permit, record)
                }
                Err(error) => broken(&error, record, &method, http1),
            }
        }
        Ok(Reply::Switched { response, socket, endpoint }) => {
            record.outcome.endpoint = Some(endpoint.name().clone());
            let (mut head, ()) = response.into_parts();
            let switched = header::to_client_switching(&mut head.headers, record.request_id().clone());
            match (upgrade, switched) {
                (Some(client), Ok(())) => {
                    record.outcome.status = Some(StatusCode::SWITCHING_PROTOCOLS);
                    session.put_tunnel(Tunnel::new(client, socket, permit, record));
                    let mut response = Response::new(Body::none());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    *response.headers_mut() = head.headers;
                    response
                }
                _ => broken(&ResponseError::Switch, record, &method, http1),
            }
        }
        Err(error) => failed(&error, record, &method, http1),
    })
}

/// Everything that can be said about a request before an upstream is asked.
fn judge(
    session: &Session,
    routing: &Routing,
    head: &Parts,
    record: &mut Record,
) -> Result<Admitted, Answer> {
    request::framing(head, session.framing_conflicts())?;
    if head.method == Method::CONNECT {
        // Its target has a form of its own, which `authority` would complain about.
        request::method(head)?;
    }
    let authority = request::authority(head)?;
    record.set_authority(&authority.value);
    let found = header::inspect(head)?;
    if !request::is_served(&session.client, authority.host()) {
        let text = "this connection was not opened for that host";
        return Err(Answer::error(StatusCode::MISDIRECTED_REQUEST, ErrorKind::Misdirected, text));
    }
    request::method(head)?;
    let path = request::path(head)?;
    let route = routing.routes.find(authority.host(), &path);
    let route = route.ok_or(Answer::error(StatusCode::NOT_FOUND, ErrorKind::NoRoute, "no route"))?;
    let resolved = match path {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(path) => Some(path),
    };
    Ok(Admitted { authority, found, upstream: route.upstream.clone(), resolved })
}

/// The request as the upstream gets it.
fn outgoing(
    session: &Session,
    mut head: Parts,
    admitted: Admitted,
    record: &Record,
    body: RequestBody,
) -> Result<Request<RequestBody>, Answer> {
    let Admitted { authority, found, upstream, resolved } = admitted;
    let uri = target(std::mem::take(&mut head.uri), &authority, resolved, upstream.protocol)?;
    let id = record.request_id().clone();
    header::to_upstream(&mut head, found, &authority, id, &body, upstream.protocol, session);
    if upstream.protocol == config::Protocol::Http2 {
        header::detach(&mut head.headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers;
    *request.version_mut() = match upstream.protocol {
        config::Protocol::Http1 => Version::HTTP_11,
        config::Protocol::Http2 => Version::HTTP_2,
    };
    Ok(request)
}

/// Origin-form for HTTP/1.1, all parts for HTTP/2.
fn target(
    uri: Uri,
    authority: &Authority,
    resolved: Option<String>,
    protocol: config::Protocol,
) -> Result<Uri, Answer> {
    const INVALID: Answer = Answer::bad_request("an invalid request target");
    if protocol == config::Protocol::Http1 && resolved.is_none() && uri.scheme().is_none() {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    if let Some(mut path) = resolved {
        if let Some(query) = parts.path_and_query.as_ref().and_then(PathAndQuery::query) {
            path.push('?');
            path.push_str(query);
        }
        parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| INVALID)?);
    }
    match protocol {
        config::Protocol::Http1 => {
            parts.scheme = None;
            parts.authority = None;
        }
        config::Protocol::Http2 => {
            parts.scheme = Some(Scheme::HTTP);
            if parts.authority.is_none() {
                parts.authority = Some(authority.value.as_bytes().try_into().map_err(|_| INVALID)?);
            }
        }
    }
    Uri::from_parts(parts).map_err(|_| INVALID)
}

fn deliver(
    response: Response<crate::upstream::ResponseBody>,
    permit: Option<OwnedSemaphorePermit>,
    mut record: Box<Record>,
) -> Response<Body> {
    let (head, body) = response.into_parts();
    record.outcome.status = Some(head.status);
    // Version, extensions and reason phrase are the upstream connection's own affair.
    let mut response = Response::new(Body::upstream(body, permit, record));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

const OVER_LIMIT: Answer = Answer::error(
    StatusCode::SERVICE_UNAVAILABLE,
    ErrorKind::Limit,
    "too many requests at once on this connection",
);

fn broken(error: &ResponseError, mut record: Box<Record>, method: &Method, http1: bool) -> Response<Body> {
    record.failed_with(ErrorKind::UpstreamBroken, error);
    BROKEN.into_response(record, method, http1)
}

const BROKEN: Answer =
    Answer::error(StatusCode::BAD_GATEWAY, ErrorKind::UpstreamBroken, "the upstream's response is invalid");

fn failed(error: &SendError, mut record: Box<Record>, method: &Method, http1: bool) -> Response<Body> {
    let answer = match error {
        SendError::NoEndpoint | SendError::Resolve { .. } => {
            Answer::error(StatusCode::BAD_GATEWAY, ErrorKind::NoEndpoint, "the upstream can not be reached")
        }
        SendError::Connect { .. } | SendError::Handshake { .. } => Answer::error(
            StatusCode::BAD_GATEWAY,
            ErrorKind::ConnectFailed,
            "the upstream can not be reached",
        ),
        SendError::ConnectTimeout { .. } => Answer::error(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::ConnectTimeout,
            "the upstream can not be reached",
        ),
        SendError::Broken { .. } => BROKEN,
        SendError::Closed { .. } => Answer::error(
            StatusCode::BAD_GATEWAY,
            ErrorKind::UpstreamBroken,
            "the upstream closed the connection before its response",
        ),
        SendError::ResponseTimeout { .. } | SendError::RequestTimeout { .. } => Answer::error(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::ResponseTimeout,
            "the upstream did not answer in time",
        ),
        SendError::ClientTimeout { .. } => Answer {
            close: true,
            ..Answer::error(
                StatusCode::REQUEST_TIMEOUT,
                ErrorKind::ClientTimeout,
                "the request did not arrive in time",
            )
        },
        SendError::ClientBody => Answer {
            close: true,
            ..Answer::error(StatusCode::BAD_REQUEST, ErrorKind::ClientGone, "the request's body broke off")
        },
    };
    record.failed_with(answer.error.unwrap_or(ErrorKind::UpstreamBroken), error);
    if let SendError::Resolve { endpoint, .. }
    | SendError::Connect { endpoint, .. }
    | SendError::Handshake { endpoint, .. }
    | SendError::ConnectTimeout { endpoint, .. }
    | SendError::Broken { endpoint, .. }
    | SendError::Closed { endpoint }
    | SendError::ResponseTimeout { endpoint, .. }
    | SendError::RequestTimeout { endpoint, .. } = error
    {
        record.outcome.endpoint = Some(endpoint.clone());
    }
    answer.into_response(record, method, http1)
}
