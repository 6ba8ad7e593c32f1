//! What holds for all bytes: no panic, one answer however they were cut, and what was written is what is read.

use std::net::{IpAddr, SocketAddr};

use handfast_wire::{ClientHello, ProxyHeader};
use proptest::{collection::vec, option, prelude::*, sample::Index};

use crate::builder::{self, Hello};

/// Asks for every prefix, as if the bytes had dripped in: before the first answer nothing but "more", after it the
/// same answer always.
fn assert_one_answer<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<Option<T>, String>,
) {
    let whole = read(bytes);
    let mut answered = false;
    for length in 0..bytes.len() {
        let answer = read(&bytes[..length]);
        answered |= answer != Ok(None);
        if answered {
            assert_eq!(answer, whole, "at {length} of {} bytes", bytes.len());
        }
    }
}

fn read_hello(bytes: &[u8]) -> Result<Option<ClientHello>, String> {
    let answer = ClientHello::read(bytes);
    if let Ok(Some(hello)) = &answer {
        assert_eq!(hello.ja4().len(), 36);
        assert_eq!(hello.ja3().len(), 32);
        assert!(hello.extensions().count() <= hello.raw().len() / 4);
    }
    answer.map_err(|error| format!("{error:?}"))
}

fn read_proxy_header(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, String> {
    ProxyHeader::read(bytes).map_err(|error| format!("{error:?}"))
}

/// Code points of a few kinds, so that GREASE and those with a meaning come up.
fn code_point() -> impl Strategy<Value = u16> {
    prop_oneof![0_u16..64, Just(0x0a0a), Just(0x0304), any::<u16>()]
}

fn host_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,20}[a-zA-Z0-9_])?(\\.[a-z]([a-z0-9-]{0,10}[a-z])?){1,4}"
}

#[derive(Clone, Debug)]
struct Offer {
    name: Option<String>,
    protocols: Vec<Vec<u8>>,
    versions: Vec<u16>,
    schemes: Vec<u16>,
    groups: Vec<u16>,
    others: std::collections::BTreeMap<u16, Vec<u8>>,
    ciphers: Vec<u16>,
    session_id: Vec<u8>,
}

prop_compose! {
    fn offer()(
        name in option::of(host_name()),
        protocols in vec(vec(any::<u8>(), 1..20), 0..4),
        versions in vec(code_point(), 0..5),
        schemes in vec(code_point(), 0..20),
        groups in vec(code_point(), 0..10),
        others in proptest::collection::btree_map(44_u16.., vec(any::<u8>(), 0..40), 0..20),
        ciphers in vec(code_point(), 1..100),
        session_id in vec(any::<u8>(), 0..=32),
    ) -> Offer {
        Offer { name, protocols, versions, schemes, groups, others, ciphers, session_id }
    }
}

