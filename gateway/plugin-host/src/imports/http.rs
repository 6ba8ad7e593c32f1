//! `wasi:http` 0.2 for guests, as far as it goes out: `types` and `outgoing-handler`.
//!
//! Linked as the rest of WASI is (`wasi.rs`): under the name and version that the component imports, with the functions
//! that the component knows. What belongs to incoming requests can be imported and traps. The calls themselves are made by
//! the [`HttpClient`] of the policy; here are only the resources that stand between it and the guest.
//!
//! # Why not wasmtime-wasi-http
//!
//! It would bring wasmtime-wasi along, which was left out for its size (`wasi.rs`), and its own hyper client. It streams:
//! a body lives in channels whose bound is per message, a response has no bound at all, and its bodies want to be read on
//! the guest's thread, so none could be shared with another guest or kept. Here a request and a response are whole
//! values of bounded size, which is what a cache, a single flight and a bound on memory need, and what a policy that
//! wants a few hundred bytes in a few milliseconds needs too. What it costs: a guest sees no byte of a response before
//! the last one is there.
//!
//! # What a guest can hold
//!
//! Fields, bodies and responses are the gateway's memory, so an instance has [`Budget`] for all of them together, and
//! traps beyond it; handles are counted by wasmtime. One call of the guest makes at most [`CALLS`] requests. Time spent
//! waiting for a response counts against the policy's timeout (`limits`).

mod exchange;
mod fields;
mod values;

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource, ResourceType};

use self::exchange::{Body, Request, Shared};
pub(super) use self::exchange::{Exchange, lock};
use self::fields::{Fields, HeaderError};
use self::values::{ErrorCode, Method, Scheme};
use super::State;
use super::handles::Handles;
use super::wasi::streams::{self, InputStream, OutputStream};
use super::wasi::{Ready, stub};
use crate::error::Stop;
use crate::http::{HttpClient, HttpResponse};

/// Requests in one call of a guest.
const CALLS: u32 = 16;
/// Bytes of a request's path and query, and of its authority: no host's name is longer (RFC 1035 section 2.3.4).
const PATH_BYTES: usize = 4 << 10;
const AUTHORITY_BYTES: usize = 255 + ":65535".len();

const INTERFACES: [&str; 2] = ["wasi:http/types@0.2.", "wasi:http/outgoing-handler@0.2."];

/// Whether an import is one of these interfaces, which need the grant.
pub(crate) fn provides(import: &str) -> bool {
    INTERFACES.iter().any(|interface| import.starts_with(interface))
}

/// The state of these functions in one instance.
pub(crate) struct Http {
    client: Option<Arc<dyn HttpClient>>,
    budget: Budget,
    calls: u32,
    fields: Handles<Fields>,
    requests: Handles<Request>,
    options: Handles<Option<u64>>,
    bodies: Handles<Shared>,
    exchanges: Handles<Exchange>,
    responses: Handles<Incoming>,
    /// Where the reader of a response's body is.
    readers: Handles<(Incoming, usize)>,
}

/// A response, or its body, in the hands of a guest.
#[derive(Clone)]
struct Incoming {
    response: Arc<HttpResponse>,
    /// Whether its body, or the body's stream, was taken.
    taken: bool,
    _weight: Arc<Weight>,
}

impl Http {
    pub(crate) fn new(client: Option<Arc<dyn HttpClient>>) -> Self {
        let bodies =
            client.as_ref().map_or(0, |it| it.max_request_bytes().saturating_add(it.max_response_bytes()));
        Self {
            client,
            budget: Budget::new(BESIDE_BODIES.saturating_add(bodies.saturating_mul(BODIES))),
            calls: 0,
            fields: Handles::default(),
            requests: Handles::default(),
            options: Handles::default(),
            bodies: Handles::default(),
            exchanges: Handles::default(),
            responses: Handles::default(),
            readers: Handles::default(),
        }
    }

    /// Starts the account of the next call of the guest.
    pub(super) fn begin(&mut self) {
        self.calls = 0;
    }

    pub(super) fn exchange(&mut self, number: u32) -> Option<&mut Exchange> {
        self.exchanges.get_mut(number)
    }

