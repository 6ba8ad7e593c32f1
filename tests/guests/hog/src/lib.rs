//! A policy that eats memory until there is none, and then traps.
//!
//! The other hooks are there since a plugin with fewer would not take `guest-probe`'s place, and accept.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use handfast_policy::{
    Admit, Attribute, Certificate, ClientHello, Connection, Decision, PeerChain, Rejection, Select, Validate,
};

#[derive(Default)]
struct Hog;

handfast_policy::export!(Hog: select, validate, admit; panic = trap);

impl Select for Hog {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        loop {
            // Written to, so that it is really there and not only promised.
            core::mem::forget(core::hint::black_box(alloc::vec![1_u8; 256 << 10]));
        }
    }
}

impl Validate for Hog {
    fn validate(&self, _: &Connection, _: &ClientHello, _: &PeerChain) -> Result<Vec<Attribute>, Rejection> {
        Ok(Vec::new())
    }
}

impl Admit for Hog {
    fn admit(&self, _: &Certificate) -> Result<(), String> {
        Ok(())
    }
}
