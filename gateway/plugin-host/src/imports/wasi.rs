//! WASI 0.2 as far as the runtimes of languages need it to start: real time, real randomness, and nothing else.
//!
//! Go, CPython, QuickJS and whatever else was written for a C library import `wasi:*` even where a policy uses none of
//! it. So clocks and randomness are real; arguments, environment and standard input are empty; what is written to
//! standard output and standard error becomes lines of the policy's log, counted like its others; there are no files
//! and no sockets; to exit is to trap. Every other function can be imported, and traps with its name when it is called.
//! `wasi:http` needs a grant, and is in `http.rs`; it is linked here, in the same way.
//!
//! # Why not wasmtime-wasi
//!
//! It denies everything by default and would do as well. But it is a whole operating-system interface (19 crates more
//! for the gateway, cap-std's among them) of which these thirty functions are wanted, its streams buffer on
//! their own account where ours must count against the call's limits, and its files and sockets would be one mistaken
//! line away from a guest. Here they do not exist.
//!
//! # Why the functions are linked for each component
//!
//! An interface is linked under the very name and version that the component imports, with the functions that the
//! component knows: a function that is known here gets its stub, any other one that traps. So every 0.2 version works,
//! with no copy of WASI's own definitions to keep. The stubs are typed: a component that declares one of them otherwise
//! is refused when it is linked.

pub(super) mod streams;
mod wake;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
};
use wasmtime::{Result, StoreContextMut};

use self::streams::{InputStream, Lines, OutputStream};
use self::wake::until_ready;
use super::handles::Handles;
use super::{START, State, http, nanoseconds_since_start};
use crate::error::Stop;
use crate::limits::HANDLES;

const PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const VERSION: &str = "@0.2.";
/// Bytes of randomness in one call. Hash seeds take 16.
const RANDOM_BYTES: u64 = 64 << 10;

/// Whether an import is stood in for here.
pub(crate) fn stands_in_for(import: &str) -> bool {
    PACKAGES.iter().any(|package| import.starts_with(package)) && import.contains(VERSION)
}

