//! Write Handfast policies in Rust.
//!
//! A policy is a WebAssembly component that the gateway asks about TLS handshakes. With this crate it is a type that
//! implements [`Select`], [`Validate`] or [`Admit`], and [`Configure`] where it has settings:
//!
//! ```
//! use handfast_policy::{Alert, ClientHello, Connection, Decision, Select, certificates};
//!
//! /// Serves names under `internal.example` to the listener for the office, and to nobody else.
//! #[derive(Default)]
//! struct OfficeOnly;
//!
//! impl Select for OfficeOnly {
//!     fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
//!         let Some(name) = hello.server_name() else { return Decision::pass() };
//!         if !name.ends_with(".internal.example") {
//!             return Decision::pass();
//!         }
//!         if connection.listener() != "office" {
//!             return Decision::reject(Alert::UnrecognizedName).because("an internal name from outside");
//!         }
//!         match certificates::find(&name).iter().find(|certificate| certificate.usable_by(hello)) {
//!             Some(certificate) => Decision::certificate(certificate),
//!             None => Decision::pass(),
//!         }
//!     }
//! }
//!
//! handfast_policy::export!(OfficeOnly: select);
//! ```
//!
//! # Building one
//!
//! ```toml
//! # Cargo.toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [profile.release]
//! opt-level = "s"
//! lto = true
//! codegen-units = 1
//! panic = "abort"
//! strip = "debuginfo"      # the names of functions stay, which traps are explained with
//!
//! # .cargo/config.toml: a stack of 32 KiB instead of 1 MiB, so that a whole instance fits in a page or two
//! [target.wasm32-unknown-unknown]
//! rustflags = ["-Clink-arg=-zstack-size=32768"]
//! ```
//!
//! ```text
//! rustup target add wasm32-unknown-unknown     # beside cargo and handfast, no tool is needed
//! handfast policy build                        # runs cargo, and makes policy.wasm of the module that it leaves
//! handfast policy test policy.wasm --cases cases.toml
//! ```
//!
//! The component imports the interfaces of `handfast:policy` that the code calls, and nothing else: no WASI, so no files, no
//! sockets, no environment, and `println!` goes nowhere (use [`log`]). What needs a grant is in [`counter`], [`key_value`]
//! and [`http`]; calling any makes the component import it, and the gateway then refuses to load it without the grant.
//!
//! # Testing one
//!
//! Compiled for the machine itself, the crate has plain structs in the place of the gateway's resources: fill in a
//! `ClientHello`, call the policy, look at its decision. See `testing`.
//!
//! # What it costs
//!
//! Unless the operator chose `instances = "reuse"`, every call runs in a fresh instance: what is compiled, mapped and
//! touched is paid for again each time. The crate is `no_std`, brings an [allocator](#memory) that does not grow memory in
//! ordinary calls, and reads nothing that the policy does not ask for. A policy that is itself `no_std` and exported with
//! `panic = trap` is 5 to 10 KB; see [`export!`].
//!
//! # Memory
//!
//! The global allocator starts in 16 KiB of static memory, goes on in what the linker left over of the last 64 KiB page,
//! and only then asks for more pages. Freed blocks are used again, by powers of two, so an instance that lives long does
//! not leak. It never gives memory back and never joins blocks.
//!
//! # Hash maps
//!
//! The standard library's `HashMap` has fixed keys on this target: a client that chooses the names in it can make it slow.
//! Use a `BTreeMap`, or [`random::RandomState`] for its hasher.

#![cfg_attr(target_arch = "wasm32", no_std)]
#![warn(missing_docs)]

extern crate alloc;

#[cfg(any(target_arch = "wasm32", test))]
mod allocator;
#[doc(hidden)]
#[allow(missing_docs)]
pub mod bindings;
pub mod certificates;
pub mod clock;
pub mod counter;
mod export;
mod hook;
pub mod http;
pub mod key_value;
pub mod log;
pub mod random;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(target_arch = "wasm32")]
use bindings::imports::handfast::policy as gateway;
#[cfg(target_arch = "wasm32")]
pub use bindings::imports::handfast::policy::types::{
    Certificate, ClientHello, Connection, PeerCertificate, PeerChain,
};
pub use bindings::{
    exports::{Attribute, Decision, Rejection, Verdict},
    imports::handfast::policy::types::{Alert, IpAddress, KeyAlgorithm, SocketAddress},
};
#[doc(hidden)]
pub use export::Slot;
pub use hook::{Admit, Configure, Select, Validate};
#[cfg(not(target_arch = "wasm32"))]
use testing::gateway;
#[cfg(not(target_arch = "wasm32"))]
pub use testing::{Certificate, ClientHello, Connection, PeerCertificate, PeerChain};
