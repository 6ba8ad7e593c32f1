//! What the conformance policies are shown: stand-ins for the gateway's own things, with values that a binding can get
//! wrong, and the lines that `README.md` says a policy writes about them.

use std::future::{Future, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use handfast_plugin_host::{
    Certificate, Certificates, ClientHello, Connection, HttpClient, HttpError, HttpExchange, HttpRequest,
    HttpResponse, KeyAlgorithm, PeerCertificate,
};

/// A connection whose listener's name is the instruction.
pub struct Socket {
    pub instruction: String,
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub proxied: bool,
    pub tlvs: Vec<(u8, Vec<u8>)>,
}

impl Socket {
    /// IPv6, behind a proxy.
    pub fn told(instruction: &str) -> Self {
        Self {
            instruction: instruction.to_owned(),
            client: address("[2001:db8::ff00:42:8329]:65535"),
            server: address("[::1]:443"),
            proxied: true,
            tlvs: vec![(0x05, b"unique id \0\xff".to_vec()), (0xea, Vec::new()), (0x02, vec![7; 4_096])],
        }
    }

    /// IPv4, and nothing more.
    pub fn bare(instruction: &str) -> Self {
        Self {
            client: address("192.0.2.7:1"),
            server: address("[::ffff:198.51.100.1]:8443"),
            proxied: false,
            tlvs: Vec::new(),
            ..Self::told(instruction)
        }
    }

    pub fn line(&self) -> String {
        let tlvs = self.tlvs.iter().map(|(kind, value)| format!("{kind}:{}", sum(value)));
        format!(
            "connection {} {} {} {} {} {} {}",
            self.instruction,
            ip(self.client.ip()),
            self.client.port(),
            ip(self.server.ip()),
            self.server.port(),
            self.proxied,
            joined(tlvs),
        )
    }
}

impl Connection for Socket {
    fn listener(&self) -> &str {
        &self.instruction
    }

    fn client_address(&self) -> SocketAddr {
        self.client
    }

    fn server_address(&self) -> SocketAddr {
        self.server
    }

    fn proxied(&self) -> bool {
        self.proxied
    }

    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)> {
        self.tlvs.clone()
    }
}

#[derive(Clone)]
pub struct Hello {
    pub server_name: Option<String>,
    pub alpn: Vec<Vec<u8>>,
    pub protocol_versions: Vec<u16>,
    pub cipher_suites: Vec<u16>,
    pub signature_schemes: Vec<u16>,
    pub named_groups: Vec<u16>,
    pub extensions: Vec<u16>,
    pub raw: Vec<u8>,
    pub offers_resumption: bool,
}

impl Hello {
    pub fn rich() -> Self {
        Self {
            server_name: Some("xn--mnchen-3ya.example".to_owned()),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec(), vec![0, 0xff, 0x0a], vec![b'x'; 255]],
            protocol_versions: vec![0x7a7a, 0x0304, 0x0303],
            cipher_suites: vec![0xdada, 0x1301, 0x1302, 0xc02b, 0xffff, 0x0000],
            signature_schemes: vec![0x0403, 0x0804],
            named_groups: vec![0x11ec, 0x001d],
            extensions: vec![0, 23, 65_281, 10],
            raw: (0..=255).cycle().take(65_536).collect(),
            offers_resumption: true,
        }
    }

    /// Everything that can be absent is.
    pub fn bare() -> Self {
        Self {
            server_name: None,
            alpn: Vec::new(),
            protocol_versions: vec![0x0303],
            cipher_suites: Vec::new(),
            signature_schemes: Vec::new(),
            named_groups: Vec::new(),
            extensions: Vec::new(),
            raw: Vec::new(),
            offers_resumption: false,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let numbers = |list: &[u16]| joined(list.iter().map(u16::to_string));
        vec![
            format!(
                "hello {} {} {}",
                self.server_name.as_deref().unwrap_or("-"),
                joined(self.alpn.iter().map(|id| sum(id))),
                self.offers_resumption
            ),
            format!(
                "numbers {} {} {} {} {}",
                numbers(&self.protocol_versions),
                numbers(&self.cipher_suites),
                numbers(&self.signature_schemes),
                numbers(&self.named_groups),
                numbers(&self.extensions)
            ),
            format!("prints {JA3} {JA4} {}", sum(&self.raw)),
        ]
    }
}

const JA3: &str = "cd08e31494f9531f560d64c695473da9";
const JA4: &str = "t13d1516h2_8daaf6152771_e5627efa2ab1";

impl ClientHello for Hello {
    fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        self.alpn.clone()
    }

    fn protocol_versions(&self) -> Vec<u16> {
        self.protocol_versions.clone()
    }

    fn cipher_suites(&self) -> Vec<u16> {
        self.cipher_suites.clone()
    }

    fn signature_schemes(&self) -> Vec<u16> {
        self.signature_schemes.clone()
    }

    fn named_groups(&self) -> Vec<u16> {
        self.named_groups.clone()
    }

    fn extensions(&self) -> Vec<u16> {
        self.extensions.clone()
    }

    fn ja3(&self) -> String {
        JA3.to_owned()
    }

    fn ja4(&self) -> String {
        JA4.to_owned()
    }

    fn raw(&self) -> Vec<u8> {
        self.raw.clone()
    }

    fn offers_resumption(&self) -> bool {
        self.offers_resumption
    }
}

