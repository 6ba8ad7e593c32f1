//! Any bytes: no panic, one answer however they were cut, and a hello that reads the same out of one record.

#![no_main]

use std::hint::black_box;

use handfast_wire::ClientHello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let answer = ClientHello::read(bytes);
    // Where to cut follows from the bytes, so that a finding can be repeated.
    let cut = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let start = ClientHello::read(&bytes[..cut % (bytes.len() + 1)]);
    assert!(start == Ok(None) || start == answer, "{start:?} became {answer:?}");

    match answer {
        Ok(Some(hello)) => {
            assert_eq!(hello.ja3().len(), 32);
            assert_eq!(hello.ja4().len(), 36);
            let name = hello.server_name().unwrap_or("none");
            assert!(
                !name.is_empty()
                    && name.len() <= 253
                    && !name.contains(|byte: char| byte.is_ascii_uppercase())
            );
            assert!(hello.alpn().all(|protocol| !protocol.is_empty()));
            assert!(hello.cipher_suites().len() > 0 && hello.protocol_versions().len() > 0);
            black_box((
                hello.signature_schemes().len(),
                hello.named_groups().len(),
                hello.extensions().count(),
            ));

            if let Ok(length @ 1..=16_384) = u16::try_from(hello.raw().len()) {
                let record = [&[22, 3, 3], &length.to_be_bytes()[..], hello.raw()].concat();
                assert_eq!(ClientHello::read(&record), Ok(Some(hello)));
            }
        }
        Ok(None) => assert!(bytes.len() < ClientHello::MAX_BUFFER),
        Err(error) => {
            black_box((error.to_string(), error.alert()));
        }
    }
});
