//! A policy that panics: a line in the log, then a trap.

use handfast_policy::{ClientHello, Connection, Decision, Select};

#[derive(Default)]
struct Trap;

handfast_policy::export!(Trap: select);

impl Select for Trap {
    fn select(&self, _: &Connection, _: &ClientHello) -> Decision {
        panic!("this policy panics on purpose")
    }
}
