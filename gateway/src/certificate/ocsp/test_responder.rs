//! An authority and its OCSP responses for the unit tests: good ones, and wrong in any way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use der::asn1::{BitString, OctetString};
use der::oid::ObjectIdentifier;
use der::{DateTime, Decode, Encode};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, SerialNumber, SigningKey,
};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponderId, ResponseData,
    SingleResponse,
};

use super::{Stapler, request};
use crate::certificate::load::{self, Identity};
use crate::certificate::{Certificate, unix_now, x509};
use crate::config::{CertificateSource, Freshness, Ocsp, OnDelete};
use crate::freshness::Contents;

pub(super) const SHA1: &str = "1.3.14.3.2.26";
pub(super) const SHA256: &str = "2.16.840.1.101.3.4.2.1";
pub(super) const SHA384: &str = "2.16.840.1.101.3.4.2.2";
pub(super) const SHA512: &str = "2.16.840.1.101.3.4.2.3";

pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub(super) struct Leaf {
    pub(super) der: CertificateDer<'static>,
    /// Leaf and issuer.
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

/// A value made of the certificate's files, as after each reload.
pub(super) fn certificate(leaf: &Leaf, file: Option<&[u8]>) -> Arc<Certificate> {
    let identity =
        Identity { id: "a".into(), tags: Arc::default(), allow_readable_keys: false, serve_expired: false };
    let contents = |path: &str, bytes: &[u8]| {
        let (bytes, age) = (bytes.to_vec().into(), Duration::ZERO);
        Contents { path: path.into(), bytes, mode: 0o600, age, trouble: None }
    };
    let mut files =
        vec![contents("a.crt", leaf.chain_pem.as_bytes()), contents("a.key", leaf.key_pem.as_bytes())];
    files.extend(file.map(|file| contents("a.ocsp", file)));
    Arc::new(load::certificate(&identity, &files, unix_now()).unwrap())
}

/// A source that has its staples so.
pub(super) fn source(name: &str, ocsp: Ocsp) -> Arc<CertificateSource> {
    Arc::new(CertificateSource {
        name: name.to_owned(),
        path: "certificates".into(),
        allow_readable_keys: false,
        reload_wait: Duration::from_secs(2),
        freshness: Freshness::Strict,
        scan_interval: Duration::from_secs(60),
        on_delete: OnDelete::Keep,
        serve_expired: false,
        required: Vec::new(),
        ocsp,
        tags: BTreeMap::new(),
    })
}

/// A certificate, and what gives it another staple each time.
pub(crate) fn stapled_by_turns() -> (Arc<Certificate>, impl FnMut() -> Vec<u8>) {
    let authority = Authority::new("Issuer");
    let leaf = authority.leaf(1, vec![tls_features(&[5])]);
    let stapler = Stapler::default();
    let adopted = certificate(&leaf, None);
    stapler.adopt(&adopted, &source("files", Ocsp::Files));
    let mut left = 3600;
    let next_staple = move || {
        left += 1;
        let answer = Answer { next_update: Some(unix_now() + left), ..Answer::good(unix_now()) };
        let response = answer.signed(&leaf.der, &authority.der(), &authority.signer());
        stapler.adopt(&certificate(&leaf, Some(&response)), &source("files", Ocsp::Files));
        response
    };
    (adopted, next_staple)
}

/// Who signs a response.
pub(super) struct Signer {
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut parameters = named(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub(super) fn leaf(&self, serial: u64, extensions: Vec<CustomExtension>) -> Leaf {
        let mut parameters = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parameters.serial_number = Some(SerialNumber::from(serial));
        parameters.custom_extensions = extensions;
        let key = KeyPair::generate().unwrap();
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap();
        let chain_pem = format!("{}{}", leaf.pem(), self.issuer.pem());
        Leaf { der: leaf.der().clone(), chain_pem, key_pem: key.serialize_pem() }
    }

    pub(super) fn signer(&self) -> Signer {
        let key = KeyPair::try_from(self.issuer.key().serialize_der()).unwrap();
        Signer { der: self.der(), key }
    }

    /// A responder's certificate.
    pub(super) fn delegate(&self, change: impl FnOnce(&mut CertificateParams)) -> Signer {
        let mut parameters = named("Responder");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        Signer { der: parameters.signed_by(&key, &self.issuer).unwrap().der().clone(), key }
    }
}

/// A response in the making: *good*, signed by the issuer, from an hour ago until in an hour.
pub(super) struct Answer {
    pub(super) status: CertStatus,
    pub(super) this_update: i64,
    pub(super) next_update: Option<i64>,
    pub(super) hash: &'static str,
    pub(super) by_key: bool,
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// Without parameters.
    pub(super) algorithm: &'static str,
}

impl Answer {
    pub(super) fn good(now: i64) -> Self {
        Self {
            status: CertStatus::good(),
            this_update: now - 3600,
            next_update: Some(now + 3600),
            hash: SHA1,
            by_key: false,
            certificates: Vec::new(),
            algorithm: "1.2.840.10045.4.3.2",
        }
    }

    pub(super) fn revoked(now: i64) -> Self {
        let info =
            x509_ocsp::RevokedInfo { revocation_time: generalized(now - 7200), revocation_reason: None };
        Self { status: CertStatus::revoked(info), ..Self::good(now) }
    }

    /// Signed by `signer`, about the certificate that `issuer` issued.
    pub(super) fn signed(
        &self,
        leaf: &CertificateDer<'_>,
        issuer: &CertificateDer<'_>,
        signer: &Signer,
    ) -> Vec<u8> {
        let (leaf, issuer) = (x509::parse(leaf).unwrap(), x509::parse(issuer).unwrap());
        let parsed = x509::parse(&signer.der).unwrap();
        let key = &parsed.public_key().subject_public_key.data;
        let single = SingleResponse {
            cert_id: CertId {
                hash_algorithm: algorithm(self.hash),
                issuer_name_hash: hash(self.hash, leaf.issuer().as_raw()),
                issuer_key_hash: hash(self.hash, &issuer.public_key().subject_public_key.data),
                serial_number: request::serial_number(&leaf).unwrap(),
            },
            cert_status: self.status,
            this_update: generalized(self.this_update),
            next_update: self.next_update.map(generalized),
            single_extensions: None,
        };
        let responder_id = match self.by_key {
            true => ResponderId::ByKey(hash(SHA1, key)),
            false => ResponderId::ByName(Decode::from_der(parsed.subject().as_raw()).unwrap()),
        };
        let data = ResponseData {
            version: x509_ocsp::Version::V1,
            responder_id,
            produced_at: generalized(self.this_update),
            responses: vec![single],
            response_extensions: None,
        };
        let signature = signer.key.sign(&data.to_der().unwrap()).unwrap();
        let certificates: Vec<_> =
            self.certificates.iter().map(|der| Decode::from_der(der).unwrap()).collect();
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: algorithm(self.algorithm),
            signature: BitString::from_bytes(&signature).unwrap(),
            certs: (!certificates.is_empty()).then_some(certificates),
        };
        OcspResponse::successful(basic).unwrap().to_der().unwrap()
    }

    /// The same by a responder whose certificate comes along.
    pub(super) fn delegated(mut self, leaf: &Leaf, issuer: &Authority, signer: &Signer) -> Vec<u8> {
        self.certificates.push(signer.der.clone());
        self.signed(&leaf.der, &issuer.der(), signer)
    }
}

/// A responder on a free port of the loopback interface, which answers every connection with what it was last told to.
pub(super) struct Responder {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    response: Vec<u8>,
    requests: Vec<String>,
}

impl Responder {
    /// Answers with these bytes, which include the head.
    pub(super) async fn start(response: Vec<u8>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { response, requests: Vec::new() }));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                // Requests are short enough to come in one piece.
                let mut request = vec![0; 4096];
                let read = socket.read(&mut request).await.unwrap_or(0);
                let response = {
                    let mut state = shared.lock().unwrap();
                    state.requests.push(String::from_utf8_lossy(&request[..read]).into_owned());
                    state.response.clone()
                };
                let _ = socket.write_all(&response).await;
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/ocsp", self.address)
    }

    pub(super) fn answer(&self, response: Vec<u8>) {
        self.state.lock().unwrap().response = response;
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// An HTTP response with this body.
pub(super) fn http(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Authority information access with a responder.
pub(super) fn names_responder(url: &str) -> CustomExtension {
    let method = tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01]);
    let description = tlv(0x30, &[method, tlv(0x86, url.as_bytes())].concat());
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], tlv(0x30, &description))
}

/// The TLS feature extension with these features.
pub(super) fn tls_features(features: &[u8]) -> CustomExtension {
    let features: Vec<u8> = features.iter().flat_map(|feature| tlv(0x02, &[*feature])).collect();
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], tlv(0x30, &features))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    [&[tag, length.expect("short enough for one length byte")], content].concat()
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn algorithm<T: for<'a> Decode<'a>>(oid: &str) -> T {
    let oid = ObjectIdentifier::new(oid).unwrap().to_der().unwrap();
    T::from_der(&tlv(0x30, &oid)).unwrap()
}

fn hash(algorithm: &str, bytes: &[u8]) -> OctetString {
    let algorithm = match algorithm {
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        _ => &digest::SHA1_FOR_LEGACY_USE_ONLY,
    };
    OctetString::new(digest::digest(algorithm, bytes).as_ref()).unwrap()
}

fn generalized(seconds: i64) -> OcspGeneralizedTime {
    let since = std::time::Duration::from_secs(seconds.try_into().unwrap());
    DateTime::from_unix_duration(since).unwrap().into()
}
