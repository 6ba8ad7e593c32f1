//! Which addresses a name may lead to.
//!
//! Who decides what a listed name resolves to is whoever runs its zone, and not the operator: without this a record that
//! points inwards would let a policy ask the machine itself, its network, or the cloud's metadata service, in the gateway's
//! name. An address that stands in the list itself is the operator's word, and is not judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a name may lead there. `private`: also to this machine and to private networks.
pub(super) fn is_permitted(address: IpAddr, private: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_permitted_v4(address, private),
        IpAddr::V6(address) => is_permitted_v6(address, private),
    }
}

fn is_permitted_v4(address: Ipv4Addr, private: bool) -> bool {
    let [a, b, c, _] = address.octets();
    if CLOUDS.contains(&address) {
        return false;
    }
    match (a, b, c) {
        // This network; link-local, where clouds keep their metadata; benchmarks, documentation and protocol assignments;
        // multicast and what is reserved (RFC 6890, RFC 5737).
        (0, ..) | (169, 254, _) | (198, 18..=19, _) => false,
        (192, 0, 0 | 2) | (198, 51, 100) | (203, 0, 113) | (192, 88, 99) | (224.., ..) => false,
        (127 | 10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => private,
        _ => true,
    }
}

fn is_permitted_v6(address: Ipv6Addr, private: bool) -> bool {
    let v4 = |high: u16, low: u16| {
        is_permitted_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)), private)
    };
    if CLOUDS_V6.contains(&address) {
        return false;
    }
    match address.segments() {
        // Amazon's own: metadata, credentials of pods, time and names.
        [0xfd00, 0xec2, ..] => false,
        [0, 0, 0, 0, 0, 0, 0, 0] => false,
        [0, 0, 0, 0, 0, 0, 0, 1] => private,
        // With an IPv4 address in it: NAT64 (RFC 6052), 6to4 (RFC 3056), and the deprecated compatible form.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [first, second, ..] => match first {
            // Unique local (RFC 4193).
            0xfc00..=0xfdff => private,
            // The local NAT64 prefix (RFC 8215), Teredo, ORCHID and documentation; then only what is allocated as global
            // unicast, which leaves out link-local, site-local and multicast.
            0x64 => false,
            0x2001 => !matches!(second, 0 | 0x10..=0x3f | 0xdb8),
            0x3fff => false,
            0x2000..=0x3ffe => true,
            _ => false,
        },
    }
}

/// Where clouds answer questions about the machine outside of the link-local range: Alibaba, Azure.
const CLOUDS: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
/// The same over IPv6: Google, Oracle, Scaleway, Akamai, Alibaba.
const CLOUDS_V6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200),
];

#[cfg(test)]
mod tests {
    use super::is_permitted;

    #[test]
    fn names_lead_to_public_addresses_and_to_private_ones_only_if_they_may() {
        for address in ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            let address = address.parse().unwrap();
            assert!(is_permitted(address, false) && is_permitted(address, true), "{address}");
        }
        for address in [
            "127.0.0.1",
            "127.8.9.10",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:a00:1::1",
            "::7f00:2",
        ] {
            let address = address.parse().unwrap();
            assert!(!is_permitted(address, false) && is_permitted(address, true), "{address}");
        }
        for address in [
            "0.0.0.0",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "64:ff9b:1::1",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fd00:a9fe:a9fe::1",
            "fd00:100::100:200",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "100::1",
        ] {
            let address = address.parse().unwrap();
            assert!(!is_permitted(address, false) && !is_permitted(address, true), "{address}");
        }
    }
}
