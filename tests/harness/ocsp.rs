//! OCSP responders: one of ours, which says what the test wants and counts its requests, and OpenSSL's.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use der::asn1::{Any, BitString, OctetString};
use der::oid::ObjectIdentifier;
use der::{DateTime, Decode, Encode, Tag};
use rcgen::SigningKey;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponderId,
    ResponseData, RevokedInfo, SingleResponse,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::DEADLINE;
use crate::pki::{Authority, Leaf, Pair};
use crate::tool::require_tool;
use crate::wait::Watched;

/// What an authority says about a certificate: *good*, as of an hour ago, for two hours.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    status: CertStatus,
    /// Seconds since it holds.
    age: i64,
    /// Seconds until it does not hold any more.
    left: i64,
}

impl Default for Statement {
    fn default() -> Self {
        Self { status: CertStatus::good(), age: 3600, left: 7200 }
    }
}

impl Statement {
    /// Holds since `age` seconds, for `left` more.
    pub fn lasting(age: i64, left: i64) -> Self {
        Self { age, left, ..Self::default() }
    }

    pub fn revoked() -> Self {
        let info = RevokedInfo { revocation_time: in_seconds(-7200), revocation_reason: None };
        Self { status: CertStatus::revoked(info), ..Self::default() }
    }

    /// The response for a pair, as an `.ocsp` file has it.
    pub fn about(self, pair: &Pair, authority: &Authority) -> Vec<u8> {
        let issuer = authority.certificate();
        let (_, issuer) = X509Certificate::from_der(&issuer).expect("our own certificate parses");
        let (_, leaf) = X509Certificate::from_der(&pair.leaf).expect("our own certificate parses");
        let hash =
            |bytes: &[u8]| OctetString::new(Sha256::digest(bytes).as_slice()).expect("a hash is short");
        let serial = Any::new(Tag::Integer, leaf.raw_serial()).and_then(|serial| serial.to_der());
        self.signed(
            CertId {
                hash_algorithm: algorithm("2.16.840.1.101.3.4.2.1"),
                issuer_name_hash: hash(leaf.issuer().as_raw()),
                issuer_key_hash: hash(&issuer.public_key().subject_public_key.data),
                serial_number: serial.and_then(|serial| Decode::from_der(&serial)).expect("a serial number"),
            },
            authority,
        )
    }

    fn signed(self, id: CertId, authority: &Authority) -> Vec<u8> {
        let issuer = authority.certificate();
        let (_, issuer) = X509Certificate::from_der(&issuer).expect("our own certificate parses");
        let single = SingleResponse {
            cert_id: id,
            cert_status: self.status,
            this_update: in_seconds(-self.age),
            next_update: Some(in_seconds(self.left)),
            single_extensions: None,
        };
        let data = ResponseData {
            version: x509_ocsp::Version::V1,
            responder_id: ResponderId::ByName(Decode::from_der(issuer.subject().as_raw()).expect("a name")),
            produced_at: in_seconds(0),
            responses: vec![single],
            response_extensions: None,
        };
        let signature = authority.key().sign(&data.to_der().expect("it is encoded")).expect("it is signed");
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: algorithm("1.2.840.10045.4.3.2"),
            signature: BitString::from_bytes(&signature).expect("a signature is short"),
            certs: None,
        };
        OcspResponse::successful(basic).and_then(|response| response.to_der()).expect("it is encoded")
    }
}

/// A responder in this process. It says about every certificate what it was last told to say.
pub struct Responder {
    address: SocketAddr,
    state: Watched<State>,
}

struct State {
    /// `None`: connections are closed without an answer.
    statement: Option<Statement>,
    requests: usize,
}

