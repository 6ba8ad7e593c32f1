//! A policy that eats memory until there is none, and then traps.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use handfast_policy::{ClientHello, Connection, Decision, Select};

#[derive(Default)]
struct Hog;

handfast_policy::export!(Hog: select; panic = trap);

impl Select for Hog {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        loop {
            // Written to, so that it is really there and not only promised.
            core::mem::forget(core::hint::black_box(alloc::vec![1_u8; 256 << 10]));
        }
    }
}