/// Links everything of WASI that a component imports.
pub(crate) fn link(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = linker.engine().clone();
    for (import, item) in component.component_type().imports(&engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        if !stands_in_for(import) && !http::provides(import) {
            continue;
        }
        let mut linked = linker.instance(import)?;
        for (name, item) in interface.exports(&engine) {
            match item.ty {
                ComponentItem::Resource(_) => link_resource(&mut linked, name)?,
                ComponentItem::ComponentFunc(_) => link_function(&mut linked, import, name)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// The state of these functions in one instance.
#[derive(Default)]
pub(crate) struct Wasi {
    pub(super) lines: Lines,
    pollables: Handles<Ready>,
}

/// Something that a guest can wait for.
pub(super) struct Pollable;

/// When it is ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ready {
    At(Instant),
    /// When the call of this number has come to something.
    Response(u32),
}

/// A resource that nothing hands out: files, sockets, terminals.
struct Unavailable;

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

fn link_resource(linked: &mut LinkerInstance<'_, State>, name: &str) -> Result<()> {
    match name {
        "input-stream" => linked.resource(name, ResourceType::host::<InputStream>(), |mut store, number| {
            store.data_mut().drop_input(number);
            Ok(())
        }),
        "output-stream" => {
            linked.resource(name, ResourceType::host::<OutputStream>(), |mut store, number| {
                store.data_mut().drop_output(number);
                Ok(())
            })
        }
        "pollable" => linked.resource(name, ResourceType::host::<Pollable>(), |mut store, number| {
            store.data_mut().wasi.pollables.remove(number);
            Ok(())
        }),
        "error" | "io-error" => {
            linked.resource(name, ResourceType::host::<streams::IoError>(), |_, _| Ok(()))
        }
        _ if http::link_resource(linked, name)? => Ok(()),
        _ => linked.resource(name, ResourceType::host::<Unavailable>(), |_, _| Ok(())),
    }
}

fn link_function(linked: &mut LinkerInstance<'_, State>, import: &str, name: &str) -> Result<()> {
    let interface = import.split('@').next().unwrap_or_default();
    match (interface, name) {
        ("wasi:cli/environment", "get-environment") => {
            stub(linked, name, |_, (): ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("wasi:cli/environment", "get-arguments") => {
            stub(linked, name, |_, (): ()| Ok((Vec::<String>::new(),)))
        }
        ("wasi:cli/environment", "initial-cwd") => stub(linked, name, |_, (): ()| Ok((None::<String>,))),
        ("wasi:cli/exit", "exit") => stub(linked, name, |_, (_,): (Result<(), ()>,)| exit()),
        ("wasi:cli/exit", "exit-with-code") => stub(linked, name, |_, (_,): (u8,)| exit()),
        ("wasi:cli/terminal-stdin", "get-terminal-stdin")
        | ("wasi:cli/terminal-stdout", "get-terminal-stdout")
        | ("wasi:cli/terminal-stderr", "get-terminal-stderr") => {
            stub(linked, name, |_, (): ()| Ok((None::<Resource<Unavailable>>,)))
        }
        ("wasi:clocks/wall-clock", "now") => stub(linked, name, |_, (): ()| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok((Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() },))
        }),
        ("wasi:clocks/wall-clock", "resolution") => {
            stub(linked, name, |_, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1 },)))
        }
        ("wasi:clocks/monotonic-clock", "now") => {
            stub(linked, name, |_, (): ()| Ok((nanoseconds_since_start(),)))
        }
        ("wasi:clocks/monotonic-clock", "resolution") => stub(linked, name, |_, (): ()| Ok((1_u64,))),
        ("wasi:clocks/monotonic-clock", "subscribe-instant") => {
            stub(linked, name, |state, (nanoseconds,): (u64,)| {
                Ok((state.pollable(Ready::At(after(*START, nanoseconds))),))
            })
        }
        ("wasi:clocks/monotonic-clock", "subscribe-duration") => {
            stub(linked, name, |state, (nanoseconds,): (u64,)| {
                Ok((state.pollable(Ready::At(after(Instant::now(), nanoseconds))),))
            })
        }
        ("wasi:filesystem/preopens", "get-directories") => {
            stub(linked, name, |_, (): ()| Ok((Vec::<(Resource<Unavailable>, String)>::new(),)))
        }
        ("wasi:random/random", "get-random-bytes")
        | ("wasi:random/insecure", "get-insecure-random-bytes") => {
            stub(linked, name, |_, (length,): (u64,)| Ok((random_bytes(length)?,)))
        }
        ("wasi:random/random", "get-random-u64") | ("wasi:random/insecure", "get-insecure-random-u64") => {
            stub(linked, name, |_, (): ()| Ok((getrandom::u64()?,)))
        }
        ("wasi:random/insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            stub(linked, name, |_, (): ()| Ok(((getrandom::u64()?, getrandom::u64()?),)))
        }
        ("wasi:io/poll", "[method]pollable.ready") => {
            stub(linked, name, |state, (pollable,): (Resource<Pollable>,)| {
                Ok((state.is_ready(
                    pollable.rep(),
                    Instant::now(),
                    &mut Context::from_waker(Waker::noop()),
                )?,))
            })
        }
        ("wasi:io/poll", "[method]pollable.block") => linked.func_wrap_async(name, |store, pollable| {
            let (pollable,): (Resource<Pollable>,) = pollable;
            Box::new(async move { wait(store, vec![pollable]).await.map(drop) })
        }),
        ("wasi:io/poll", "poll") => linked.func_wrap_async(name, |store, pollables| {
            let (pollables,): (Vec<Resource<Pollable>>,) = pollables;
            Box::new(async move { Ok((wait(store, pollables).await?,)) })
        }),
        (
            "wasi:io/streams" | "wasi:io/error" | "wasi:cli/stdin" | "wasi:cli/stdout" | "wasi:cli/stderr",
            _,
        ) if streams::link(linked, name)? => Ok(()),
        ("wasi:http/types" | "wasi:http/outgoing-handler", _) if http::link(linked, name)? => Ok(()),
        _ => {
            let called: Arc<str> = format!("{import}#{name}").into();
            linked.func_new(name, move |_, _, _, _| Err(Stop::Unavailable(Arc::clone(&called)).into()))
        }
    }
}

/// Links a function that counts against the call's limit.
pub(super) fn stub<P, R>(
    linked: &mut LinkerInstance<'_, State>,
    name: &str,
    function: impl Fn(&mut State, P) -> Result<R> + Send + Sync + 'static,
) -> Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + 'static,
{
    linked.func_wrap(name, move |mut store: StoreContextMut<'_, State>, parameters: P| {
        let state = store.data_mut();
        state.account.host_call()?;
        function(state, parameters)
    })
}

impl State {
    pub(super) fn pollable(&mut self, ready: Ready) -> Resource<Pollable> {
        Resource::new_own(self.wasi.pollables.insert(ready))
    }

    pub(super) fn ready_now(&mut self) -> Resource<Pollable> {
        self.pollable(Ready::At(Instant::now()))
    }

