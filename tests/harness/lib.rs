//! What the black-box tests stand on: a real gateway, a real certificate authority, real upstreams and real clients.
//!
//! Every test starts the binary that users run and speaks to it over sockets; nothing here links the gateway. A test
//! reads as its story: build a [`Config`], start a [`Gateway`], connect with a [`Client`] or [`Curl`], and look at what
//! the client, the [`Upstream`] and the log say. Everything listens on port 0, so tests run side by side, and every
//! wait is for a state with one generous [`DEADLINE`]: a slow machine is slow, not red.
//!
//! The harness panics on anything unexpected, with the line of the test and, where a gateway is involved, its log.

use std::time::Duration;

pub mod client;
pub mod config;
pub mod gateway;
pub mod load;
pub mod log;
pub mod ocsp;
pub mod pki;
pub mod scene;
pub mod tool;
pub mod upstream;
pub mod wait;

pub use client::curl::Curl;
pub use client::http1::Response;
pub use client::{Client, Refusal, Session};
pub use config::Config;
pub use gateway::{Finished, Gateway, handfast};
pub use load::Load;
pub use log::Line;
pub use pki::{Authority, CertificateFolder, Key, Leaf, Pair};
pub use scene::Scene;
pub use tool::{plugin, repository, require_tool};
pub use upstream::Upstream;
pub use wait::eventually;

/// The end of every wait: far longer than anything takes, even on two cores that compile something else meanwhile. The longest
/// is a page that builds a policy in Python and has an unoptimised gateway compile its interpreter, 40 s on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(420);