    /// Further bytes of a response's body, or `None` at its end.
    pub(super) fn read(&mut self, number: u32, length: u64) -> Option<&[u8]> {
        let (incoming, position) = self.readers.get_mut(number)?;
        let rest = incoming.response.body.get(*position..).filter(|rest| !rest.is_empty())?;
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len()).min(streams::ROOM);
        *position += length;
        rest.get(..length)
    }

    /// The body that is written to a stream.
    pub(super) fn body(&self, number: u32) -> Option<&Shared> {
        self.bodies.get(number)
    }

    pub(super) fn drop_reader(&mut self, number: u32) {
        self.readers.remove(number);
    }

    /// The body itself is with the request, or with what came of it.
    pub(super) fn drop_writer(&mut self, number: u32) {
        self.bodies.remove(number);
    }

    fn take_fields(&mut self, handle: &Resource<Fields>) -> Result<Fields> {
        self.fields.take(handle.rep()).ok_or_else(|| invalid("fields"))
    }

    fn hand_out_fields(&mut self, fields: Fields) -> Resource<Fields> {
        Resource::new_own(self.fields.insert(fields))
    }
}

/// Marks for the kinds of handles.
struct RequestOptions;
struct OutgoingBody;
struct IncomingResponse;
struct IncomingBody;
struct FutureTrailers;
/// What belongs to incoming requests: nothing hands it out.
struct Unavailable;

