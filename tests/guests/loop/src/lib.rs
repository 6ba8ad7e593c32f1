//! A policy that never answers: `select` loops for ever.

#![cfg_attr(target_arch = "wasm32", no_std)]

use handfast_policy::{ClientHello, Connection, Decision, Select};

#[derive(Default)]
struct Loop;

handfast_policy::export!(Loop: select; panic = trap);

impl Select for Loop {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        loop {
            core::hint::spin_loop();
        }
    }
}
