//! Which ClientHellos are read, what is read out of them, and how the others are refused.

use handfast_wire::{AlertDescription, ClientHello, ClientHelloError, ServerNameError};

use crate::builder::{
    self, Hello, alpn, server_name, signature_algorithms, supported_versions, vector8, vector16,
};

#[test]
fn every_field_is_read_as_it_was_sent() {
    let hello = Hello::modern().read().unwrap();

    assert_eq!(hello.server_name(), Some("www.example.com"));
    assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.protocol_versions().collect::<Vec<_>>(), [0x0304, 0x0303]);
    assert_eq!(hello.cipher_suites().collect::<Vec<_>>(), [0x1301, 0x1302, 0x1303]);
    assert_eq!(hello.signature_schemes().collect::<Vec<_>>(), [0x0403, 0x0804]);
    assert_eq!(hello.named_groups().collect::<Vec<_>>(), [0x11ec, 0x001d, 0x0017]);
    assert_eq!(hello.extensions().collect::<Vec<_>>(), [0, 10, 13, 16, 43]);
    assert_eq!(hello.raw(), Hello::modern().message());
}

#[test]
fn grease_stays_in_the_lists() {
    let mut hello = Hello::modern().with((0xfafa, vec![0]));
    hello.cipher_suites.insert(0, 0x0a0a);
    let hello = hello.read().unwrap();
    assert_eq!(hello.cipher_suites().next(), Some(0x0a0a));
    assert_eq!(hello.extensions().last(), Some(0xfafa));
}

#[test]
fn a_hello_without_extensions_has_its_one_legacy_version() {
    let hello = Hello::old().read().unwrap();
    assert_eq!(hello.server_name(), None);
    assert_eq!(hello.protocol_versions().collect::<Vec<_>>(), [0x0303]);
    assert_eq!(hello.alpn().count() + hello.extensions().count() + hello.signature_schemes().count(), 0);
}

#[test]
fn a_message_in_many_records_is_joined() {
    let whole = Hello::modern().read().unwrap();
    for fragment in [1, 2, 3, 4, 5, 6, 100, 191] {
        assert_eq!(
            ClientHello::read(&Hello::modern().records(fragment)),
            Ok(Some(whole.clone())),
            "{fragment}"
        );
    }
}

#[test]
fn bytes_after_the_message_are_ignored() {
    let mut bytes = Hello::modern().records(16_384);
    bytes.extend(b"\x14\x03\x03\x00\x01\x01 and early data");
    assert_eq!(ClientHello::read(&bytes), Ok(Some(Hello::modern().read().unwrap())));
}

#[test]
fn resumption_is_offered_by_a_psk_a_ticket_or_below_tls_1_3_a_session_id() {
    let offers = |hello: Hello| hello.read().unwrap().offers_resumption();

    assert!(!offers(Hello::modern()), "a session id in a TLS 1.3 hello is for middleboxes");
    assert!(offers(Hello::modern().with((41, vec![1]))));
    assert!(!offers(Hello::modern().with((35, vec![]))), "an empty ticket asks for one");
    assert!(offers(Hello::modern().with((35, vec![1]))));
    assert!(!offers(Hello::old()));
    assert!(offers(Hello { session_id: vec![1], ..Hello::old() }));
    assert!(offers(Hello { session_id: vec![1], ..Hello::old() }.with(supported_versions(&[0x0303]))));
}

#[test]
fn what_is_not_tls_is_refused_at_its_first_bytes() {
    for (bytes, error) in [
        (&b"GET "[..], ClientHelloError::PlainHttp),
        (b"POST /login HTTP/1.1\r\n", ClientHelloError::PlainHttp),
        (b"PRI * HTTP/2.0\r\n", ClientHelloError::PlainHttp),
        (b"SSH-2.0-x", ClientHelloError::NotTls),
        (b"GEX", ClientHelloError::NotTls),
        (b"\0", ClientHelloError::NotTls),
        (b"\x16\x02", ClientHelloError::NotTls),
        (b"\x15\x00", ClientHelloError::NotTls),
    ] {
        assert_eq!(ClientHello::read(bytes), Err(error));
        assert_eq!(error.alert(), None);
        assert_eq!(
            ClientHello::read(&bytes[..bytes.len().min(4) - 1]).is_err(),
            bytes[0] == b'S',
            "{bytes:?}"
        );
    }
}