impl Offer {
    fn hello(&self) -> Hello {
        let mut extensions: Vec<_> = self.others.clone().into_iter().collect();
        extensions.extend(self.name.as_deref().map(builder::server_name));
        let protocols: Vec<&[u8]> = self.protocols.iter().map(Vec::as_slice).collect();
        extensions.extend((!protocols.is_empty()).then(|| builder::alpn(&protocols)));
        extensions.extend((!self.versions.is_empty()).then(|| builder::supported_versions(&self.versions)));
        extensions.extend((!self.schemes.is_empty()).then(|| builder::signature_algorithms(&self.schemes)));
        extensions.extend((!self.groups.is_empty()).then(|| builder::supported_groups(&self.groups)));
        Hello {
            session_id: self.session_id.clone(),
            cipher_suites: self.ciphers.clone(),
            extensions: Some(extensions),
            ..Hello::modern()
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_have_one_answer(bytes in vec(any::<u8>(), 0..300)) {
        assert_one_answer(&bytes, read_hello);
        assert_one_answer(&bytes, read_proxy_header);
    }

    #[test]
    fn any_bytes_in_records_have_one_answer(
        body in vec(any::<u8>(), 0..300),
        more in vec(any::<u8>(), 0..10),
        fragment in 1_usize..300,
    ) {
        let bytes = [builder::handshake(1, &body), more].concat();
        assert_one_answer(&builder::records(&bytes, fragment), read_hello);
    }

    #[test]
    fn a_damaged_hello_has_one_answer(
        offer in offer(),
        fragment in 1_usize..600,
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = offer.hello().records(fragment);
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        assert_one_answer(&bytes, read_hello);
    }

    #[test]
    fn what_a_client_offers_is_what_is_read(offer in offer(), fragment in 6_usize..600) {
        let sent = offer.hello();
        let bytes = sent.records(fragment);
        let hello = ClientHello::read(&bytes).unwrap().unwrap();

        prop_assert_eq!(hello.raw(), sent.message());
        prop_assert_eq!(hello.server_name().map(str::to_owned), offer.name.map(|name| name.to_ascii_lowercase()));
        prop_assert_eq!(hello.alpn().collect::<Vec<_>>(), offer.protocols);
        prop_assert_eq!(hello.cipher_suites().collect::<Vec<_>>(), offer.ciphers);
        prop_assert_eq!(hello.signature_schemes().collect::<Vec<_>>(), offer.schemes);
        prop_assert_eq!(hello.named_groups().collect::<Vec<_>>(), offer.groups);
        let versions = if offer.versions.is_empty() { vec![0x0303] } else { offer.versions };
        prop_assert_eq!(hello.protocol_versions().collect::<Vec<_>>(), versions);
        let extensions: Vec<u16> = sent.extensions.iter().flatten().map(|(kind, _)| *kind).collect();
        prop_assert_eq!(hello.extensions().collect::<Vec<_>>(), extensions);
        for length in 0..bytes.len() {
            prop_assert_eq!(ClientHello::read(&bytes[..length]), Ok(None));
        }
    }

    #[test]
    fn any_line_has_one_answer(line in "PROXY (TCP4|TCP6|UNKNOWN)?[ 0-9a-f.:]{0,110}(\r\n|\n|\r)?[a-z]{0,3}") {
        assert_one_answer(line.as_bytes(), read_proxy_header);
    }

    #[test]
    fn a_line_is_read_as_it_was_written(
        (source, destination) in prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(source, destination)| (IpAddr::from(source), IpAddr::from(destination))),
            any::<([u8; 16], [u8; 16])>().prop_map(|(source, destination)| (IpAddr::from(source), IpAddr::from(destination))),
        ],
        ports in any::<(u16, u16)>(),
    ) {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {family} {source} {destination} {} {}\r\n", ports.0, ports.1);
        let (header, consumed) = ProxyHeader::read(line.as_bytes()).unwrap().unwrap();
        prop_assert_eq!(consumed, line.len());
        prop_assert_eq!(header.source, Some(SocketAddr::new(source, ports.0)));
        prop_assert_eq!(header.destination, Some(SocketAddr::new(destination, ports.1)));
        assert_one_answer(line.as_bytes(), read_proxy_header);
    }

    #[test]
    fn any_binary_header_has_one_answer(
        command in prop_oneof![Just(0x21_u8), any::<u8>()],
        family in prop_oneof![Just(0_u8), Just(0x11), Just(0x21), Just(0x31), any::<u8>()],
        addresses in vec(any::<u8>(), 0..40),
        fields in vec((prop_oneof![Just(3_u8), Just(4), any::<u8>()], vec(any::<u8>(), 0..20)), 0..10),
    ) {
        let fields = fields.iter().flat_map(|(kind, value)| [&[*kind], &builder::vector16(value)[..]].concat());
        let rest: Vec<u8> = addresses.into_iter().chain(fields).collect();
        let bytes = [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &builder::vector16(&rest)].concat();
        assert_one_answer(&bytes, read_proxy_header);
    }
}
