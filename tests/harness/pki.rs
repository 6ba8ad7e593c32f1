//! Certificates: an authority, what it issues, and the layouts in which operators leave pairs in folders.

use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A certificate authority: the root that clients trust, or one below it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The PEM that leaves carry behind their own certificate: empty for a root.
    intermediates: String,
    root_pem: String,
    folder: TempDir,
}

impl Authority {
    pub fn new(common_name: &str) -> Self {
        let key = Key::EcdsaP256.generate();
        let params = authority_params(common_name);
        let root_pem = params.self_signed(&key).expect("a root signs itself").pem();
        Self::assemble(Issuer::new(params, key), String::new(), root_pem)
    }

    /// An authority whose leaves need its certificate in their chain.
    pub fn intermediate(&self, common_name: &str) -> Self {
        self.below(authority_params(common_name))
    }

    /// The same, with a validity that begins and ends with these years.
    pub fn intermediate_valid_in(&self, common_name: &str, from: i32, to: i32) -> Self {
        let mut params = authority_params(common_name);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        self.below(params)
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = Key::EcdsaP256.generate();
        let own = params.signed_by(&key, &self.issuer).expect("an authority signs another").pem();
        Self::assemble(Issuer::new(params, key), own + &self.intermediates, self.root_pem.clone())
    }

    /// A P-256 pair for a server of these names.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.issue(Leaf::server(names))
    }

    pub fn issue(&self, leaf: Leaf) -> Pair {
        let key = leaf.key.generate();
        let certificate = leaf.params().signed_by(&key, &self.issuer).expect("the authority signs a leaf");
        Pair {
            certificates_pem: certificate.pem() + &self.intermediates,
            key_pem: key.serialize_pem(),
            leaf: certificate.der().clone(),
        }
    }

    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    /// Its own certificate, and those above it.
    pub(crate) fn certificate_pem(&self) -> String {
        format!("{}{}", self.intermediates, self.root_pem)
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem().as_bytes()).expect("our own PEM parses")
    }

    /// The root, as `--cacert` and `trust-anchors` want it.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub fn root_path(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    fn assemble(issuer: Issuer<'static, KeyPair>, intermediates: String, root_pem: String) -> Self {
        let folder = TempDir::new().expect("a scratch folder");
        fs::write(folder.path().join("root.pem"), &root_pem).expect("the root is written");
        Self { issuer, intermediates, root_pem, folder }
    }
}

/// What a certificate is to say. Valid from 2024 to 2099 unless a method says otherwise.
#[derive(Debug, Clone)]
pub struct Leaf {
    names: Vec<String>,
    common_name: Option<String>,
    organizational_unit: Option<String>,
    uri: Option<String>,
    key: Key,
    usage: ExtendedKeyUsagePurpose,
    years: (i32, i32),
    /// Seconds since 1970, where the beginning or the end is not that of a year.
    begin: Option<u64>,
    end: Option<u64>,
    serial: Option<u64>,
    extensions: Vec<CustomExtension>,
}

impl Leaf {
    pub fn server(names: &[&str]) -> Self {
        Self::of(names.iter().map(|name| (*name).to_owned()).collect(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(common_name: &str) -> Self {
        let leaf = Self::of(Vec::new(), ExtendedKeyUsagePurpose::ClientAuth);
        Self { common_name: Some(common_name.to_owned()), ..leaf }
    }

    pub fn organizational_unit(self, unit: &str) -> Self {
        Self { organizational_unit: Some(unit.to_owned()), ..self }
    }

    /// A subject alternative name of type URI, such as a SPIFFE id.
    pub fn uri(self, uri: &str) -> Self {
        Self { uri: Some(uri.to_owned()), ..self }
    }

    pub fn key(self, key: Key) -> Self {
        Self { key, ..self }
    }

    /// One that is known before the certificate is.
    pub fn serial(self, serial: u64) -> Self {
        Self { serial: Some(serial), ..self }
    }

    /// An extension that is not critical, with this content in DER.
    pub fn extension(mut self, oid: &[u64], content: Vec<u8>) -> Self {
        self.extensions.push(CustomExtension::from_oid_content(oid, content));
        self
    }

    /// Its validity ended in 2021.
    pub fn expired(self) -> Self {
        Self { years: (2020, 2021), ..self }
    }

    /// Its validity begins and ends with these years.
    pub fn valid_in(self, from: i32, to: i32) -> Self {
        Self { years: (from, to), ..self }
    }

    /// Its validity begins so many seconds after 1970.
    pub fn valid_from(self, begin: u64) -> Self {
        Self { begin: Some(begin), ..self }
    }

    /// Its validity ends so many seconds after 1970.
    pub fn valid_until(self, end: u64) -> Self {
        Self { end: Some(end), ..self }
    }

    fn of(names: Vec<String>, usage: ExtendedKeyUsagePurpose) -> Self {
        let (common_name, organizational_unit, uri) = (None, None, None);
        let (key, years, begin, end) = (Key::EcdsaP256, (2024, 2099), None, None);
        let (serial, extensions) = (None, Vec::new());
        Self {
            names,
            common_name,
            organizational_unit,
            uri,
            key,
            usage,
            years,
            begin,
            end,
            serial,
            extensions,
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).expect("DNS names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(unit) = &self.organizational_unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        if let Some(name) = self.common_name.as_ref().or(self.names.first()) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        if let Some(uri) = &self.uri {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().expect("a URI is ASCII")));
        }
        params.not_before = match self.begin {
            Some(begin) => date_time_ymd(1970, 1, 1) + Duration::from_secs(begin),
            None => date_time_ymd(self.years.0, 1, 1),
        };
        params.not_after = match self.end {
            Some(end) => date_time_ymd(1970, 1, 1) + Duration::from_secs(end),
            None => date_time_ymd(self.years.1, 1, 1),
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![self.usage.clone()];
        params.serial_number = Some(self.serial.map_or_else(next_serial, SerialNumber::from));
        params.custom_extensions = self.extensions.clone();
        params.use_authority_key_identifier_extension = true;
        params
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    EcdsaP256,
    /// All RSA pairs of a test run share one key: making one takes longer than most tests.
    Rsa2048,
    Ed25519,
}

impl Key {
    fn generate(self) -> KeyPair {
        static RSA: OnceLock<String> = OnceLock::new();
        let pair = match self {
            Self::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            Self::Rsa2048 => KeyPair::from_pem(RSA.get_or_init(|| {
                let pair = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("an RSA key is made");
                pair.serialize_pem()
            })),
        };
        pair.expect("a key is made")
    }
}

/// A certificate with its chain, and its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The leaf, then the authorities below the root.
    pub certificates_pem: String,
    pub key_pem: String,
    pub leaf: CertificateDer<'static>,
}

impl Pair {
    /// SHA-256 over the leaf, in hexadecimal, as the gateway's log and the tests' clients name a certificate.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.leaf)
    }

    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificates_pem.as_bytes())
            .collect::<Result<_, _>>()
            .expect("our own PEM parses")
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("our own PEM parses")
    }
}

/// SHA-256 in hexadecimal.
pub fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A folder for a certificate source, filled as operators and their tools do it: each file appears by a rename.
pub struct CertificateFolder {
    folder: TempDir,
}

impl Default for CertificateFolder {
    fn default() -> Self {
        Self::new()
    }
}

impl CertificateFolder {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a scratch folder") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `<name>.key`, then `<name>.crt`. When this returns, the rename that finishes the update has returned.
    pub fn put(&self, name: &str, pair: &Pair) {
        self.put_key(name, &pair.key_pem);
        self.put_certificate(name, &pair.certificates_pem);
    }

