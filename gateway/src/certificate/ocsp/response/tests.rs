use proptest::prelude::*;

use super::*;
use crate::certificate::ocsp::features::Features;
use crate::certificate::ocsp::test_responder::{
    self as responder, Answer, Authority, Leaf, names_responder, tls_features,
};

const NOW: i64 = 1_800_000_000;

/// An authority and a certificate of it.
fn issued() -> (Authority, Leaf) {
    let authority = Authority::new("Issuer");
    let leaf = authority.leaf(4711, Vec::new());
    (authority, leaf)
}

fn judge(response: &[u8], leaf: &Leaf, issuer: &Authority) -> Result<Staple, OcspError> {
    check(response, &leaf.der, &issuer.der(), NOW)
}

#[track_caller]
fn refused(answer: &Answer) -> OcspError {
    let (issuer, leaf) = issued();
    let response = answer.signed(&leaf.der, &issuer.der(), &issuer.signer());
    judge(&response, &leaf, &issuer).expect_err("a refusal")
}

#[test]
fn a_response_of_the_issuer_is_a_staple_however_it_names_certificate_and_signer() {
    let (issuer, leaf) = issued();
    for hash in [responder::SHA1, responder::SHA256, responder::SHA384, responder::SHA512] {
        for by_key in [false, true] {
            let answer = Answer { hash, by_key, ..Answer::good(NOW) };
            let response = answer.signed(&leaf.der, &issuer.der(), &issuer.signer());
            let staple = judge(&response, &leaf, &issuer).unwrap();
            assert_eq!(staple.der(), response);
            assert_eq!((staple.this_update(), staple.next_update()), (NOW - 3600, NOW + 3600));
        }
    }
}

#[test]
fn a_staple_is_current_until_its_next_update_and_a_clock_may_be_five_minutes_behind() {
    let staple = Staple::lasting(NOW, NOW + 100);
    for (now, current) in [(NOW - 301, false), (NOW - 300, true), (NOW + 99, true), (NOW + 100, false)] {
        assert_eq!(staple.is_current(now), current, "{}", now - NOW);
    }
}

#[test]
fn a_responder_that_the_issuer_authorised_may_sign() {
    let (issuer, leaf) = issued();
    let delegate = issuer.delegate(|_| {});
    judge(&Answer::good(NOW).delegated(&leaf, &issuer, &delegate), &leaf, &issuer).unwrap();
    // The issuer's certificate along with it, as many send it.
    let answer = Answer { certificates: vec![issuer.der()], by_key: true, ..Answer::good(NOW) };
    judge(&answer.delegated(&leaf, &issuer, &delegate), &leaf, &issuer).unwrap();
}

