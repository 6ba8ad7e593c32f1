//! Networks of client addresses.

use core::net::IpAddr;

use handfast_policy::IpAddress;

use crate::Refusal;

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    /// Bits that every address of the network has.
    mask: u128,
    is_ipv4: bool,
}

impl Network {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or one address.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, length.parse().ok()),
            None => (text, Some(128)),
        };
        let refused = |why: &str| Refusal::new(&["has \"", text, "\", which ", why]);
        let (Ok(address), Some(length)) = (address.parse::<IpAddr>(), length) else {
            return Err(refused("is no network: write 192.0.2.0/24, 2001:db8::/32 or one address"));
        };
        if address.to_canonical() != address {
            return Err(refused("is an IPv4 address in IPv6's form: write it as 192.0.2.0/24"));
        }
        // IPv4 is kept in the last 32 bits.
        let own_bits = if address.is_ipv4() { 32 } else { 128 };
        let length = if text.contains('/') { length } else { own_bits };
        if length > own_bits {
            return Err(refused("has a prefix longer than its address"));
        }
        let (first, is_ipv4) = bits(&address.into());
        let mask = mask(own_bits - length);
        if first & !mask != 0 {
            return Err(refused("has bits beyond its prefix: write the first address of the network"));
        }
        Ok(Self { first, mask, is_ipv4 })
    }

    /// Whether it is an address of the network.
    pub fn contains(&self, address: &IpAddress) -> bool {
        let (bits, is_ipv4) = bits(address);
        is_ipv4 == self.is_ipv4 && bits & self.mask == self.first
    }

    /// The first bytes of the network that an address belongs to, by the length of IPv4's or of IPv6's prefix.
    pub fn key(address: &IpAddress, ipv4_prefix: u32, ipv6_prefix: u32) -> [u8; 17] {
        let (bits, is_ipv4) = bits(address);
        let (family, rest) =
            if is_ipv4 { (4, 32 - ipv4_prefix.min(32)) } else { (6, 128 - ipv6_prefix.min(128)) };
        let mut key = [family; 17];
        if let Some(place) = key.last_chunk_mut::<16>() {
            *place = (bits & mask(rest)).to_be_bytes();
        }
        key
    }
}

/// Ones, but for the last bits.
fn mask(zeros: u32) -> u128 {
    u128::MAX.checked_shl(zeros).unwrap_or(0)
}

/// The bits of an address, and whether it is IPv4.
fn bits(address: &IpAddress) -> (u128, bool) {
    match IpAddr::from(*address) {
        IpAddr::V4(address) => (address.to_bits().into(), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_network_has_the_addresses_of_its_prefix_and_family() {
        for (network, inside, outside) in [
            (
                "192.0.2.0/24",
                &["192.0.2.0", "192.0.2.255"][..],
                &["192.0.3.0", "192.0.1.255", "::c000:200"][..],
            ),
            ("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"], &["192.0.2.6"]),
            ("0.0.0.0/0", &["192.0.2.7"], &["2001:db8::1"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "192.0.2.7"]),
            ("2001:db8::1", &["2001:db8::1"], &["2001:db8::2"]),
            ("::/0", &["::1"], &["127.0.0.1"]),
        ] {
            let parsed = Network::parse(network).unwrap();
            for text in inside {
                assert!(parsed.contains(&address(text)), "{network} {text}");
            }
            for text in outside {
                assert!(!parsed.contains(&address(text)), "{network} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", "is no network"),
            ("192.0.2.0/", "is no network"),
            ("192.0.2/24", "is no network"),
            ("shop.example", "is no network"),
            ("192.0.2.0/33", "longer than its address"),
            ("2001:db8::/129", "longer than its address"),
            ("192.0.2.1/24", "beyond its prefix"),
            ("2001:db8::1/64", "beyond its prefix"),
            ("::ffff:192.0.2.0/120", "IPv4 address in IPv6's form"),
        ] {
            let refusal = String::from(Network::parse(text).unwrap_err());
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn addresses_of_one_network_have_one_key() {
        let key = |text: &str| Network::key(&address(text), 24, 64);
        assert_eq!(key("192.0.2.1"), key("192.0.2.200"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("0.0.0.0"), key("::"));
        assert_eq!(Network::key(&address("1.2.3.4"), 0, 0), Network::key(&address("8.8.8.8"), 0, 0));
    }
}