impl Responder {
    pub fn start(authority: &Arc<Authority>, statement: Statement) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Watched::new(State { statement: Some(statement), requests: 0 });
        let (shared, signer) = (state.clone(), authority.clone());
        // Until the test process ends.
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let request = read_request(&mut stream);
                let statement = shared.change(|state| {
                    state.requests += 1;
                    state.statement
                });
                if let (Some(request), Some(statement)) = (request, statement) {
                    let body = answer(&request, statement, &signer);
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    let _ = stream.write_all(&[head.as_bytes(), &body].concat());
                }
            }
        });
        Self { address, state }
    }

    /// What a certificate has to name.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn say(&self, statement: Statement) {
        self.state.change(|state| state.statement = Some(statement));
    }

    /// From now on connections are closed without an answer.
    pub fn go_down(&self) {
        self.state.change(|state| state.statement = None);
    }

    pub fn requests(&self) -> usize {
        self.state.lock().requests
    }

    /// Waits until it was asked so many times, answered or not.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        let seen = self.state.wait(|state| (state.requests >= count).then_some(()));
        assert!(seen.is_some(), "waited {DEADLINE:?} in vain for {count} requests to the responder");
    }
}

/// `openssl ocsp`, which knows one certificate.
pub struct OpensslResponder {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl OpensslResponder {
    /// Says *good* about the certificate of this serial number.
    #[track_caller]
    pub fn start(authority: &Authority, serial: u64) -> Self {
        require_tool("openssl", "openssl");
        let folder = TempDir::new().expect("a scratch folder");
        let path = |name: &str| folder.path().join(name);
        let index = format!("V\t991231235959Z\t\t{serial:016X}\tunknown\t/CN=any\n");
        for (name, text) in [
            ("index.txt", index),
            ("issuer.pem", authority.certificate_pem()),
            ("issuer.key", authority.key().serialize_pem()),
        ] {
            fs::write(path(name), text).expect("a file is written");
        }
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-port", "0", "-nmin", "60", "-index"]).arg(path("index.txt"));
        command.arg("-CA").arg(path("issuer.pem")).arg("-rsigner").arg(path("issuer.pem"));
        command.arg("-rkey").arg(path("issuer.key"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl starts");
        // ACCEPT [::]:38451 PID=3363
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("ACCEPT"));
        let line = line.expect("the responder accepts");
        let port = line.split_whitespace().nth(1).and_then(|address| address.rsplit(':').next());
        let port: u16 = port.and_then(|port| port.parse().ok()).expect("a port");
        // It must not block on what it writes.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OpensslResponder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Leaf {
    /// Names a responder (authority information access).
    pub fn responder(self, url: &str) -> Self {
        let method = tlv(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01]);
        let description = tlv(0x30, &[method, tlv(0x86, url.as_bytes())].concat());
        self.extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], tlv(0x30, &description))
    }

    /// Clients are to insist on a staple (RFC 7633).
    pub fn must_staple(self) -> Self {
        self.extension(&[1, 3, 6, 1, 5, 5, 7, 1, 24], tlv(0x30, &tlv(0x02, &[5])))
    }
}

fn answer(request: &[u8], statement: Statement, authority: &Authority) -> Vec<u8> {
    let request = OcspRequest::from_der(request).expect("the gateway sends OCSP requests");
    let [asked] = <[_; 1]>::try_from(request.tbs_request.request_list).expect("about one certificate");
    statement.signed(asked.req_cert, authority)
}

/// The OCSP request of a GET. Ours are short, and come in one piece.
fn read_request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(bytes.get(..read)?).into_owned();
    let path = text.strip_prefix("GET /")?.split(' ').next()?;
    let base64 = path.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    data_encoding::BASE64.decode(base64.as_bytes()).ok()
}

fn algorithm<T: for<'a> Decode<'a>>(oid: &str) -> T {
    let oid = ObjectIdentifier::new(oid).expect("an identifier").to_der().expect("it is encoded");
    T::from_der(&tlv(0x30, &oid)).expect("an algorithm")
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    [&[tag, length.expect("short enough for one length byte")], content].concat()
}

fn in_seconds(seconds: i64) -> OcspGeneralizedTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let time = std::time::Duration::from_secs(now.as_secs().saturating_add_signed(seconds));
    DateTime::from_unix_duration(time).expect("it is earlier than 10000").into()
}