#[test]
fn a_responder_that_the_issuer_did_not_authorise_may_not_sign() {
    let (issuer, leaf) = issued();
    let stranger = Authority::new("Issuer");
    let delegates = [
        (issuer.delegate(|parameters| parameters.extended_key_usages.clear()), "OCSPSigning"),
        (issuer.delegate(|parameters| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1)), "expired"),
        (issuer.delegate(|parameters| parameters.not_before = rcgen::date_time_ymd(2090, 1, 1)), "not valid"),
        (stranger.delegate(|_| {}), "not from the issuer"),
    ];
    for (delegate, reason) in delegates {
        let response = Answer::good(NOW).delegated(&leaf, &issuer, &delegate);
        let error = judge(&response, &leaf, &issuer).unwrap_err();
        assert!(matches!(error, OcspError::NotAuthorised { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_response_that_another_key_signed_is_refused() {
    let (issuer, leaf) = issued();
    let (namesake, other) = (Authority::new("Issuer"), Authority::new("Other"));
    let sign = |signer: &Authority| Answer::good(NOW).signed(&leaf.der, &issuer.der(), &signer.signer());
    assert!(matches!(judge(&sign(&namesake), &leaf, &issuer), Err(OcspError::Signature)));
    assert!(matches!(judge(&sign(&other), &leaf, &issuer), Err(OcspError::UnknownSigner)));
    // Its certificate along with it makes it no more of a responder.
    let answer = Answer { certificates: vec![other.der()], ..Answer::good(NOW) };
    let response = answer.signed(&leaf.der, &issuer.der(), &other.signer());
    assert!(matches!(judge(&response, &leaf, &issuer), Err(OcspError::NotAuthorised { .. })));
}

#[test]
fn a_response_for_another_certificate_is_refused() {
    let (issuer, leaf) = issued();
    let sibling = issuer.leaf(4712, Vec::new());
    let response = Answer::good(NOW).signed(&sibling.der, &issuer.der(), &issuer.signer());
    let error = judge(&response, &leaf, &issuer).unwrap_err();
    assert!(matches!(&error, OcspError::OtherCertificate { serial } if serial == "1267"), "{error}");
    // The same serial number of another issuer.
    let namesake = Authority::new("Issuer");
    let twin = namesake.leaf(4711, Vec::new());
    let response = Answer::good(NOW).signed(&twin.der, &namesake.der(), &namesake.signer());
    assert!(matches!(judge(&response, &leaf, &issuer), Err(OcspError::OtherCertificate { .. })));
}

#[test]
fn a_response_that_does_not_hold_now_is_refused() {
    let good = || Answer::good(NOW);
    assert!(matches!(refused(&Answer { next_update: None, ..good() }), OcspError::NoNextUpdate));
    assert!(matches!(refused(&Answer { next_update: Some(NOW), ..good() }), OcspError::Expired { .. }));
    assert!(matches!(refused(&Answer { this_update: NOW + 301, ..good() }), OcspError::NotYet { .. }));
}

#[test]
fn only_the_status_good_is_stapled() {
    let error = refused(&Answer::revoked(NOW));
    assert!(
        matches!(&error, OcspError::Revoked { since: Some(since), .. } if since == "2027-01-15T06:00:00Z"),
        "{error}"
    );
    let unknown = Answer { status: CertStatus::unknown(), ..Answer::good(NOW) };
    assert!(matches!(refused(&unknown), OcspError::Unknown));
}

#[test]
fn a_revocation_that_the_issuer_did_not_sign_is_not_believed() {
    let (issuer, leaf) = issued();
    let response = Answer::revoked(NOW).signed(&leaf.der, &issuer.der(), &Authority::new("Issuer").signer());
    assert!(matches!(judge(&response, &leaf, &issuer), Err(OcspError::Signature)));
}

#[test]
fn a_signature_with_sha1_is_refused() {
    let answer = Answer { algorithm: "1.2.840.10045.4.1", ..Answer::good(NOW) };
    assert!(matches!(refused(&answer), OcspError::Algorithm));
}

#[test]
fn a_responder_without_an_answer_says_why() {
    let (issuer, leaf) = issued();
    for (code, word) in [
        (1, "malformedRequest"),
        (2, "internalError"),
        (3, "tryLater"),
        (5, "sigRequired"),
        (6, "unauthorized"),
    ] {
        let error = judge(&[0x30, 0x03, 0x0a, 0x01, code], &leaf, &issuer).unwrap_err();
        assert!(matches!(&error, OcspError::Unsuccessful { status, .. } if *status == word), "{error}");
    }
    // Success without a response.
    let empty = judge(&[0x30, 0x03, 0x0a, 0x01, 0], &leaf, &issuer);
    assert!(matches!(empty, Err(OcspError::Malformed { .. })));
}

#[test]
fn what_is_cut_off_changed_or_no_response_at_all_is_refused() {
    let (issuer, leaf) = issued();
    let response = Answer::good(NOW).signed(&leaf.der, &issuer.der(), &issuer.signer());
    for length in 0..response.len() {
        assert!(judge(&response[..length], &leaf, &issuer).is_err(), "cut off after {length}");
    }
    for position in 0..response.len() {
        let mut changed = response.clone();
        changed[position] ^= 1;
        assert!(judge(&changed, &leaf, &issuer).is_err(), "changed at {position}: {changed:02x?}");
    }
    let mut longer = response.clone();
    longer.push(0);
    assert!(judge(&longer, &leaf, &issuer).is_err());
    assert!(matches!(judge(&vec![0x30; MAX_RESPONSE + 1], &leaf, &issuer), Err(OcspError::Long)));
    for garbage in [&b""[..], b"not a response", b"<html>", &leaf.der] {
        assert!(matches!(judge(garbage, &leaf, &issuer), Err(OcspError::Malformed { .. })));
    }
}

#[test]
fn an_issuer_that_is_not_one_is_refused_and_so_is_a_leaf() {
    let (issuer, leaf) = issued();
    let response = Answer::good(NOW).signed(&leaf.der, &issuer.der(), &issuer.signer());
    let nonsense = CertificateDer::from(vec![0x30, 0x00]);
    assert!(matches!(check(&response, &leaf.der, &nonsense, NOW), Err(OcspError::NoIssuer)));
    assert!(matches!(check(&response, &nonsense, &issuer.der(), NOW), Err(OcspError::NoIssuer)));
}

#[test]
fn a_certificate_says_whom_to_ask_and_whether_clients_insist() {
    let issuer = Authority::new("Issuer");
    let features = |extensions| Features::of(&issuer.leaf(1, extensions).der);
    assert_eq!(features(Vec::new()), Features::default());
    let both = features(vec![names_responder("http://ocsp.example/x"), tls_features(&[17, 5])]);
    assert_eq!(both, Features { responder: Some("http://ocsp.example/x".into()), must_staple: true });
    assert!(!features(vec![tls_features(&[17])]).must_staple);
    assert!(!features(vec![tls_features(&[])]).must_staple);
    assert_eq!(features(vec![names_responder("ldap://x")]).responder.as_deref(), Some("ldap://x"));
}

#[test]
fn a_request_names_the_certificate_as_responders_expect() {
    let (issuer, leaf) = issued();
    let request = request::encode(&leaf.der, &issuer.der()).unwrap();
    let read = x509_ocsp::OcspRequest::from_der(&request).unwrap().tbs_request;
    let [asked] = read.request_list.as_slice() else { panic!("one certificate is asked for: {read:?}") };
    assert_eq!(asked.req_cert.hash_algorithm.oid, SHA1);
    assert!(is_for(&asked.req_cert, &x509::parse(&leaf.der).unwrap(), &x509::parse(&issuer.der()).unwrap()));
    assert_eq!((read.request_extensions, read.requestor_name), (None, None), "no nonce: RFC 5019");
    assert!(request.len() < 100, "short enough for GET: {}", request.len());
}

#[test]
fn the_errors_say_what_to_do() {
    let url = "https://ocsp.example".to_owned();
    let responder = || "ocsp.example".to_owned();
    let errors = [
        OcspError::NoIssuer,
        OcspError::NoSource,
        OcspError::Malformed { source: der::ErrorKind::Failed.into() },
        OcspError::Long,
        OcspError::Unsuccessful { status: "tryLater", hint: "the responder has to recover" },
        OcspError::Type { oid: "1.2.3".to_owned() },
        OcspError::OtherCertificate { serial: "4711".to_owned() },
        OcspError::UnknownSigner,
        OcspError::NotAuthorised { signer: "CN=Responder".to_owned(), reason: "its certificate has expired" },
        OcspError::Signature,
        OcspError::Algorithm,
        OcspError::NoNextUpdate,
        OcspError::NotYet { from: "2027-01-15T06:00:00Z".to_owned() },
        OcspError::Expired { until: "2027-01-15T06:00:00Z".to_owned() },
        OcspError::Revoked { since: Some("2027-01-15T06:00:00Z".to_owned()), as_of: 0 },
        OcspError::Revoked { since: None, as_of: 0 },
        OcspError::BeforeRevocation,
        OcspError::Unknown,
        OcspError::Url { url },
        OcspError::Address { address: [169, 254, 169, 254].into() },
        OcspError::Connect { responder: responder(), source: std::io::ErrorKind::ConnectionRefused.into() },
        OcspError::Timeout { responder: responder(), seconds: 10 },
        OcspError::HttpStatus { responder: responder(), status: 302 },
        OcspError::HttpStatus { responder: responder(), status: 503 },
        OcspError::Request { source: der::ErrorKind::Failed.into() },
    ];
    let texts: Vec<String> = errors.iter().map(OcspError::to_string).collect();
    insta::assert_snapshot!(texts.join("\n"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let (issuer, leaf) = issued();
        prop_assert!(judge(&bytes, &leaf, &issuer).is_err());
    }

    #[test]
    fn no_change_of_a_response_makes_it_panic_or_another_staple(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        delegated in any::<bool>(),
    ) {
        let (issuer, leaf) = issued();
        let response = match delegated {
            true => Answer::good(NOW).delegated(&leaf, &issuer, &issuer.delegate(|_| {})),
            false => Answer::good(NOW).signed(&leaf.der, &issuer.der(), &issuer.signer()),
        };
        let mut changed = response;
        for (position, byte) in changes {
            let position = position.index(changed.len());
            changed[position] = byte;
        }
        if let Ok(staple) = judge(&changed, &leaf, &issuer) {
            prop_assert_eq!((staple.this_update(), staple.next_update()), (NOW - 3600, NOW + 3600));
        }
    }
}