#[derive(Clone)]
pub struct Pair {
    pub id: String,
    pub names: Vec<String>,
    pub key: (KeyAlgorithm, &'static str, u32),
    pub validity: (i64, i64),
    pub issuer: String,
    pub der: Vec<u8>,
    pub tags: Vec<(String, String)>,
}

impl Pair {
    pub fn named(name: &str) -> Self {
        Self {
            id: format!("files:{name}"),
            names: vec![name.to_owned()],
            key: (KeyAlgorithm::EcdsaP256, "ecdsa-p256", 256),
            validity: (1_700_000_000, 4_102_444_800),
            issuer: "CN=Example-CA".to_owned(),
            der: vec![0x30; 700],
            tags: Vec::new(),
        }
    }

    /// What strains a binding: Unicode, times before 1970 and far away, many names, tags of all kinds.
    pub fn strange() -> Self {
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            id: "büro:証明書/🔏".to_owned(),
            names: (0..50)
                .map(|number| format!("n{number}.example"))
                .chain(["2001:db8::1".to_owned()])
                .collect(),
            key: (KeyAlgorithm::Rsa, "rsa", 16_384),
            validity: (-2_208_988_800, 253_402_300_799),
            issuer: r#"CN=Zertifizierungsstelle\,O=Grüße\20\"AG\""#.to_owned(),
            der: (0..=255).cycle().take(100_000).collect(),
            tags: vec![tag("", ""), tag("team", "größte"), tag("🔑", "=,:")],
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let tags = self.tags.iter().map(|(key, value)| format!("{key}={value}"));
        let team = self.tags.iter().find(|(key, _)| key == "team").map_or("-", |(_, value)| value.as_str());
        let (_, algorithm, bits) = self.key;
        vec![
            format!(
                "certificate {} {} {algorithm} {bits} {} {}",
                self.id,
                joined(self.names.iter().cloned()),
                self.validity.0,
                self.validity.1,
            ),
            format!(
                "details {} {SERIAL} {} {} {} {team}",
                self.issuer,
                self.fingerprint(),
                sum(&self.der),
                joined(tags),
            ),
        ]
    }
}

const SERIAL: &str = "f00dfeed";

impl Certificate for Pair {
    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn key_algorithm(&self) -> KeyAlgorithm {
        self.key.0
    }

    fn key_bits(&self) -> u32 {
        self.key.2
    }

    fn not_before(&self) -> i64 {
        self.validity.0
    }

    fn not_after(&self) -> i64 {
        self.validity.1
    }

    fn issuer(&self) -> String {
        self.issuer.clone()
    }

    fn serial(&self) -> String {
        SERIAL.to_owned()
    }

    fn fingerprint(&self) -> String {
        "a5".repeat(32)
    }

    fn der(&self) -> Vec<u8> {
        self.der.clone()
    }

    fn tags(&self) -> Vec<(String, String)> {
        self.tags.clone()
    }

    fn usable_by(&self, hello: &dyn ClientHello) -> bool {
        !hello.signature_schemes().is_empty()
    }
}

#[derive(Clone)]
pub struct Peer {
    pub common_name: Option<String>,
    pub lists: [Vec<String>; 4],
    pub der: Vec<u8>,
}

impl Peer {
    pub fn rich(common_name: &str) -> Self {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            common_name: Some(common_name.to_owned()),
            lists: [
                list(&["a.example", "*.b.example"]),
                list(&["spiffe://example.org/ns/shop", "https://example.org/ü"]),
                list(&["till@example.org"]),
                list(&["Kasse", "営業"]),
            ],
            der: vec![0x30, 0x82, 0xff],
        }
    }

    pub fn bare() -> Self {
        Self { common_name: None, lists: [const { Vec::new() }; 4], der: Vec::new() }
    }

    pub fn lines(&self) -> Vec<String> {
        let [dns_names, uris, email_addresses, units] =
            self.lists.each_ref().map(|list| joined(list.iter().cloned()));
        vec![
            format!(
                "peer {} {} {} {} {} {}",
                SUBJECT,
                "CN=Root",
                SERIAL,
                "5a".repeat(32),
                -1,
                i64::from(u32::MAX)
            ),
            format!(
                "names {dns_names} {uris} {email_addresses} {units} {} {}",
                self.common_name.as_deref().unwrap_or("-"),
                sum(&self.der)
            ),
        ]
    }
}

pub const SUBJECT: &str = "CN=client,O=Example";

impl PeerCertificate for Peer {
    fn subject(&self) -> String {
        SUBJECT.to_owned()
    }

    fn issuer(&self) -> String {
        "CN=Root".to_owned()
    }

