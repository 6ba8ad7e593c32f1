//! Runs policies: WebAssembly components behind the interface in `wit/v1`, in a wasmtime sandbox.
//!
//! The gateway calls this crate and nothing here calls the gateway: what a guest may look at comes in through the
//! traits of [`views`]. It is the only crate that names wasmtime. In order of use:
//!
//! 1. [`Host`]: the engine, its pool of instances, the epoch clock and the cache of compiled code. One per process.
//! 2. [`Plugin`]: a component, compiled, checked and linked; [`Host::load`] says in words why a file is not one.
//! 3. [`Policy`]: a plugin with a configuration and limits. Its hooks are called on every handshake.
//!
//! Nothing a guest does can end a thread of the gateway, hold a worker for more than some 10 milliseconds, once in a call, or
//! take more than its [`Limits`], or all together more than [`HostSettings::max_memory`]: the call ends with a [`CallError`]
//! and the instance is thrown away. Compiling is not bounded by that, and takes time and memory out of proportion to the
//! size of a hostile component: a [`Compiler`] does it in a child process, and what is in a component is counted first.
//!
//! Of WASI there is what lets the runtimes of languages start: see `imports/wasi.rs`.

#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

mod bindings;
mod cache;
mod census;
mod clock;
mod compiler;
mod component;
mod counter;
mod error;
mod grant;
mod host;
mod http;
mod imports;
mod kept;
mod key_value;
mod limits;
mod log_rate;
mod memory;
mod overtime;
mod plugin;
mod policy;
mod priority;
mod text;
mod verdict;
pub mod views;

pub use compiler::{Compiler, run_child};
pub use component::{Hooks, Inspection};
pub use error::{CallError, HostError, LoadError, Trap};
pub use grant::Grant;
pub use host::{Host, HostSettings};
pub use http::{HttpClient, HttpError, HttpExchange, HttpRequest, HttpResponse};
pub use kept::Counted;
pub use key_value::{KeyValueBounds, KeyValueUse};
pub use limits::Limits;
pub use plugin::Plugin;
pub use policy::{Instances, Policy, PolicySettings};
pub use priority::wake_promptly;
pub use verdict::{Attribute, Decision, Validation, Verdict};
pub use views::{Certificate, Certificates, ClientHello, Connection, KeyAlgorithm, PeerCertificate};
