//! What the gateway promises, one file per behaviour: black-box tests of the real binary.
//!
//! One test binary, so that linking is paid for once. Run one file with
//! `cargo test -p handfast-tests -- freshness::`; the harness says what to build first.

mod bad_certificates;
mod bad_input;
mod capabilities;
mod certificate_choice;
mod certificate_command;
mod demo;
mod documentation;
mod drain;
mod examples;
mod expiry;
mod first_party;
mod freshness;
#[path = "../../gateway/plugin-host/tests/suite/guest.rs"]
#[allow(dead_code, reason = "the plugin host's own tests use the rest")]
mod guest;
mod hostile;
mod http;
mod languages;
mod last_good;
mod layering;
mod limits;
mod mutual_tls;
mod observation;
mod ocsp;
mod outgoing_http;
mod policies;
mod policy_command;
mod proxy_protocol;
mod reload;
mod resumption;
mod swap_under_load;
mod timeouts;
mod torture;