#[test]
fn other_records_and_messages_are_refused_at_the_byte_that_shows_them() {
    for (bytes, error, alert) in [
        (&[21, 3][..], ClientHelloError::UnexpectedRecord(21), AlertDescription::UNEXPECTED_MESSAGE),
        (&[22, 3, 1, 0, 0], ClientHelloError::EmptyRecord, AlertDescription::UNEXPECTED_MESSAGE),
        (&[22, 3, 1, 0x40, 1], ClientHelloError::RecordOverflow(16_385), AlertDescription::RECORD_OVERFLOW),
        (&[22, 3, 1, 0, 9, 2], ClientHelloError::UnexpectedMessage(2), AlertDescription::UNEXPECTED_MESSAGE),
        (
            &[22, 3, 1, 0, 9, 1, 0, 0xff, 0xfd],
            ClientHelloError::MessageTooLong(65_533),
            AlertDescription::DECODE_ERROR,
        ),
        (
            &[22, 3, 1, 0, 9, 1, 0, 1, 0, 2, 0],
            ClientHelloError::ProtocolVersion(0x0200),
            AlertDescription::PROTOCOL_VERSION,
        ),
        (
            &[22, 3, 1, 0, 1, 1, 23],
            ClientHelloError::UnexpectedRecord(23),
            AlertDescription::UNEXPECTED_MESSAGE,
        ),
        (&[22, 3, 1, 0, 1, 1, 22, 4], ClientHelloError::RecordVersion(4), AlertDescription::PROTOCOL_VERSION),
        (&[0x80, 0x2e, 1, 3], ClientHelloError::Ssl2, AlertDescription::PROTOCOL_VERSION),
        (&[0x80, 0x2e, 1, 0], ClientHelloError::Ssl2, AlertDescription::PROTOCOL_VERSION),
    ] {
        assert_eq!(ClientHello::read(bytes), Err(error));
        assert_eq!(error.alert(), Some(alert));
        assert_eq!(ClientHello::read(&bytes[..bytes.len() - 1]), Ok(None), "{error}: not a byte earlier");
    }
}

/// A fuzzer found that the byte after a message of one byte was taken for its version, if it was there already.
#[test]
fn a_message_shorter_than_any_hello_is_refused_at_its_header() {
    let error = Err(ClientHelloError::Malformed { field: "ClientHello" });
    assert_eq!(ClientHello::read(&[22, 3, 1, 0, 6, 1, 0, 0, 1]), error);
    assert_eq!(ClientHello::read(&[22, 3, 1, 0, 6, 1, 0, 0, 1, 2, 0]), error);
    assert_eq!(ClientHello::read(&[22, 3, 1, 0, 6, 1, 0, 0, 40]), error);
    assert_eq!(ClientHello::read(&[22, 3, 1, 0, 6, 1, 0, 0, 41]), Ok(None));
}

#[test]
fn a_client_that_offers_only_ssl_3_is_refused() {
    let ssl3 = Hello { legacy_version: 0x0300, ..Hello::old() };
    assert_eq!(ssl3.read(), Err(ClientHelloError::ProtocolVersion(0x0300)));
    assert!(ssl3.with(supported_versions(&[0x0304])).read().is_ok());
}

#[test]
fn a_message_of_exactly_the_limit_is_read() {
    let mut hello = Hello::modern();
    let padding = ClientHello::MAX_MESSAGE - hello.message().len() - 4;
    hello = hello.with((21, vec![0; padding]));
    assert_eq!(hello.message().len(), ClientHello::MAX_MESSAGE);
    assert_eq!(hello.read().unwrap().raw(), hello.message());
}

#[test]
fn the_number_of_records_is_bounded() {
    let mut hello = Hello::modern();
    let padding = ClientHello::MAX_RECORDS - hello.message().len() - 4;
    hello = hello.with((21, vec![0; padding]));
    assert!(ClientHello::read(&hello.records(1)).unwrap().is_some());

    let (_, body) = hello.extensions.as_mut().unwrap().last_mut().unwrap();
    body.push(0);
    assert_eq!(ClientHello::read(&hello.records(1)), Err(ClientHelloError::TooManyRecords));
}

#[test]
fn a_full_buffer_is_always_decided() {
    // The most bytes that can be short of one message: 1,023 records of one byte, then a long one.
    let message = builder::handshake(1, &[&[3, 3][..], &vec![0; ClientHello::MAX_MESSAGE - 6]].concat());
    let (start, rest) = message.split_at(ClientHello::MAX_RECORDS - 4);
    let bytes = [builder::records(start, 1), builder::records(rest, 16_384)].concat();
    assert_eq!(bytes.len(), ClientHello::MAX_BUFFER);
    assert_eq!(ClientHello::read(&bytes[..bytes.len() - 1]), Ok(None));
    assert!(ClientHello::read(&bytes).is_err());
}

#[test]
fn a_repeated_extension_is_refused() {
    for kind in [13, 35, 127, 128, 0xff01, 0x0a0a] {
        let hello =
            Hello::old().with((kind, vec![0, 2, 4, 3])).with((21, vec![])).with((kind, vec![0, 2, 4, 3]));
        let error = ClientHelloError::DuplicateExtension(kind);
        assert_eq!(hello.read(), Err(error));
        assert_eq!(error.alert(), Some(AlertDescription::ILLEGAL_PARAMETER));
    }
}