    fn serial(&self) -> String {
        SERIAL.to_owned()
    }

    fn fingerprint(&self) -> String {
        "5a".repeat(32)
    }

    fn not_before(&self) -> i64 {
        -1
    }

    fn not_after(&self) -> i64 {
        i64::from(u32::MAX)
    }

    fn dns_names(&self) -> Vec<String> {
        self.lists[0].clone()
    }

    fn uris(&self) -> Vec<String> {
        self.lists[1].clone()
    }

    fn email_addresses(&self) -> Vec<String> {
        self.lists[2].clone()
    }

    fn organizational_units(&self) -> Vec<String> {
        self.lists[3].clone()
    }

    fn common_name(&self) -> Option<String> {
        self.common_name.clone()
    }

    fn der(&self) -> Vec<u8> {
        self.der.clone()
    }
}

/// Finds by the first name, by id, and by tag; the first is the fallback.
#[derive(Clone, Default)]
pub struct Store(pub Vec<Pair>);

impl Store {
    fn those(&self, wanted: impl Fn(&Pair) -> bool) -> Vec<Arc<dyn Certificate>> {
        let found = self.0.iter().filter(|pair| wanted(pair));
        found.map(|pair| Arc::new(pair.clone()) as Arc<dyn Certificate>).collect()
    }
}

impl Certificates for Store {
    fn find(&self, name: &str) -> Vec<Arc<dyn Certificate>> {
        self.those(|pair| pair.names.first().is_some_and(|own| own == name))
    }

    fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(false))
    }

    fn by_id(&self, id: &str) -> Option<Arc<dyn Certificate>> {
        self.those(|pair| pair.id == id).pop()
    }

    fn tagged(&self, key: &str, value: &str) -> Vec<Arc<dyn Certificate>> {
        self.those(|pair| pair.tags.iter().any(|tag| tag.0 == key && tag.1 == value))
    }

    fn fallback(&self) -> Option<Arc<dyn Certificate>> {
        self.those(|_| true).into_iter().next()
    }
}

/// The hosts that a policy calls: what they answer is in the path, and what they were asked is remembered.
#[derive(Debug, Default)]
pub struct Web(Mutex<Vec<HttpRequest>>);

impl Web {
    /// The paths of calls that fail, and how the interface of every SDK names the reason.
    pub const FAILURES: [(&str, HttpError, &str); 12] = [
        ("/not-allowed", HttpError::NotAllowed, "not-allowed"),
        ("/address-refused", HttpError::AddressRefused, "not-allowed"),
        ("/invalid", HttpError::Invalid, "request"),
        ("/request-too-large", HttpError::RequestTooLarge, "too-large"),
        ("/limited", HttpError::Limited, "limited"),
        ("/breaker-open", HttpError::BreakerOpen, "limited"),
        ("/timed-out", HttpError::TimedOut, "timed-out"),
        ("/no-address", HttpError::NoAddress, "failed"),
        ("/unreachable", HttpError::Unreachable, "failed"),
        ("/tls", HttpError::Tls, "failed"),
        ("/broken", HttpError::Broken, "failed"),
        ("/response-too-large", HttpError::ResponseTooLarge, "too-large"),
    ];

    /// What it was asked since the last time.
    pub fn asked(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The longest body that may be, of every byte that there is.
    pub fn body() -> Vec<u8> {
        (0..=255).cycle().take(64 << 10).collect()
    }

    /// The reason of a policy that was answered with it.
    pub fn reason() -> String {
        format!("200 ja {}", sum(&Self::body()))
    }

    fn answer(path: &str) -> Result<HttpResponse, HttpError> {
        if let Some((_, error, _)) = Self::FAILURES.into_iter().find(|(failing, ..)| *failing == path) {
            return Err(error);
        }
        let field = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        Ok(match path {
            "/" => HttpResponse { status: 404, ..HttpResponse::default() },
            _ => HttpResponse {
                status: 200,
                // What is no UTF-8 is a value too (RFC 9110 section 5.5).
                fields: vec![
                    field("x-bytes", b"\xff\xfe"),
                    field("x-answer", b"ja"),
                    field("x-answer", b"nein"),
                ],
                body: Self::body(),
            },
        })
    }
}

/// Its bounds are the gateway's defaults.
impl HttpClient for Web {
    fn hosts(&self) -> Vec<String> {
        vec!["keys.example".to_owned()]
    }

    fn max_request_bytes(&self) -> usize {
        16 << 10
    }

    fn max_response_bytes(&self) -> usize {
        64 << 10
    }

    fn send(&self, request: HttpRequest) -> HttpExchange {
        let answer = Self::answer(&request.path).map(Arc::new);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Box::pin(ready(answer))
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is an address"))
}

fn ip(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

fn sum(bytes: &[u8]) -> String {
    let total = bytes.iter().fold(0_u16, |total, byte| total.wrapping_add(u16::from(*byte)));
    format!("{}:{total}", bytes.len())
}

fn joined(values: impl Iterator<Item = String>) -> String {
    let values: Vec<_> = values.collect();
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}
