//! Parsers of the untrusted bytes that open a connection: the PROXY header and the TLS ClientHello, and the alert
//! that answers a refused one.
//!
//! The gateway's listener and TLS stages call this crate with whatever they have read from a socket so far. It does
//! no I/O, keeps no state between calls, bounds every length before it acts on it and never panics: the unit,
//! property and fuzz tests (`cargo xtask fuzz`) hold it to that. It is a crate of its own so that a fuzzer need not
//! compile the sandbox.
//!
//! Both parsers have the same shape: `read(&buffer)` answers `Ok(None)` while more bytes are needed, and once it has
//! answered otherwise, more bytes never change the answer.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod alert;
mod client_hello;
mod proxy_header;
mod reader;

pub use alert::AlertDescription;
pub use client_hello::{ClientHello, ClientHelloError, ServerNameError, is_grease};
pub use proxy_header::{ProxyHeader, ProxyHeaderError};
