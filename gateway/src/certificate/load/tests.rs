//! What goes live and what does not, by the bytes of its files.

use super::*;
use crate::certificate::test_pki::{Authority, Pair, read_contents};
use crate::certificate::unix_now;

fn judge(chain: &str, key: Option<&str>) -> Result<Certificate, CertificateError> {
    let mut files = vec![contents("a.crt", chain)];
    files.extend(key.map(|key| contents("a.key", key)));
    certificate(&identity(), &files, unix_now())
}

fn identity() -> Identity {
    Identity { id: "a".into(), tags: Arc::default(), allow_readable_keys: false, serve_expired: false }
}

fn contents(path: &str, text: &str) -> Contents {
    let (bytes, age) = (text.as_bytes().to_vec().into(), Duration::ZERO);
    Contents { path: path.into(), bytes, mode: 0o600, age, trouble: None }
}

fn pair() -> Pair {
    Authority::new("Test").pair(&["a.example"])
}

#[test]
fn a_byte_order_mark_hides_no_certificate_and_no_key() {
    let pair = pair();
    let marked = |text: &str| format!("\u{feff}{text}");
    let certificate = judge(&marked(&pair.chain_pem), Some(&marked(&pair.key_pem))).unwrap();
    assert_eq!(certificate.fingerprint(), pair.fingerprint());
}

#[test]
fn every_key_encoding_is_read() {
    let authority = Authority::new("Test");
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let pair = authority.issue_for(&["a.example"], algorithm);
        judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
        judge(&format!("{}{}", pair.key_pem, pair.chain_pem), None).unwrap();
    }
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let pair = authority.issue_for(&["a.example"], algorithm);
        judge(&pair.chain_pem, Some(&pair.traditional_key_pem("EC PRIVATE KEY"))).unwrap();
    }
    for (size, bits) in [(rcgen::RsaKeySize::_3072, 3072), (rcgen::RsaKeySize::_4096, 4096)] {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).unwrap();
        let pair = authority.issue_with(&["a.example"], key);
        for key_pem in [pair.key_pem.clone(), pair.traditional_key_pem("RSA PRIVATE KEY")] {
            assert_eq!(judge(&pair.chain_pem, Some(&key_pem)).unwrap().key_bits(), bits);
        }
    }
    let pair = authority.issue_for(&["a.example"], &rcgen::PKCS_RSA_SHA256);
    let certificate = judge(&pair.chain_pem, Some(&pair.traditional_key_pem("RSA PRIVATE KEY"))).unwrap();
    assert_eq!(certificate.key_bits(), 2048);
    assert!(certificate.usable_with(&[0x0804], &[], &[0x0304], &[]));
    assert!(
        !certificate.usable_with(&[0x0401], &[0xc02f], &[0x0304, 0x0303], &[]),
        "PKCS#1 is not for TLS 1.3"
    );
    assert!(certificate.usable_with(&[0x0401], &[0xc02f], &[0x0303], &[]));
    assert!(!certificate.usable_with(&[0x0401], &[0xc02b], &[0x0303], &[]), "an ECDSA suite");
    assert!(!certificate.usable_with(&[0x0403], &[0xc02f], &[0x0303], &[]), "an ECDSA scheme");
}

/// RFC 8422 section 5.1. OpenSSL ends the handshake with `wrong curve`.
#[test]
fn a_client_of_tls12_gets_an_ecdsa_key_only_on_a_curve_that_it_lists() {
    let pair = Authority::new("Test").pair(&["a.example"]);
    let certificate = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
    let usable =
        |versions: &[u16], groups: &[u16]| certificate.usable_with(&[0x0403], &[0xc02b], versions, groups);
    assert!(usable(&[0x0303], &[0x001d, 0x0017]));
    assert!(!usable(&[0x0303], &[0x001d]), "X25519 alone");
    assert!(usable(&[0x0303], &[]), "a client that lists none leaves the choice to the server");
    assert!(usable(&[0x0304, 0x0303], &[0x001d]), "the scheme of TLS 1.3 names the curve");
}

#[test]
fn a_key_that_openssl_encrypted_in_its_own_way_is_told_of_wherever_it_is() {
    let pair = Authority::new("Test").pair(&["a.example"]);
    let key = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
               DEK-Info: AES-256-CBC,0123456789ABCDEF0123456789ABCDEF\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    for judged in [judge(&pair.chain_pem, Some(key)), judge(&format!("{}{key}", pair.chain_pem), None)] {
        let error = judged.unwrap_err();
        assert!(matches!(error, CertificateError::Pem(PemError::EncryptedKey { .. })), "{error}");
    }
}

