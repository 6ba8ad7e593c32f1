//! Certificates for the unit tests of `certificate` and `trust`, made by rcgen.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer};

use crate::freshness::{Contents, file};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = ca(name);
        change(&mut parameters);
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(crate) fn subordinate(&self, name: &str) -> Self {
        self.subordinate_with(name, |_| {})
    }

    pub(crate) fn subordinate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut parameters = ca(name);
        change(&mut parameters);
        let issuer =
            CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        Self { issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// ECDSA P-256, valid for long.
    pub(crate) fn pair(&self, names: &[&str]) -> Pair {
        self.issue_for(names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn issue_for(&self, names: &[&str], algorithm: &'static SignatureAlgorithm) -> Pair {
        self.issue(parameters(names), algorithm)
    }

    pub(crate) fn valid_between(&self, names: &[&str], from: (i32, u8, u8), to: (i32, u8, u8)) -> Pair {
        let mut parameters = parameters(names);
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        self.issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn issue(
        &self,
        parameters: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Pair {
        self.sign(parameters, KeyPair::generate_for(algorithm).unwrap())
    }

    /// For a key that was made elsewhere.
    pub(crate) fn issue_with(&self, names: &[&str], key: KeyPair) -> Pair {
        self.sign(parameters(names), key)
    }

    /// Valid until so many seconds after 1970.
    pub(crate) fn valid_until(&self, names: &[&str], seconds: i64) -> Pair {
        let mut parameters = parameters(names);
        let since = std::time::Duration::from_secs(u64::try_from(seconds).unwrap());
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + since;
        self.issue(parameters, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn sign(&self, parameters: CertificateParams, key: KeyPair) -> Pair {
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair {
            chain_pem: format!("{}{}", leaf.pem(), self.issuer.pem()),
            leaf_pem: leaf.pem(),
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
            leaf: leaf.der().clone(),
        }
    }
}

pub(crate) struct Pair {
    /// Leaf and issuer.
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    leaf_pem: String,
    key_der: Vec<u8>,
    leaf: CertificateDer<'static>,
}

impl Pair {
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.leaf.clone()
    }

    pub(crate) fn leaf_pem(&self) -> &str {
        &self.leaf_pem
    }

    pub(crate) fn fingerprint(&self) -> String {
        super::x509::fingerprint(&self.leaf)
    }

    /// What PKCS#8 wraps: PKCS#1 for RSA, SEC1 for ECDSA.
    pub(crate) fn traditional_key_pem(&self, label: &str) -> String {
        let (_, whole) = Any::from_der(&self.key_der).unwrap();
        let (rest, _version) = Any::from_der(whole.data).unwrap();
        let (rest, _algorithm) = Any::from_der(rest).unwrap();
        let (_, octets) = Any::from_der(rest).unwrap();
        let mut pem = format!("-----BEGIN {label}-----\n");
        for line in base64(octets.data).as_bytes().chunks(64) {
            pem.push_str(std::str::from_utf8(line).unwrap());
            pem.push('\n');
        }
        pem + &format!("-----END {label}-----\n")
    }

    /// By rename: the chain, then the key.
    pub(crate) fn write(&self, chain: &Path, key: &Path, mode: u32) {
        replace(chain, &self.chain_pem, 0o644);
        replace(key, &self.key_pem, mode);
    }

    /// `<stem>.crt` and `<stem>.key`.
    pub(crate) fn write_as(&self, stem: &Path) {
        self.write(&stem.with_extension("crt"), &stem.with_extension("key"), 0o600);
    }
}

/// Writes beside the path and renames over it.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

pub(crate) fn read_contents(paths: &[PathBuf]) -> Vec<Contents> {
    let files = paths.to_vec().into();
    file::read_together(&files, super::load::MAX_FILE_SIZE).contents.unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn parameters(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn ca(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}
