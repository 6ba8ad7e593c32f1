//! JA3 and JA4 against the examples that their authors published.

use crate::builder::{
    Hello, alpn, ec_point_formats, server_name, signature_algorithms, supported_groups, supported_versions,
};

/// `769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0` of the README of salesforce/ja3.
#[test]
fn ja3_of_a_hello_with_extensions_is_the_published_one() {
    let hello = Hello {
        legacy_version: 769,
        cipher_suites: vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
        ..Hello::old()
    }
    .with(server_name("www.example.com"))
    .with(supported_groups(&[23, 24, 25]))
    .with(ec_point_formats(&[0]));
    assert_eq!(hello.read().unwrap().ja3(), "ada70206e40642a3e4461f35503241d5");
}

/// `769,4-5-10-9-100-98-3-6-19-18-99,,,` of the README of salesforce/ja3.
#[test]
fn ja3_of_a_hello_without_extensions_is_the_published_one() {
    let hello = Hello {
        legacy_version: 769,
        cipher_suites: vec![4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99],
        ..Hello::old()
    };
    assert_eq!(hello.read().unwrap().ja3(), "de350869b8c85de67a350c8d186f11e6");
}

/// The example that runs through FoxIO's JA4.md, in its original order (`JA4_ro`), with GREASE where Chrome has it.
fn chrome() -> Hello {
    let grease = 0x3a3a;
    let cipher_suites = vec![
        grease, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
        0x009c, 0x009d, 0x002f, 0x0035,
    ];
    let schemes = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
    let extensions = vec![
        (grease, vec![]),
        (0x001b, vec![2, 0, 2]),
        server_name("www.example.com"),
        (0x0033, vec![]),
        alpn(&[b"h2", b"http/1.1"]),
        (0x4469, vec![]),
        (0x0017, vec![]),
        (0x002d, vec![1, 1]),
        signature_algorithms(&schemes),
        (0x0005, vec![1, 0, 0, 0, 0]),
        (0x0023, vec![]),
        (0x0012, vec![]),
        supported_versions(&[grease, 0x0304, 0x0303]),
        (0xff01, vec![0]),
        ec_point_formats(&[0]),
        supported_groups(&[grease, 0x001d, 0x0017, 0x0018]),
        (0x8a8a, vec![0]),
        (0x0015, vec![0; 100]),
    ];
    Hello { cipher_suites, extensions: Some(extensions), ..Hello::modern() }
}

#[test]
fn ja4_is_the_published_one() {
    assert_eq!(chrome().read().unwrap().ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

#[test]
fn ja4_does_not_depend_on_the_order_of_extensions_and_ciphers() {
    let mut hello = chrome();
    hello.cipher_suites.reverse();
    hello.extensions.as_mut().unwrap().reverse();
    assert_eq!(hello.read().unwrap().ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

#[test]
fn ja4_shows_whether_there_is_a_server_name_and_an_alpn() {
    let mut hello = chrome();
    hello.extensions.as_mut().unwrap().retain(|(kind, _)| ![0x0000, 0x0010].contains(kind));
    assert_eq!(hello.read().unwrap().ja4(), "t13i151400_8daaf6152771_e5627efa2ab1");
}

/// "If there are no signature algorithms in the hello packet, then the string ends without an underscore"; the hash
/// that JA4.md gives is of a list with 000d, which a hello has only with such algorithms: GREASE alone stands in.
#[test]
fn ja4_without_signature_algorithms_is_the_published_one() {
    let mut hello = chrome();
    for (kind, body) in hello.extensions.as_mut().unwrap() {
        if *kind == 0x000d {
            *body = signature_algorithms(&[0x1a1a]).1;
        }
    }
    assert_eq!(hello.read().unwrap().ja4(), "t13d1516h2_8daaf6152771_6d807ffa2a79");
}

#[test]
fn ja4_of_nothing_is_zeros() {
    let hello = Hello { cipher_suites: vec![0x0a0a], ..Hello::old() };
    assert_eq!(hello.read().unwrap().ja4(), "t12i000000_000000000000_000000000000");
}

#[test]
fn ja4_knows_a_version_by_the_highest_offer() {
    let version = |versions: &[u16]| {
        Hello::old().with(supported_versions(versions)).read().unwrap().ja4().get(..3).unwrap().to_owned()
    };
    assert_eq!(version(&[0x0301, 0x0302]), "t11");
    assert_eq!(version(&[0xfafa, 0x0303]), "t12");
    assert_eq!(version(&[0x0303, 0x0304]), "t13");
    assert_eq!(version(&[0x7f1c, 0x0303]), "t00");
    assert_eq!(version(&[0x5a5a]), "t00");
}