#[test]
fn all_extension_types_that_a_message_has_room_for_are_told_apart() {
    let unread =
        (0..u16::MAX).filter(|kind| ![0, 10, 11, 13, 16, 43].contains(kind) && *kind != 41).take(16_000);
    let mut hello = Hello::old();
    hello.extensions = Some(unread.map(|kind| (kind, vec![])).collect());
    assert_eq!(hello.read().unwrap().extensions().count(), 16_000);
}

#[test]
fn a_psk_has_to_come_last() {
    let hello = Hello::modern().with((41, vec![1])).with((21, vec![]));
    assert_eq!(hello.read(), Err(ClientHelloError::PreSharedKeyNotLast));
}

#[test]
fn compression_is_refused_where_it_can_be_no_longer_declined() {
    let methods =
        |hello: Hello, methods: &[u8]| Hello { compression_methods: methods.into(), ..hello }.read();
    assert!(methods(Hello::old(), &[1, 0]).is_ok());
    assert_eq!(methods(Hello::old(), &[1]), Err(ClientHelloError::CompressionMethods));
    assert_eq!(methods(Hello::modern(), &[1, 0]), Err(ClientHelloError::CompressionMethods));
    assert_eq!(methods(Hello::modern(), &[0, 0]), Err(ClientHelloError::CompressionMethods));
    let field = "legacy_compression_methods";
    assert_eq!(methods(Hello::old().with((21, vec![])), &[]), Err(ClientHelloError::Malformed { field }));
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    let name = |list: &[u8]| Hello::old().with((0, list.to_vec()));
    for (hello, field) in [
        (Hello { session_id: vec![0; 33], ..Hello::old() }, "legacy_session_id"),
        (Hello { cipher_suites: vec![], ..Hello::modern() }, "cipher_suites"),
        (Hello::old().with(supported_versions(&[])), "supported_versions"),
        (Hello::old().with((43, vec![3, 3, 4, 3])), "supported_versions"),
        (Hello::old().with((43, vec![2, 3, 4, 0])), "supported_versions"),
        (Hello::old().with(signature_algorithms(&[])), "signature_algorithms"),
        (Hello::old().with((10, vec![0, 2, 0])), "supported_groups"),
        (Hello::old().with((11, vec![0])), "ec_point_formats"),
        (Hello::old().with(alpn(&[])), "application_layer_protocol_negotiation"),
        (Hello::old().with(alpn(&[b"h2", b""])), "application_layer_protocol_negotiation"),
        (name(&[]), "server_name"),
        (name(&vector16(&[])), "server_name"),
        (name(&vector16(&[0, 0, 9, b'a'])), "server_name"),
        (name(&[&vector16(&[0, 0, 1, b'a'])[..], b"x"].concat()), "server_name"),
    ] {
        let error = ClientHelloError::Malformed { field };
        assert_eq!(hello.read(), Err(error));
        assert_eq!(error.alert(), Some(AlertDescription::DECODE_ERROR));
    }
}

#[test]
fn bytes_after_the_extensions_are_refused() {
    for trailing in [&[0][..], &[0, 0]] {
        let body = [&Hello::modern().message()[4..], trailing].concat();
        let bytes = builder::records(&builder::handshake(1, &body), 16_384);
        assert_eq!(ClientHello::read(&bytes), Err(ClientHelloError::Malformed { field: "extensions" }));
    }
}

#[test]
fn a_server_name_that_is_no_dns_name_is_refused() {
    let error = ClientHelloError::ServerName(ServerNameError::IpAddress);
    assert_eq!(Hello::old().with(server_name("192.0.2.1")).read(), Err(error));
    assert_eq!(error.alert(), Some(AlertDescription::UNRECOGNIZED_NAME));

    let error = ClientHelloError::ServerName(ServerNameError::Byte(0));
    assert_eq!(Hello::old().with(server_name("a.example\0")).read(), Err(error));
    assert_eq!(error.alert(), Some(AlertDescription::ILLEGAL_PARAMETER));

    let (_, one) = server_name("a.example");
    let two = vector16(&one[2..].repeat(2));
    let error = ClientHelloError::ServerName(ServerNameError::Several);
    assert_eq!(Hello::old().with((0, two)).read(), Err(error));
}

#[test]
fn names_of_unknown_types_are_passed_over() {
    let other = [&[9][..], &vector16(b"anything")].concat();
    let (_, host) = server_name("a.example");
    let both = [&other[..], &host[2..]].concat();
    assert_eq!(Hello::old().with((0, vector16(&other))).read().unwrap().server_name(), None);
    assert_eq!(Hello::old().with((0, vector16(&both))).read().unwrap().server_name(), Some("a.example"));
}

#[test]
fn the_longest_session_id_and_protocol_are_read() {
    let long = vec![b'x'; 255];
    let hello = Hello { session_id: vec![1; 32], ..Hello::old() }.with((16, vector16(&vector8(&long))));
    assert_eq!(hello.read().unwrap().alpn().collect::<Vec<_>>(), [&long[..]]);
}
