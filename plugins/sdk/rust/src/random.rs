//! Randomness from the operating system's generator. Always available.

use alloc::vec::Vec;

use crate::gateway;

/// At most 4,096 bytes.
pub fn bytes(length: u32) -> Vec<u8> {
    gateway::random::bytes(length)
}

/// A number to seed a generator or a hasher with.
pub fn unsigned() -> u64 {
    gateway::random::unsigned()
}
