//! The JA3 and JA4 fingerprints of a ClientHello.
//!
//! JA3 is the MD5 of the lists as they were sent, and so differs for each connection of a browser that shuffles its
//! extensions. JA4 is what took its place: sorted lists, SHA-256, and a part that people can read. Both follow their
//! authors' descriptions (salesforce/ja3, FoxIO-LLC/ja4 `technical_details/JA4.md`) and are tested against the
//! examples published there. Neither is an identity: a client can send what it likes.

use md5::{Digest, Md5};
use sha2::Sha256;

use super::ClientHello;

/// Whether a code point is one of those reserved to keep servers tolerant (RFC 8701): 0x0a0a, 0x1a1a to 0xfafa.
pub const fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

pub(super) fn ja3(hello: &ClientHello) -> String {
    let mut text = String::with_capacity(512);
    push_decimals(&mut text, std::iter::once(hello.legacy_version()));
    text.push(',');
    push_decimals(&mut text, hello.cipher_suites());
    text.push(',');
    push_decimals(&mut text, hello.extensions());
    text.push(',');
    push_decimals(&mut text, hello.named_groups());
    text.push(',');
    push_decimals(&mut text, hello.point_formats().iter().map(|format| u16::from(*format)));
    hexadecimal(&Md5::digest(text))
}

pub(super) fn ja4(hello: &ClientHello) -> String {
    let mut ciphers: Vec<u16> = hello.cipher_suites().filter(|cipher| !is_grease(*cipher)).collect();
    let mut extensions: Vec<u16> = hello.extensions().filter(|extension| !is_grease(*extension)).collect();

    let mut text = String::with_capacity(36);
    text.push('t');
    text.push_str(version(hello));
    text.push(if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' });
    push_count(&mut text, ciphers.len());
    push_count(&mut text, extensions.len());
    text.extend(alpn(hello));

    ciphers.sort_unstable();
    text.push('_');
    text.push_str(&truncated_hash(&code_points(ciphers.into_iter())));

    extensions.retain(|extension| !matches!(*extension, SERVER_NAME | ALPN));
    extensions.sort_unstable();
    let mut list = code_points(extensions.into_iter());
    let schemes = code_points(hello.signature_schemes().filter(|scheme| !is_grease(*scheme)));
    if !schemes.is_empty() {
        list.push('_');
        list.push_str(&schemes);
    }
    text.push('_');
    text.push_str(&truncated_hash(&list));
    text
}

const SERVER_NAME: u16 = 0x0000;
const ALPN: u16 = 0x0010;

fn version(hello: &ClientHello) -> &'static str {
    match hello.protocol_versions().filter(|version| !is_grease(*version)).max() {
        Some(0x0304) => "13",
        Some(0x0303) => "12",
        Some(0x0302) => "11",
        Some(0x0301) => "10",
        Some(0x0300) => "s3",
        Some(0x0002) => "s2",
        Some(0xfeff) => "d1",
        Some(0xfefd) => "d2",
        Some(0xfefc) => "d3",
        _ => "00",
    }
}

/// Two decimal digits; more than 99 count as 99.
fn push_count(text: &mut String, count: usize) {
    let count = u8::try_from(count).unwrap_or(u8::MAX).min(99);
    text.extend([char::from(b'0'.saturating_add(count / 10)), char::from(b'0'.saturating_add(count % 10))]);
}

/// The first and last character of the first protocol, or of its hexadecimal form where either is not alphanumeric.
fn alpn(hello: &ClientHello) -> [char; 2] {
    match hello.alpn().next() {
        Some([first, .., last]) => alpn_pair(*first, *last),
        Some([only]) => alpn_pair(*only, *only),
        _ => ['0', '0'],
    }
}

fn alpn_pair(first: u8, last: u8) -> [char; 2] {
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [char::from(first), char::from(last)]
    } else {
        [digit(first >> 4), digit(last)]
    }
}

/// `1301,1302`: four hexadecimal digits each.
fn code_points(values: impl Iterator<Item = u16>) -> String {
    let mut text = String::with_capacity(values.size_hint().1.unwrap_or_default().saturating_mul(5));
    for value in values {
        if !text.is_empty() {
            text.push(',');
        }
        let [high, low] = value.to_be_bytes();
        text.extend([digit(high >> 4), digit(high), digit(low >> 4), digit(low)]);
    }
    text
}

/// The first 12 digits of the SHA-256; zeros, as the description wants, for nothing.
fn truncated_hash(list: &str) -> String {
    if list.is_empty() {
        return "000000000000".to_owned();
    }
    let hash: [u8; 32] = Sha256::digest(list).into();
    let (start, _) = hash.split_at_checked(6).unwrap_or_default();
    hexadecimal(start)
}

/// `4865-4866`, without GREASE.
fn push_decimals(text: &mut String, values: impl Iterator<Item = u16>) {
    for (position, value) in values.filter(|value| !is_grease(*value)).enumerate() {
        if position > 0 {
            text.push('-');
        }
        text.push_str(&value.to_string());
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The hexadecimal digit of the lower four bits.
fn digit(value: u8) -> char {
    char::from_digit(u32::from(value & 0x0f), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixteen_reserved_values_are_grease() {
        let grease: Vec<u16> = (0..=u16::MAX).filter(|value| is_grease(*value)).collect();
        assert_eq!(grease.len(), 16);
        assert_eq!((grease.first(), grease.last()), (Some(&0x0a0a), Some(&0xfafa)));
    }

    /// The examples of JA4.md, "ALPN Extension Value".
    #[test]
    fn an_alpn_that_is_not_alphanumeric_shows_as_hexadecimal() {
        assert_eq!(alpn_pair(b'h', b'2'), ['h', '2']);
        assert_eq!(alpn_pair(0xab, 0xab), ['a', 'b']);
        assert_eq!(alpn_pair(0xab, 0xcd), ['a', 'd']);
        assert_eq!(alpn_pair(0x30, 0xab), ['3', 'b']);
        assert_eq!(alpn_pair(0x30, 0xcd), ['3', 'd']);
        assert_eq!(alpn_pair(0x30, 0x31), ['0', '1']);
    }

    #[test]
    fn counts_have_two_digits_and_end_at_99() {
        let shown = |count| {
            let mut text = String::new();
            push_count(&mut text, count);
            text
        };
        assert_eq!(
            [shown(0), shown(6), shown(15), shown(99), shown(100), shown(1000)],
            ["00", "06", "15", "99", "99", "99"]
        );
    }

    /// The example of JA4.md, "Extension hash", of a hello without signature algorithms.
    #[test]
    fn without_signature_algorithms_the_list_has_no_underscore() {
        let list = "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01";
        assert_eq!(truncated_hash(list), "6d807ffa2a79");
        assert_eq!(truncated_hash(""), "000000000000");
    }
}
