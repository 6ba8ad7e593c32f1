//! A policy that never answers: `select` loops for ever.
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
struct Loop;

handfast_policy::export!(Loop: select, validate, admit; panic = trap);

impl Select for Loop {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        loop {
            core::hint::spin_loop();
        }
    }
}

impl Validate for Loop {
    fn validate(&self, _: &Connection, _: &ClientHello, _: &PeerChain) -> Result<Vec<Attribute>, Rejection> {
        Ok(Vec::new())
    }
}

impl Admit for Loop {
    fn admit(&self, _: &Certificate) -> Result<(), String> {
        Ok(())
    }
}
