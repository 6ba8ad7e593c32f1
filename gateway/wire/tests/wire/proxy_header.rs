//! Which PROXY headers are read, and how the others are refused.

use handfast_wire::{ProxyHeader, ProxyHeaderError};

use crate::builder::vector16;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &vector16(rest)].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &vector16(value)[..]].concat()
}

const TCP4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];

fn read(bytes: &[u8]) -> ProxyHeader {
    let (header, consumed) = ProxyHeader::read(bytes).unwrap().unwrap();
    assert_eq!(consumed, bytes.len());
    header
}

fn refusal(bytes: &[u8]) -> ProxyHeaderError {
    ProxyHeader::read(bytes).unwrap_err()
}

#[test]
fn a_line_gives_the_addresses() {
    let header = read(b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
    assert_eq!(header.source, Some("192.0.2.1:56324".parse().unwrap()));
    assert_eq!(header.destination, Some("198.51.100.7:443".parse().unwrap()));

    let header = read(b"PROXY TCP6 2001:db8::1 ::ffff:198.51.100.7 0 65535\r\n");
    assert_eq!(header.source, Some("[2001:db8::1]:0".parse().unwrap()));
    assert_eq!(header.destination, Some("[::ffff:198.51.100.7]:65535".parse().unwrap()));
}

#[test]
fn an_unknown_line_gives_none_whatever_follows() {
    for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff 1 \r\n"] {
        assert_eq!(read(line.as_bytes()), ProxyHeader::default());
    }
}

#[test]
fn the_longest_line_has_107_bytes() {
    let line = |padding: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(padding)).into_bytes();
    assert_eq!(line(91).len(), 107);
    read(&line(91));
    assert_eq!(refusal(&line(92)), ProxyHeaderError::LineTooLong);
    assert_eq!(refusal(&line(300)), ProxyHeaderError::LineTooLong);
}

#[test]
fn a_line_has_one_form_only() {
    for line in [
        "PROXY\x20\r\n",
        "PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\r\r\n",
        "PROXY UNKNOWN \0\r\n",
    ] {
        assert_eq!(refusal(line.as_bytes()), ProxyHeaderError::MalformedLine, "{line:?}");
    }
}

#[test]
fn what_has_no_signature_is_refused_at_the_first_other_byte() {
    assert_eq!(ProxyHeader::read(b"P"), Ok(None));
    assert_eq!(refusal(b"PO"), ProxyHeaderError::Missing);
    assert_eq!(refusal(b"\x16"), ProxyHeaderError::Missing);
    assert_eq!(ProxyHeader::read(&SIGNATURE[..11]), Ok(None));
    assert_eq!(refusal(b"\r\n\r\n\r"), ProxyHeaderError::Missing);
}

#[test]
fn a_binary_header_gives_the_addresses_and_fields() {
    let rest = [&TCP4[..], &tlv(0x02, b"a.example"), &tlv(0xea, b"\x01vpce-1"), &tlv(0x04, b"pad")].concat();
    let header = read(&binary(0x21, 0x11, &rest));
    assert_eq!(header.source, Some("192.0.2.1:56324".parse().unwrap()));
    assert_eq!(header.destination, Some("198.51.100.7:443".parse().unwrap()));
    assert_eq!(header.tlvs, [(0x02, b"a.example".to_vec()), (0xea, b"\x01vpce-1".to_vec())]);

    let mut rest = vec![0; 36];
    rest[15] = 1;
    rest[35] = 9;
    let header = read(&binary(0x21, 0x21, &rest));
    assert_eq!(header.source, Some("[::1]:0".parse().unwrap()));
    assert_eq!(header.destination, Some("[::]:9".parse().unwrap()));
}

#[test]
fn what_follows_the_header_is_left_for_the_next_reader() {
    let header = binary(0x21, 0x11, &TCP4);
    let bytes = [&header[..], b"\x16\x03\x01"].concat();
    assert_eq!(ProxyHeader::read(&bytes).unwrap().unwrap().1, header.len());
}