    fn ready(&self, number: u32) -> Result<Ready> {
        let ready = self.wasi.pollables.get(number);
        Ok(*ready.ok_or(Stop::Misuse("the handle of the pollable is not valid"))?)
    }

    /// The positions of those that are ready.
    fn which(
        &mut self,
        pollables: &[Resource<Pollable>],
        now: Instant,
        context: &mut Context<'_>,
    ) -> Result<Vec<u32>> {
        let mut ready = Vec::new();
        for (position, pollable) in (0..).zip(pollables) {
            if self.is_ready(pollable.rep(), now, context)? {
                ready.push(position);
            }
        }
        Ok(ready)
    }

    fn is_ready(&mut self, number: u32, now: Instant, context: &mut Context<'_>) -> Result<bool> {
        Ok(match self.ready(number)? {
            Ready::At(moment) => moment <= now,
            // A call that the guest has dropped comes to nothing, and to wait for that would never end.
            Ready::Response(call) => self.http.exchange(call).is_none_or(|exchange| exchange.poll(context)),
        })
    }
}

/// Sleeps until the first is ready, and says which are. The instance is the call's while it sleeps, and the call's
/// wall clock goes on: nobody else waits, and not for long. To wait for others, with HTTP, counts as running does, until
/// they are ready.
pub(super) async fn wait(
    mut store: StoreContextMut<'_, State>,
    pollables: Vec<Resource<Pollable>>,
) -> Result<Vec<u32>> {
    let state = store.data_mut();
    state.account.host_call()?;
    if pollables.len() > HANDLES {
        // Each handle any number of times: to look at 260,000 takes milliseconds that no tick interrupts.
        return Err(Stop::Misuse("`poll` waits for at most 4,096 things at once").into());
    }
    state.account.pause().await;
    let (mut first, mut for_others) = (None, false);
    for pollable in &pollables {
        match state.ready(pollable.rep())? {
            Ready::At(moment) => first = Some(first.map_or(moment, |first: Instant| first.min(moment))),
            Ready::Response(_) => for_others = true,
        }
    }
    if pollables.is_empty() {
        return Err(Stop::Misuse("`poll` has nothing to wait for").into());
    }
    let begun = Instant::now();
    let end = for_others.then(|| begun.checked_add(state.account.left_to_wait())).flatten();
    let wake = [first, end].into_iter().flatten().min();
    let mut sleep = pin!(async {
        match wake {
            Some(wake) => tokio::time::sleep_until(wake.into()).await,
            None => std::future::pending().await,
        }
    });
    let (ready, over) = until_ready(|context| {
        let state = store.data_mut();
        let mut now = Instant::now();
        match state.which(&pollables, now, context) {
            Ok(ready) if ready.is_empty() => {}
            ready => return Poll::Ready(ready),
        }
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // A paused clock may have come further than the one that is read here.
        now = now.max(wake.unwrap_or(now));
        Poll::Ready(state.which(&pollables, now, context))
    })
    .await;
    let account = &mut store.data_mut().account;
    if for_others {
        account.waited(over.saturating_duration_since(begun));
    }
    account.go_on();
    let ready = ready?;
    if ready.is_empty() { Err(Stop::Time.into()) } else { Ok(ready) }
}

fn exit() -> Result<()> {
    Err(Stop::Misuse("the policy's runtime ended its program (`exit`)").into())
}

fn random_bytes(length: u64) -> Result<Vec<u8>> {
    if length > RANDOM_BYTES {
        return Err(Stop::Misuse("at most 65,536 random bytes are given in a call").into());
    }
    let mut bytes = vec![0; usize::try_from(length)?];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Some 584 years are the most that can be asked for; where the clock ends sooner, a year is as good.
fn after(begin: Instant, nanoseconds: u64) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
    begin.checked_add(Duration::from_nanos(nanoseconds)).unwrap_or_else(|| Instant::now() + YEAR)
}

#[cfg(test)]
mod tests {
    use super::stands_in_for;

    #[test]
    fn only_packages_without_power_are_stood_in_for_and_only_of_0_2() {
        for import in ["wasi:cli/environment@0.2.0", "wasi:sockets/tcp@0.2.12", "wasi:io/poll@0.2.6"] {
            assert!(stands_in_for(import), "{import}");
        }
        for import in [
            "wasi:http/outgoing-handler@0.2.6",
            "wasi:cli/stdout@0.3.0",
            "wasi:cli/stdout",
            "wasi:nn/x@0.2.0",
        ] {
            assert!(!stands_in_for(import), "{import}");
        }
    }
}
