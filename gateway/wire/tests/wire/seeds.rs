//! The seeds of the fuzzers: each is a whole message, and one is known from an RFC.

use handfast_wire::{ClientHello, ProxyHeader};

fn decode(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u32> = hexadecimal.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// RFC 8448 section 3.
#[test]
fn the_hello_of_rfc_8448_is_read() {
    let bytes = decode(include_str!("../../fuzz/seeds/client_hello/rfc8448-simple.hex"));
    let hello = ClientHello::read(&bytes).unwrap().unwrap();
    assert_eq!(hello.server_name(), Some("server"));
    assert_eq!(hello.cipher_suites().collect::<Vec<_>>(), [0x1301, 0x1303, 0x1302]);
    assert_eq!(hello.protocol_versions().collect::<Vec<_>>(), [0x0304]);
    assert_eq!(hello.extensions().collect::<Vec<_>>(), [0, 0xff01, 10, 35, 51, 43, 13, 45, 28]);
    assert_eq!(hello.raw().len(), 196);
    assert!(!hello.offers_resumption());
    assert_eq!(hello.ja4().get(..10), Some("t13d030900"));
}

#[test]
fn every_seed_is_whole() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");
    let seeds = |target: &str| {
        std::fs::read_dir(format!("{directory}/{target}"))
            .unwrap()
            .map(|entry| decode(&std::fs::read_to_string(entry.unwrap().path()).unwrap()))
            .collect::<Vec<_>>()
    };
    for seed in seeds("client_hello") {
        assert!(ClientHello::read(&seed).unwrap().is_some());
    }
    for seed in seeds("proxy_header") {
        assert!(ProxyHeader::read(&seed).unwrap().is_some());
    }
}