#[test]
fn facts_are_those_of_the_leaf() {
    let certificate = judge(&pair().chain_pem, Some("")).unwrap_err();
    assert!(matches!(certificate, CertificateError::Pem(PemError::NoKey { .. })));
    let pair = Authority::new("Test").pair(&["A.example", "*.a.example", "192.0.2.7"]);
    let certificate = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
    assert_eq!(certificate.names(), ["a.example", "*.a.example", "192.0.2.7"]);
    assert_eq!(certificate.fingerprint(), pair.fingerprint());
    assert!(certificate.covers("www.A.example."));
    assert!(!certificate.covers("a.b.a.example"));
    let shown = format!("{certificate:?}");
    assert!(
        shown.contains("a\"") && shown.contains(certificate.fingerprint()) && shown.len() < 160,
        "{shown}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, two) = (pair(), pair());
    assert!(matches!(
        judge(&one.chain_pem, Some(&two.key_pem)).unwrap_err(),
        CertificateError::KeyMismatch { hint, .. } if hint.starts_with("replace both")
    ));
}

#[test]
fn a_chain_out_of_order_is_refused_with_what_to_do() {
    let root = Authority::new("Root");
    let issuing = root.subordinate("Issuing");
    let pair = issuing.pair(&["a.example"]);
    let [leaf, intermediate, anchor] = [pair.leaf_pem().to_owned(), issuing.pem(), root.pem()];
    let key = Some(pair.key_pem.as_str());
    judge(&format!("{leaf}{intermediate}{anchor}"), key).unwrap();
    assert!(matches!(
        judge(&format!("{leaf}{anchor}{intermediate}"), key).unwrap_err(),
        CertificateError::Chain(ChainError::Order { position: 2, .. })
    ));
    assert!(matches!(
        judge(&format!("{intermediate}{leaf}"), key).unwrap_err(),
        CertificateError::KeyMismatch { hint, .. } if hint.contains("leaf first")
    ));
    judge(&format!("{leaf}{intermediate}{anchor}"), key).unwrap();
    // Issuers that are known to be in order are not therefore this leaf's.
    let stranger = root.subordinate("Other").pair(&["a.example"]);
    assert!(matches!(
        judge(&format!("{}{intermediate}{anchor}", stranger.leaf_pem()), Some(&stranger.key_pem))
            .unwrap_err(),
        CertificateError::Chain(ChainError::Order { position: 2, .. })
    ));
    let namesake = root.subordinate("Issuing");
    assert!(matches!(
        judge(&format!("{leaf}{}", namesake.pem()), key).unwrap_err(),
        CertificateError::Chain(ChainError::Signature { position: 2, .. })
    ));
}

#[test]
fn what_clients_would_refuse_is_refused_here() {
    let authority = Authority::new("Test");
    let pair = authority.valid_between(&["a.example"], (2001, 1, 1), (2002, 1, 1));
    assert!(matches!(
        judge(&pair.chain_pem, Some(&pair.key_pem)),
        Err(CertificateError::Chain(ChainError::Expired { .. }))
    ));
    let files = [contents("a.crt", &pair.chain_pem), contents("a.key", &pair.key_pem)];
    let lenient = Identity { serve_expired: true, ..identity() };
    let expired = certificate(&lenient, &files, unix_now()).unwrap();
    assert!(!expired.has_expired_at(unix_now()) && !expired.is_valid_at(unix_now()));
    let pair = authority.valid_between(&["a.example"], (2090, 1, 1), (2091, 1, 1));
    let error = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap_err();
    assert!(matches!(error, CertificateError::Chain(ChainError::NotYetValid { .. })));
    assert_eq!(error.into_refusal().retry, Some(Duration::from_secs(3600)));
    let key = Some(pair.key_pem.as_str());
    let weak = include_str!("weak-rsa.pem");
    assert!(matches!(judge(weak, key), Err(CertificateError::Chain(ChainError::WeakKey { bits: 1024, .. }))));
    let sha1 = include_str!("sha1.pem");
    assert!(matches!(judge(sha1, key), Err(CertificateError::Chain(ChainError::WeakSignature { .. }))));
}

/// A leaf behind an intermediate that was made from `spoil`ed parameters, with its root behind both.
fn behind(spoil: impl FnOnce(&mut rcgen::CertificateParams)) -> (String, String) {
    let root = Authority::new("Root");
    let issuing = root.subordinate_with("Issuing", spoil);
    let pair = issuing.pair(&["a.example"]);
    (format!("{}{}", pair.chain_pem, root.pem()), pair.key_pem)
}

#[test]
fn an_issuer_that_clients_would_refuse_is_refused_and_named() {
    let judge = |(chain, key): (String, String)| judge(&chain, Some(&key));
    judge(behind(|_| {})).unwrap();
    let refusal = |pair| judge(pair).unwrap_err();
    let expired = || behind(|issuing| issuing.not_after = rcgen::date_time_ymd(2002, 1, 1));
    let error = refusal(expired());
    assert!(matches!(error, CertificateError::Chain(ChainError::ExpiredIssuer { .. })));
    assert!(error.to_string().starts_with("certificate 2 in a.crt (\"CN=Issuing\") expired"), "{error}");
    let error = refusal(behind(|issuing| issuing.not_before = rcgen::date_time_ymd(2090, 1, 1)));
    assert!(matches!(error, CertificateError::Chain(ChainError::NotYetValidIssuer { .. })));
    assert_eq!(error.into_refusal().retry, Some(Duration::from_secs(3600)));
    for spoil in [
        (|issuing| issuing.is_ca = rcgen::IsCa::ExplicitNoCa) as fn(&mut rcgen::CertificateParams),
        |issuing| issuing.is_ca = rcgen::IsCa::NoCa,
        |issuing| issuing.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign],
    ] {
        let error = refusal(behind(spoil));
        assert!(matches!(error, CertificateError::Chain(ChainError::NoIssuer { .. })), "{error}");
    }
    let for_clients = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let error = refusal(behind(|issuing| issuing.extended_key_usages = for_clients));
    assert!(error.to_string().starts_with("certificate 2 in a.crt (\"CN=Issuing\") is not for"), "{error}");
    // Behind the next leaf too, where nobody verifies the issuers again, and with serve-expired it is served.
    let (chain, key) = expired();
    let files = [contents("a.crt", &chain), contents("a.key", &key)];
    let lenient = Identity { serve_expired: true, ..identity() };
    let served = certificate(&lenient, &files, unix_now()).unwrap();
    assert!(served.chain_not_after() < served.not_after() && !served.is_valid_at(unix_now()));
    assert!(certificate(&identity(), &files, unix_now()).is_err());
}

