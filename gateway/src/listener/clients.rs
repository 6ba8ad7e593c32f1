//! How many connections each client has open on a listener: the bound `max-connections-per-client`.
//!
//! `connection` asks for a [`Place`] once it knows whose connection it is (a PROXY header may tell) and holds it to the
//! end. A client is an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber is given (RFC 6177).
//!
//! # Memo: one map under one lock
//! The workers share it, since the kernel spreads the connections of one client over all of them. It is locked twice a
//! connection for a look-up, and on listeners without the bound not at all. Only clients with open connections are in
//! it, so it is never larger than `max-connections`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::warn;

use crate::telemetry::Throttle;

/// The clients with open connections, over all workers.
#[derive(Debug, Default)]
pub struct Clients {
    open: Mutex<HashMap<Client, usize>>,
    complaints: Throttle,
}

/// On a listener, by its name.
type Client = (String, IpAddr);

/// A connection's place among those of its client. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    client: Client,
}

impl Clients {
    /// `None` if the client has `limit` connections open already, which is logged at most once a second.
    pub fn enter(self: &Arc<Self>, listener: &str, client: IpAddr, limit: usize) -> Option<Place> {
        let client = (listener.to_owned(), network(client));
        let admitted = {
            let mut open = self.open();
            let count = open.entry(client.clone()).or_default();
            let admitted = *count < limit;
            *count += usize::from(admitted);
            admitted
        };
        if admitted {
            return Some(Place { clients: Arc::clone(self), client });
        }
        if let Some(suppressed) = self.complaints.pass() {
            warn!(listener, client = %client.1, limit, suppressed, "too many connections of one client");
        }
        None
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Client, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let client = std::mem::take(&mut self.client.0);
        if let Entry::Occupied(mut count) = self.clients.open().entry((client, self.client.1)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_places_and_gives_them_back() {
        let clients = Arc::new(Clients::default());
        let enter = |listener, client: &str| clients.enter(listener, client.parse().unwrap(), 2);
        let first = enter("a", "192.0.2.1").unwrap();
        let second = enter("a", "::ffff:192.0.2.1").unwrap();
        assert!(enter("a", "192.0.2.1").is_none());
        let others = (enter("a", "192.0.2.2").unwrap(), enter("b", "192.0.2.1").unwrap());
        drop(first);
        let third = enter("a", "192.0.2.1").unwrap();
        drop((second, third, others));
        assert!(clients.open().is_empty());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let clients = Arc::new(Clients::default());
        let enter = |client: &str| clients.enter("a", client.parse().unwrap(), 1);
        let _place = enter("2001:db8::1").unwrap();
        assert!(enter("2001:db8::ffff:0:0:2").is_none());
        assert!(enter("2001:db8:0:1::1").is_some());
    }
}