    pub fn put_certificate(&self, name: &str, pem: &str) {
        self.replace(&format!("{name}.crt"), pem, 0o644);
    }

    pub fn put_key(&self, name: &str, pem: &str) {
        self.replace(&format!("{name}.key"), pem, 0o600);
    }

    /// `<name>.ocsp`.
    pub fn put_ocsp(&self, name: &str, response: &[u8]) {
        self.replace(&format!("{name}.ocsp"), response, 0o644);
    }

    /// `<name>.pem` with key and certificates.
    pub fn put_combined(&self, name: &str, pair: &Pair) {
        self.replace(&format!("{name}.pem"), format!("{}{}", pair.key_pem, pair.certificates_pem), 0o600);
    }

    /// `<name>/fullchain.pem` and `<name>/privkey.pem`, as certbot names them.
    pub fn put_certbot(&self, name: &str, pair: &Pair) {
        self.replace(&format!("{name}/privkey.pem"), &pair.key_pem, 0o600);
        self.replace(&format!("{name}/fullchain.pem"), &pair.certificates_pem, 0o644);
    }

    /// `<name>/tls.crt` and `<name>/tls.key` through the symlink `..data`, as Kubernetes mounts a secret. Replacing
    /// the symlink replaces both at once.
    pub fn put_kubernetes(&self, name: &str, pair: &Pair) {
        let version = format!("..{}", unique());
        self.replace(&format!("{name}/{version}/tls.key"), &pair.key_pem, 0o600);
        self.replace(&format!("{name}/{version}/tls.crt"), &pair.certificates_pem, 0o644);
        let mount = self.path().join(name);
        let staged = mount.join(format!("..data-{}", unique()));
        symlink(&version, &staged).expect("a symlink is made");
        fs::rename(&staged, mount.join("..data")).expect("the symlink is swapped");
        for file in ["tls.key", "tls.crt"] {
            // They stay the same over all versions.
            let _ = symlink(format!("..data/{file}"), mount.join(file));
        }
    }

    /// A file of any name, which none but its owner can read.
    pub fn write(&self, file: &str, content: &str) {
        self.replace(file, content, 0o600);
    }

    /// Writes a file beside its place and renames it there.
    fn replace(&self, file: &str, content: impl AsRef<[u8]>, mode: u32) {
        let target = self.path().join(file);
        let parent = target.parent().expect("a file lies in a folder");
        fs::create_dir_all(parent).expect("a folder is made");
        // Not a name that a source would take for a certificate.
        let staged = parent.join(format!(".staged-{}", unique()));
        let mut options = fs::OpenOptions::new();
        let mut written =
            options.write(true).create_new(true).mode(mode).open(&staged).expect("a file is made");
        std::io::Write::write_all(&mut written, content.as_ref()).expect("a file is written");
        fs::rename(&staged, &target).expect("a file is renamed");
    }
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    params.serial_number = Some(next_serial());
    params
}

/// Left to itself, rcgen derives the serial number from the key, and certificates that share a key would be equal.
fn next_serial() -> SerialNumber {
    SerialNumber::from(0x4000_0000 + unique())
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
