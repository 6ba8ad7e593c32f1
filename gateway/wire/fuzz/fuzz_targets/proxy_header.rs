//! Any bytes: no panic, one answer however they were cut, and nothing beyond the bounds.

#![no_main]

use std::hint::black_box;

use handfast_wire::ProxyHeader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let answer = ProxyHeader::read(bytes);
    // Where to cut follows from the bytes, so that a finding can be repeated.
    let cut = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let start = ProxyHeader::read(&bytes[..cut % (bytes.len() + 1)]);
    assert!(start == Ok(None) || start == answer, "{start:?} became {answer:?}");

    match answer {
        Ok(Some((header, consumed))) => {
            assert!(consumed <= bytes.len() && consumed <= ProxyHeader::MAX_LENGTH);
            assert_eq!(header.source.is_some(), header.destination.is_some());
            assert!(header.tlvs.len() <= ProxyHeader::MAX_TLVS);
            assert!(header.tlvs.iter().all(|(_, value)| value.len() <= ProxyHeader::MAX_TLV_LENGTH));
            // The header alone says the same as the header with what follows it.
            assert_eq!(ProxyHeader::read(&bytes[..consumed]), Ok(Some((header, consumed))));
        }
        Ok(None) => assert!(bytes.len() < ProxyHeader::MAX_LENGTH),
        Err(error) => {
            black_box(error.to_string());
        }
    }
});
