//! The Handfast gateway as a library: everything but the process's entry.
//!
//! ARCHITECTURE.md has the map: the path of a handshake through these modules and the layers they live in.

pub mod config;
pub mod drain;