/// Links a resource of these interfaces; false for one that is not theirs.
pub(super) fn link_resource(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "fields" | "headers" | "trailers" => {
            linked.resource(name, ResourceType::host::<Fields>(), |mut store, number| {
                store.data_mut().http.fields.remove(number);
                Ok(())
            })
        }
        "outgoing-request" => linked.resource(name, ResourceType::host::<Request>(), |mut store, number| {
            store.data_mut().http.requests.remove(number);
            Ok(())
        }),
        "request-options" => {
            linked.resource(name, ResourceType::host::<RequestOptions>(), |mut store, number| {
                store.data_mut().http.options.remove(number);
                Ok(())
            })
        }
        "outgoing-body" => {
            linked.resource(name, ResourceType::host::<OutgoingBody>(), |mut store, number| {
                if let Some(body) = store.data_mut().http.bodies.take(number) {
                    exchange::lock(&body).abandon();
                }
                Ok(())
            })
        }
        "future-incoming-response" => {
            linked.resource(name, ResourceType::host::<Exchange>(), |mut store, number| {
                store.data_mut().http.exchanges.remove(number);
                Ok(())
            })
        }
        "incoming-response" => {
            linked.resource(name, ResourceType::host::<IncomingResponse>(), |mut store, number| {
                store.data_mut().http.responses.remove(number);
                Ok(())
            })
        }
        "incoming-body" => {
            linked.resource(name, ResourceType::host::<IncomingBody>(), |mut store, number| {
                store.data_mut().http.responses.remove(number);
                Ok(())
            })
        }
        "future-trailers" => linked.resource(name, ResourceType::host::<FutureTrailers>(), |_, _| Ok(())),
        "incoming-request" | "response-outparam" | "outgoing-response" => {
            linked.resource(name, ResourceType::host::<Unavailable>(), |_, _| Ok(()))
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

/// Links a function of these interfaces; false for one that is not known here.
pub(super) fn link(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    let known = link_fields(linked, name)?
        || link_request(linked, name)?
        || link_options(linked, name)?
        || link_response(linked, name)?;
    if known {
        return Ok(true);
    }
    match name {
        "handle" => stub(linked, name, |state, (request, options): (_, Option<_>)| {
            Ok((state.handle(request, options)?,))
        }),
        "http-error-code" => stub(linked, name, |_, (_,): (Resource<streams::IoError>,)| {
            // The one way in which a stream fails.
            Ok((Some(ErrorCode::HttpRequestBodySize(None)),))
        }),
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn link_fields(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    type Values = Vec<Vec<u8>>;
    type Handle = Resource<Fields>;
    match name {
        "[constructor]fields" => stub(linked, name, |state, (): ()| {
            let fields = Fields::new(state.http.budget.weight());
            Ok((state.http.hand_out_fields(fields),))
        }),
        "[static]fields.from-list" => stub(linked, name, |state, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let mut fields = Fields::new(state.http.budget.weight());
            for (name, value) in entries {
                if let Err(refused) = fields.append(&name, value)? {
                    return Ok((Err(refused),));
                }
            }
            Ok((Ok::<_, HeaderError>(state.http.hand_out_fields(fields)),))
        }),
        "[method]fields.get" => stub(linked, name, |state, (handle, name): (Handle, String)| {
            Ok((state.fields(&handle)?.get(&name),))
        }),
        "[method]fields.has" => stub(linked, name, |state, (handle, name): (Handle, String)| {
            Ok((state.fields(&handle)?.has(&name),))
        }),
        "[method]fields.set" => {
            stub(linked, name, |state, (handle, name, values): (Handle, String, Values)| {
                Ok((state.fields(&handle)?.set(&name, values)?,))
            })
        }
        "[method]fields.delete" => stub(linked, name, |state, (handle, name): (Handle, String)| {
            Ok((state.fields(&handle)?.delete(&name),))
        }),
        "[method]fields.append" => {
            stub(linked, name, |state, (handle, name, value): (Handle, String, Vec<u8>)| {
                Ok((state.fields(&handle)?.append(&name, value)?,))
            })
        }
        "[method]fields.entries" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((state.fields(&handle)?.entries().to_vec(),)))
        }
        "[method]fields.clone" => stub(linked, name, |state, (handle,): (Handle,)| {
            let weight = state.http.budget.weight();
            let copy = state.fields(&handle)?.copy(weight)?;
            Ok((state.http.hand_out_fields(copy),))
        }),
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn link_request(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    type Handle = Resource<Request>;
    type Text = Option<String>;
    match name {
        "[constructor]outgoing-request" => stub(linked, name, |state, (fields,): (Resource<Fields>,)| {
            let fields = state.http.take_fields(&fields)?;
            Ok((Resource::<Request>::new_own(state.http.requests.insert(Request::new(fields))),))
        }),
        "[method]outgoing-request.method" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((state.request(&handle)?.method.clone(),)))
        }
        "[method]outgoing-request.set-method" => {
            stub(linked, name, |state, (handle, method): (Handle, Method)| {
                let good = method.is_token();
                if good {
                    state.request(&handle)?.method = method;
                }
                Ok((done(good),))
            })
        }
        "[method]outgoing-request.path-with-query" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((state.request(&handle)?.path.clone(),)))
        }
        "[method]outgoing-request.set-path-with-query" => {
            stub(linked, name, |state, (handle, path): (Handle, Text)| {
                let good = path.as_ref().is_none_or(|path| path.len() <= PATH_BYTES);
                if good {
                    state.request(&handle)?.path = path;
                }
                Ok((done(good),))
            })
        }
        "[method]outgoing-request.scheme" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((state.request(&handle)?.scheme.clone(),)))
        }
        "[method]outgoing-request.set-scheme" => {
            stub(linked, name, |state, (handle, scheme): (Handle, Option<Scheme>)| {
                let good = !matches!(scheme, Some(Scheme::Other(_)));
                if good {
                    state.request(&handle)?.scheme = scheme;
                }
                Ok((done(good),))
            })
        }
        "[method]outgoing-request.authority" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((state.request(&handle)?.authority.clone(),)))
        }
        "[method]outgoing-request.set-authority" => {
            stub(linked, name, |state, (handle, authority): (Handle, Text)| {
                let good = authority.as_ref().is_none_or(|authority| authority.len() <= AUTHORITY_BYTES);
                if good {
                    state.request(&handle)?.authority = authority;
                }
                Ok((done(good),))
            })
        }
        "[method]outgoing-request.headers" => stub(linked, name, |state, (handle,): (Handle,)| {
            let weight = state.http.budget.weight();
            let copy = state.request(&handle)?.fields.copy(weight)?.frozen();
            Ok((state.http.hand_out_fields(copy),))
        }),
        "[method]outgoing-request.body" => stub(linked, name, |state, (handle,): (Handle,)| {
            let body = Body::shared(state.http.budget.weight(), state.http.client.as_deref());
            let request = state.request(&handle)?;
            if request.body.is_some() {
                return Ok((Err::<Resource<OutgoingBody>, ()>(()),));
            }
            request.body = Some(Arc::clone(&body));
            Ok((Ok(Resource::new_own(state.http.bodies.insert(body))),))
        }),
        "[method]outgoing-body.write" => stub(linked, name, |state, (handle,): (Resource<OutgoingBody>,)| {
            let body =
                Arc::clone(state.http.bodies.get(handle.rep()).ok_or_else(|| invalid("outgoing body"))?);
            let first = exchange::lock(&body).open_stream();
            if !first {
                return Ok((Err::<Resource<OutputStream>, ()>(()),));
            }
            Ok((Ok(OutputStream::handle(state.http.bodies.insert(body))),))
        }),
        "[static]outgoing-body.finish" => {
            stub(
                linked,
                name,
                |state, (handle, trailers): (Resource<OutgoingBody>, Option<Resource<Fields>>)| {
                    let body =
                        state.http.bodies.take(handle.rep()).ok_or_else(|| invalid("outgoing body"))?;
                    // A request that a policy makes has no use for trailers.
                    if let Some(trailers) = trailers {
                        drop(state.http.take_fields(&trailers)?);
                    }
                    let whole = exchange::lock(&body).finish();
                    Ok((whole.then_some(()).ok_or(ErrorCode::HttpRequestBodySize(None)),))
                },
            )
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

/// Only the wait for the first byte can be chosen, and only below the operator's bound: the host knows no other.
fn link_options(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    type Handle = Resource<RequestOptions>;
    match name {
        "[constructor]request-options" => stub(linked, name, |state, (): ()| {
            Ok((Resource::<RequestOptions>::new_own(state.http.options.insert(None)),))
        }),
        "[method]request-options.first-byte-timeout" => {
            stub(linked, name, |state, (handle,): (Handle,)| Ok((*state.options(&handle)?,)))
        }
        "[method]request-options.set-first-byte-timeout" => {
            stub(linked, name, |state, (handle, duration): (Handle, Option<u64>)| {
                *state.options(&handle)? = duration;
                Ok((Ok::<(), ()>(()),))
            })
        }
        "[method]request-options.connect-timeout" | "[method]request-options.between-bytes-timeout" => {
            stub(linked, name, |_, (_,): (Handle,)| Ok((None::<u64>,)))
        }
        "[method]request-options.set-connect-timeout"
        | "[method]request-options.set-between-bytes-timeout" => {
            stub(linked, name, |_, (_, _): (Handle, Option<u64>)| Ok((Err::<(), ()>(()),)))
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn link_response(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<bool> {
    match name {
        "[method]future-incoming-response.subscribe" => {
            stub(linked, name, |state, (handle,): (Resource<Exchange>,)| {
                Ok((state.pollable(Ready::Response(handle.rep())),))
            })
        }
        "[method]future-incoming-response.get" => {
            stub(linked, name, |state, (handle,): (Resource<Exchange>,)| Ok((state.response(&handle)?,)))
        }
        "[method]incoming-response.status" => {
            stub(linked, name, |state, (handle,): (Resource<IncomingResponse>,)| {
                Ok((state.incoming(handle.rep())?.response.status,))
            })
        }
        "[method]incoming-response.headers" => {
            stub(linked, name, |state, (handle,): (Resource<IncomingResponse>,)| {
                let weight = state.http.budget.weight();
                let response = Arc::clone(&state.incoming(handle.rep())?.response);
                let fields = Fields::of(&response.fields, weight)?.frozen();
                Ok((state.http.hand_out_fields(fields),))
            })
        }
        "[method]incoming-response.consume" => {
            stub(linked, name, |state, (handle,): (Resource<IncomingResponse>,)| {
                let body = state.incoming(handle.rep())?.take_once();
                let body =
                    body.map(|body| Resource::<IncomingBody>::new_own(state.http.responses.insert(body)));
                Ok((body.ok_or(()),))
            })
        }
        "[method]incoming-body.stream" => {
            stub(linked, name, |state, (handle,): (Resource<IncomingBody>,)| {
                let body = state.incoming(handle.rep())?.take_once();
                let stream = body.map(|body| InputStream::handle(state.http.readers.insert((body, 0))));
                Ok((stream.ok_or(()),))
            })
        }
        "[static]incoming-body.finish" => {
            stub(linked, name, |state, (handle,): (Resource<IncomingBody>,)| {
                state.http.responses.remove(handle.rep());
                Ok((Resource::<FutureTrailers>::new_own(0),))
            })
        }
        "[method]future-trailers.subscribe" => {
            stub(linked, name, |state, (_,): (Resource<FutureTrailers>,)| Ok((state.ready_now(),)))
        }
        "[method]future-trailers.get" => stub(linked, name, |_, (_,): (Resource<FutureTrailers>,)| {
            // Trailers are not passed on.
            Ok((Some(Ok::<_, ()>(Ok::<_, ErrorCode>(None::<Resource<Fields>>))),))
        }),
        _ => return Ok(false),
    }?;
    Ok(true)
}

impl State {
    fn fields(&mut self, handle: &Resource<Fields>) -> Result<&mut Fields> {
        self.http.fields.get_mut(handle.rep()).ok_or_else(|| invalid("fields"))
    }

    fn request(&mut self, handle: &Resource<Request>) -> Result<&mut Request> {
        self.http.requests.get_mut(handle.rep()).ok_or_else(|| invalid("request"))
    }

    fn options(&mut self, handle: &Resource<RequestOptions>) -> Result<&mut Option<u64>> {
        self.http.options.get_mut(handle.rep()).ok_or_else(|| invalid("request options"))
    }

    fn incoming(&mut self, number: u32) -> Result<&mut Incoming> {
        self.http.responses.get_mut(number).ok_or_else(|| invalid("response"))
    }

    /// Begins a call, or says why there is none.
    fn handle(
        &mut self,
        request: Resource<Request>,
        options: Option<Resource<RequestOptions>>,
    ) -> Result<Result<Resource<Exchange>, ErrorCode>> {
        let request = self.http.requests.take(request.rep()).ok_or_else(|| invalid("request"))?;
        let patience = options.and_then(|options| self.http.options.take(options.rep()).flatten());
        let Some(client) = &self.http.client else {
            let reason = "there is no network here".to_owned();
            return Ok(Err(ErrorCode::InternalError(Some(reason))));
        };
        if self.http.calls >= CALLS {
            return Ok(Err(ErrorCode::ConnectionLimitReached));
        }
        self.http.calls += 1;
        Ok(match Exchange::begin(request, patience, Arc::clone(client)) {
            Ok(exchange) => Ok(Resource::new_own(self.http.exchanges.insert(exchange))),
            Err(refused) => Err(refused),
        })
    }

    /// What a call gave, once: `Some(Err(()))` for who asks again.
    #[expect(clippy::type_complexity, reason = "the type is the interface's")]
    fn response(
        &mut self,
        handle: &Resource<Exchange>,
    ) -> Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>> {
        let exchange = self.http.exchanges.get_mut(handle.rep()).ok_or_else(|| invalid("future response"))?;
        Ok(match exchange.take() {
            None => None,
            Some(Err(taken)) => Some(Err(taken)),
            Some(Ok(Err(error))) => Some(Ok(Err(error.into()))),
            Some(Ok(Ok(response))) => {
                let weight = Arc::new(self.http.budget.weight_of(exchange::size(&response))?);
                let incoming = Incoming { response, taken: false, _weight: weight };
                Some(Ok(Ok(Resource::new_own(self.http.responses.insert(incoming)))))
            }
        })
    }
}

impl Incoming {
    /// What is in it, to be given away once.
    fn take_once(&mut self) -> Option<Self> {
        let first = !std::mem::replace(&mut self.taken, true);
        first.then(|| Self { taken: false, ..self.clone() })
    }
}

fn done(good: bool) -> Result<(), ()> {
    if good { Ok(()) } else { Err(()) }
}

fn invalid(what: &'static str) -> wasmtime::Error {
    Stop::Handle(what).into()
}

/// Bodies of the largest size, of a request and a response each, that an instance can hold.
const BODIES: usize = 4;
/// And what it can hold of fields.
const BESIDE_BODIES: usize = 256 << 10;

/// What an instance may hold of the gateway's memory.
#[derive(Clone)]
struct Budget(Arc<Purse>);

struct Purse {
    left: std::sync::atomic::AtomicUsize,
}

/// A part of a budget, given back when it is dropped.
struct Weight {
    purse: Arc<Purse>,
    bytes: usize,
}

impl Budget {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Purse { left: bytes.into() }))
    }

    /// Nothing yet.
    fn weight(&self) -> Weight {
        Weight { purse: Arc::clone(&self.0), bytes: 0 }
    }

    fn weight_of(&self, bytes: usize) -> Result<Weight, Stop> {
        let mut weight = self.weight();
        weight.add(bytes)?;
        Ok(weight)
    }
}

impl Weight {
    fn add(&mut self, bytes: usize) -> Result<(), Stop> {
        use std::sync::atomic::Ordering::Relaxed;
        let taken = self.purse.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes));
        taken.map_err(|_| Stop::Misuse("an instance holds more of HTTP fields and bodies than it may"))?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.purse.left.fetch_add(self.bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Mutex;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;
    use wasmtime::{AsContextMut, Engine, Store};

    use super::super::wasi::wait;
    use super::*;
    use crate::http::{HttpError, HttpExchange, HttpRequest};
    use crate::kept::Registry;
    use crate::limits::{HANDLES, Limits};

    /// Answers one call when it is told to.
    #[derive(Debug)]
    struct Client(Mutex<Option<oneshot::Receiver<()>>>);

    impl HttpClient for Client {
        fn hosts(&self) -> Vec<String> {
            Vec::new()
        }

        fn max_request_bytes(&self) -> usize {
            0
        }

        fn max_response_bytes(&self) -> usize {
            0
        }

        fn send(&self, _: HttpRequest) -> HttpExchange {
            let told = self.0.lock().unwrap().take().unwrap();
            Box::pin(async move { told.await.map(|()| Arc::default()).map_err(|_| HttpError::Broken) })
        }
    }

    /// On a busy machine that once took the rest of the call's time, and the policy was ended for it.
    #[tokio::test]
    async fn a_guest_is_not_charged_for_the_time_until_its_thread_sees_a_response() {
        let (answer, told) = oneshot::channel();
        let limits = Limits { timeout: Duration::from_millis(500), ..Limits::default() };
        let client = Arc::new(Client(Mutex::new(Some(told))));
        let state = State::new(limits, Registry::new(usize::MAX).ledger("under-test"), None, Some(client));
        let mut store = Store::new(&Engine::default(), state);
        let state = store.data_mut();
        state.begin();
        let mut request = Request::new(Fields::new(state.http.budget.weight()));
        request.authority = Some("a.example".to_owned());
        let request = Resource::new_own(state.http.requests.insert(request));
        let Ok(Ok(exchange)) = state.handle(request, None) else { panic!("it was refused") };
        let pollable = state.pollable(Ready::Response(exchange.rep()));
        {
            let begun = Instant::now();
            let mut waiting = pin!(wait(store.as_context_mut(), vec![pollable]));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            answer.send(()).unwrap();
            while begun.elapsed() <= limits.timeout {
                std::thread::yield_now();
            }
            assert!(matches!(waiting.poll(&mut context), Poll::Ready(Ok(ready)) if ready == [0]));
        }
        assert!(!store.data().account.left_to_wait().is_zero());
    }

    #[tokio::test]
    async fn a_guest_waits_for_so_many_things_at_once() {
        let state = State::new(Limits::default(), Registry::new(usize::MAX).ledger("under-test"), None, None);
        let mut store = Store::new(&Engine::default(), state);
        for (count, good) in [(HANDLES, true), (HANDLES + 1, false)] {
            let state = store.data_mut();
            state.begin();
            let ready = state.ready_now().rep();
            let pollables = (0..count).map(|_| Resource::new_borrow(ready)).collect();
            assert_eq!(wait(store.as_context_mut(), pollables).await.is_ok(), good, "{count}");
        }
    }
}