#[test]
fn a_pair_lasts_as_long_as_the_first_of_its_chain() {
    let (chain, key) = behind(|issuing| issuing.not_after = rcgen::date_time_ymd(2080, 1, 1));
    let certificate = judge(&chain, Some(&key)).unwrap();
    let end = certificate.chain_not_after();
    assert!(end < certificate.not_after());
    assert!(certificate.is_valid_at(end) && !certificate.has_expired_at(end));
    assert!(!certificate.is_valid_at(end + 1) && certificate.has_expired_at(end + 1));
}

#[test]
fn what_a_root_says_of_itself_does_not_count() {
    let root = Authority::with("Root", |root| root.not_after = rcgen::date_time_ymd(2002, 1, 1));
    let pair = root.pair(&["a.example"]);
    let certificate = judge(&pair.chain_pem, Some(&pair.key_pem)).unwrap();
    assert_eq!(certificate.chain_not_after(), certificate.not_after());
}

#[test]
fn a_leaf_has_to_be_for_servers_if_it_says_what_for() {
    use rcgen::ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for (purposes, is_good) in
        [(vec![], true), (vec![Any], true), (vec![ClientAuth, ServerAuth], true), (vec![ClientAuth], false)]
    {
        let mut parameters = crate::certificate::test_pki::parameters(&["a.example"]);
        parameters.extended_key_usages = purposes;
        let pair = Authority::new("Test").issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256);
        match judge(&pair.chain_pem, Some(&pair.key_pem)) {
            Ok(_) => assert!(is_good),
            Err(error) => {
                assert!(
                    !is_good && matches!(error, CertificateError::Chain(ChainError::Purpose { .. })),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn other_forms_of_pem_are_read_or_named() {
    let pair = pair();
    let relabelled = |label: &str| pair.chain_pem.replace("CERTIFICATE", label);
    let certificate = judge(&relabelled("X509 CERTIFICATE"), Some(&pair.key_pem)).unwrap();
    assert_eq!(certificate.fingerprint(), pair.fingerprint());
    let error = |chain: &str, key: &str| judge(chain, Some(key)).unwrap_err();
    let trusted = error(&relabelled("TRUSTED CERTIFICATE"), &pair.key_pem);
    assert!(matches!(trusted, CertificateError::Pem(PemError::Trusted { .. })));
    let alone = error(&pair.key_pem, &pair.key_pem);
    assert!(matches!(alone, CertificateError::Pem(PemError::KeyAlone { .. })));
    let der = error("0\u{1}", &pair.key_pem);
    assert!(matches!(der, CertificateError::Pem(PemError::Der { .. })));
    let openssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    let openssh = error(&pair.chain_pem, openssh);
    assert!(openssh.to_string().contains("ssh-keygen -p -N '' -m PKCS8"), "{openssh}");
}

#[test]
fn an_encrypted_key_is_named_as_such() {
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let error = judge(&pair().chain_pem, Some(encrypted)).unwrap_err();
    assert!(error.to_string().contains("openssl pkey -in a.key"), "{error}");
    let legacy =
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let error = judge(&pair().chain_pem, Some(legacy)).unwrap_err();
    assert!(matches!(error, CertificateError::Pem(PemError::EncryptedKey { .. })));
}

#[test]
fn settings_beside_a_pair_add_to_those_of_its_source_and_outweigh_none_and_a_mistake_is_located() {
    let pair = pair();
    let tags = ["canary", "team"].map(|key| (key.to_owned(), "source".to_owned()));
    let identity = Identity { tags: Arc::new(tags), ..identity() };
    let judge = |settings: &str| {
        let mut files = vec![contents("a.pem", &format!("{}{}", pair.chain_pem, pair.key_pem))];
        files.push(contents("a.toml", settings));
        files.push(contents("a.pem.ocsp", "staple"));
        certificate(&identity, &files, unix_now())
    };
    let certificate = judge("required = true\ntags = { team = \"own\", zone = \"own\" }").unwrap();
    assert!(certificate.is_required());
    assert_eq!(certificate.ocsp_file(), Some(&b"staple"[..]));
    let tags: Vec<_> = certificate.tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(tags, ["canary=source", "team=source", "zone=own"]);
    assert!(!judge("").unwrap().is_required());
    let error = crate::telemetry::error_chain(&judge("requird = true").unwrap_err());
    assert!(error.contains("a.toml:1:1") && error.contains("did you mean `required`?"), "{error}");
}

#[test]
fn a_useless_ocsp_file_does_not_hold_up_its_pair() {
    let pair = pair();
    let trouble = Some(Arc::new(ReadError::NotAFile { path: "a.ocsp".into() }));
    let files = [
        contents("a.crt", &pair.chain_pem),
        contents("a.key", &pair.key_pem),
        Contents { trouble, ..contents("a.ocsp", "") },
    ];
    let certificate = certificate(&identity(), &files, unix_now()).unwrap();
    assert_eq!(certificate.ocsp_file(), None);
    assert!(matches!(**certificate.ocsp_file_trouble().unwrap(), ReadError::NotAFile { .. }));
}

#[test]
fn a_key_that_others_can_read_is_refused_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let pair = pair();
    pair.write(&folder.path().join("a.crt"), &folder.path().join("a.key"), 0o640);
    let files = read_contents(&[folder.path().join("a.crt"), folder.path().join("a.key")]);
    let mut identity = identity();
    let error = certificate(&identity, &files, unix_now()).unwrap_err();
    assert!(error.to_string().contains("mode 0640"), "{error}");
    identity.allow_readable_keys = true;
    certificate(&identity, &files, unix_now()).unwrap();
}

#[test]
fn garbage_is_refused_and_never_panics() {
    let pair = pair();
    // Without the last line's end the PEM parser still knows where the certificate ends.
    for length in 0..pair.leaf_pem().trim_end().len() {
        assert!(judge(&pair.leaf_pem()[..length], Some(&pair.key_pem)).is_err(), "{length}");
    }
    assert!(matches!(judge("\0\0", Some("")), Err(CertificateError::Pem(PemError::NoCertificate { .. }))));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        judge(nonsense, Some(&pair.key_pem)),
        Err(CertificateError::Chain(ChainError::Malformed { .. }))
    ));
}