#[test]
fn a_local_header_is_discarded_whole() {
    assert_eq!(read(&binary(0x20, 0x00, &[])), ProxyHeader::default());
    assert_eq!(read(&binary(0x20, 0x77, b"\xff\xff\xff\xff")), ProxyHeader::default());
}

#[test]
fn kinds_without_ip_addresses_give_fields_only() {
    for (family, addresses) in [(0x00, 0), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        let rest = [&vec![7; addresses][..], &tlv(0x05, b"id")].concat();
        let header = read(&binary(0x21, family, &rest));
        assert_eq!((header.source, header.destination), (None, None));
        assert_eq!(header.tlvs, [(0x05, b"id".to_vec())]);
    }
}

#[test]
fn a_binary_header_is_judged_byte_by_byte() {
    let start = |bytes: &[u8]| refusal(&[SIGNATURE, bytes].concat());
    assert_eq!(start(&[0x11]), ProxyHeaderError::VersionOrCommand(0x11));
    assert_eq!(start(&[0x22]), ProxyHeaderError::VersionOrCommand(0x22));
    for family in [0x01, 0x10, 0x13, 0x41, 0xff] {
        assert_eq!(start(&[0x21, family]), ProxyHeaderError::Family(family));
    }
    assert_eq!(start(&[0x21, 0x11, 0x3f, 0xf1]), ProxyHeaderError::TooLong(16_369));
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    assert_eq!(refusal(&binary(0x21, 0x11, &TCP4[..11])), ProxyHeaderError::AddressesCut);
    assert_eq!(refusal(&binary(0x21, 0x31, &[0; 215])), ProxyHeaderError::AddressesCut);
    for cut in [&[1][..], &[1, 0], &[1, 0, 1]] {
        assert_eq!(refusal(&binary(0x21, 0x00, cut)), ProxyHeaderError::TlvCut);
    }
}

#[test]
fn the_number_and_length_of_fields_are_bounded() {
    assert_eq!(read(&binary(0x21, 0x00, &tlv(0xe0, b"x").repeat(64))).tlvs.len(), 64);
    assert_eq!(refusal(&binary(0x21, 0x00, &tlv(0xe0, b"x").repeat(65))), ProxyHeaderError::TooManyTlvs);
    assert_eq!(read(&binary(0x21, 0x00, &tlv(0xe0, &[0; 4_096]))).tlvs.len(), 1);
    let error = ProxyHeaderError::TlvTooLong { kind: 0xe0, length: 4_097 };
    assert_eq!(refusal(&binary(0x21, 0x00, &tlv(0xe0, &[0; 4_097]))), error);
}

/// A header with a checksum, made here with a table-driven CRC so that the two ways to compute it check each other.
#[test]
fn a_checksum_is_verified() {
    fn crc32c(bytes: &[u8]) -> u32 {
        let entry = |index: u32| {
            (0..8).fold(index, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
        };
        let table: Vec<u32> = (0..256).map(entry).collect();
        !bytes.iter().fold(!0, |crc, byte| table[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ crc >> 8)
    }

    let rest = [&TCP4[..], &tlv(0x03, &[0; 4]), &tlv(0x02, b"a.example")].concat();
    let mut header = binary(0x21, 0x11, &rest);
    let checksum = crc32c(&header).to_be_bytes();
    header[31..35].copy_from_slice(&checksum);
    assert_eq!(read(&header).tlvs[0], (0x03, checksum.to_vec()));

    for damaged in [16, 31, header.len() - 1] {
        let mut header = header.clone();
        header[damaged] ^= 1;
        assert_eq!(refusal(&header), ProxyHeaderError::Checksum);
    }
    assert_eq!(refusal(&binary(0x21, 0x00, &tlv(0x03, &[0; 3]))), ProxyHeaderError::Checksum);
}
