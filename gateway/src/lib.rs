//! The Handfast gateway as a library: everything but the process's entry.
//!
//! ARCHITECTURE.md has the map: the path of a handshake through these modules and the layers they live in.

#![cfg_attr(
    not(test),
    warn(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)
)]

pub mod admin;
pub mod certificate;
pub mod cli;
pub mod config;
pub mod connection;
pub mod demo;
pub mod drain;
pub mod freshness;
pub mod generation;
pub mod http;
pub mod listener;
pub mod metrics;
pub mod policy;
pub mod reload;
pub mod request_log;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod trust;
pub mod upstream;
