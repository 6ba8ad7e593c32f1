//! A policy that uses what must be granted, `counter` and `key-value`. It obeys the first label of the server name, and
//! answers with the name's certificate unless a limit is reached; the reason says what came of it.
//!
//! | label | what happens |
//! |---|---|
//! | `limit-<most>` | counts the client's calls for a minute, and rejects with `access_denied` beyond `most` |
//! | `brief` | counts the calls of the last 100 ms or so, and says which this is |
//! | `once` | says whether it is the first to claim a key |
//! | `count-<name>` | adds 1 to the counter of that name, with `_` for `-` |
//! | `names` | adds to 100 counters |
//! | `flood` | sets 4,000 keys that nobody ever set |

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use handfast_policy::{
    Alert, ClientHello, Connection, Decision, Select, certificates, counter, key_value, random,
};

#[derive(Default)]
struct Keeper;

handfast_policy::export!(Keeper: select; panic = trap);

const MINUTE: Duration = Duration::from_secs(60);

impl Select for Keeper {
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
        let name = hello.server_name().unwrap_or_default();
        let label = name.split('.').next().unwrap_or_default();
        let (verb, object) = label.split_once('-').unwrap_or((label, ""));
        let reason = match verb {
            "limit" => match limit(connection, object.parse().unwrap_or(0)) {
                Ok(calls) => calls,
                Err(calls) => return Decision::reject(Alert::AccessDenied).because(calls),
            },
            "brief" => sum(b"brief", Duration::from_millis(100)),
            "once" => {
                let first = key_value::compare_and_set(b"once", None, b"claimed", MINUTE);
                format!("first: {first:?}, now {:?}", key_value::get(b"once").is_some())
            }
            "count" => {
                counter::add(&object.replace('-', "_"), 1);
                "counted".into()
            }
            "names" => {
                (0..100).for_each(|number| counter::add(&format!("name_{number}"), 1));
                "counted".into()
            }
            "flood" => flood(),
            _ => return Decision::pass(),
        };
        match certificates::find(&name).first() {
            Some(certificate) => Decision::certificate(certificate).because(reason),
            None => Decision::pass(),
        }
    }
}

/// Which call of the client's this is; as an error beyond `most`.
fn limit(connection: &Connection, most: i64) -> Result<String, String> {
    let client = core::net::SocketAddr::from(connection.client_address()).ip();
    let key = format!("calls of {client}");
    match key_value::increment(key.as_bytes(), 1, MINUTE) {
        Ok(calls) if calls <= most => Ok(format!("call {calls}")),
        Ok(calls) => Err(format!("call {calls}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn sum(key: &[u8], time_to_live: Duration) -> String {
    format!("call {:?}", key_value::increment(key, 1, time_to_live))
}

fn flood() -> String {
    let call = random::unsigned();
    let refused = (0..4_000_u64).filter(|number| {
        let key = [call.to_le_bytes(), number.to_le_bytes()].concat();
        key_value::set(&key, b"12345678", MINUTE).is_err()
    });
    format!("{} refused", refused.count())
}
