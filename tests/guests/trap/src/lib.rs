//! A policy that panics: a line in the log, then a trap.
//!
//! The other hooks are there since a plugin with fewer would not take `guest-probe`'s place, and accept.

use handfast_policy::{
    Admit, Attribute, Certificate, ClientHello, Connection, Decision, PeerChain, Rejection, Select, Validate,
};

#[derive(Default)]
struct Trap;

handfast_policy::export!(Trap: select, validate, admit);

impl Select for Trap {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        panic!("this policy panics on purpose")
    }
}

impl Validate for Trap {
    fn validate(&self, _: &Connection, _: &ClientHello, _: &PeerChain) -> Result<Vec<Attribute>, Rejection> {
        Ok(Vec::new())
    }
}

impl Admit for Trap {
    fn admit(&self, _: &Certificate) -> Result<(), String> {
        Ok(())
    }
}
