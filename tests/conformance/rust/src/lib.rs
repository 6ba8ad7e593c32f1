//! The conformance policy in Rust: `../README.md` says what it does.

use std::hash::BuildHasher;
use std::time::Duration;

use handfast_policy::{
    Admit, Alert, Attribute, Certificate, ClientHello, Configure, Connection, Decision, IpAddress,
    KeyAlgorithm, PeerChain, Rejection, Select, Validate, Verdict, certificates, clock, counter,
    http::{Error, Request},
    key_value, log, random,
    random::RandomState,
};
use serde_json::Value;

struct Conformance {
    greeting: String,
}

handfast_policy::export!(Conformance: select, validate, admit, configure);

impl Configure for Conformance {
    fn configure(config: &str) -> Result<Self, String> {
        let table: Value = serde_json::from_str(config).map_err(|error| error.to_string())?;
        match table["fail"].as_str() {
            Some(text) => Err(text.to_owned()),
            None => Ok(Self { greeting: table["greeting"].as_str().unwrap_or_default().to_owned() }),
        }
    }
}

impl Select for Conformance {
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
        let listener = connection.listener();
        let (verb, rest) = listener.split_once(' ').unwrap_or((&listener, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "pass" => Decision::pass(),
            "drop" => Decision::drop(),
            "reject" => Decision::reject(Alert::Other(rest.parse().unwrap_or(0))).because("told to reject"),
            "passthrough" => Decision::passthrough(rest),
            "answer" => Verdict::Certificate(rest.to_owned()).into(),
            "echo" => Decision::pass().because(rest),
            "greeting" => Decision::pass().because(self.greeting.as_str()),
            "report" => {
                report(connection, hello);
                Decision::pass()
            }
            "find" => judge(&certificates::find(rest), hello),
            "tagged" => judge(&certificates::tagged(first, second), hello),
            "by-id" => judge(certificates::by_id(rest).as_slice(), hello),
            "fallback" => judge(certificates::fallback().as_slice(), hello),
            "log" => {
                use log::Level::{Debug, Error, Info, Trace, Warn};
                for (line, level) in (0..20).zip([Trace, Debug, Info, Warn, Error].into_iter().cycle()) {
                    log::write(level, &format!("line {line}"));
                }
                Decision::pass()
            }
            "count" => {
                counter::add(first, second.parse().unwrap_or(0));
                Decision::pass()
            }
            "store" => Decision::pass().because(store()),
            "clock" => {
                Decision::pass().because(format!("{} {}", clock::now(), clock::monotonic().as_nanos()))
            }
            "random" => {
                let [one, other] = [(); 2].map(|()| hex(&random::bytes(16)));
                Decision::pass().because(format!("{one} {other} {}", random::unsigned()))
            }
            "http" => Decision::pass().because(call(first, second)),
            "hash" => Decision::pass().because(RandomState::new().hash_one(rest).to_string()),
            _ => panic!("told to fail"),
        }
    }
}

impl Validate for Conformance {
    fn validate(
        &self,
        _: &Connection,
        _: &ClientHello,
        chain: &PeerChain,
    ) -> Result<Vec<Attribute>, Rejection> {
        for peer in (0..chain.length()).filter_map(|index| chain.certificate(index)) {
            log::info!(
                "peer {} {} {} {} {} {}",
                peer.subject(),
                peer.issuer(),
                peer.serial(),
                peer.fingerprint(),
                peer.not_before(),
                peer.not_after(),
            );
            log::info!(
                "names {} {} {} {} {} {}",
                joined(peer.dns_names()),
                joined(peer.uris()),
                joined(peer.email_addresses()),
                joined(peer.organizational_units()),
                absent(peer.common_name()),
                sum(&peer.der()),
            );
        }
        let Some(leaf) = chain.certificate(0) else {
            return Err(Rejection::new(Alert::CertificateRequired));
        };
        if leaf.common_name().as_deref() == Some("revoked") {
            return Err(Rejection::new(Alert::CertificateRevoked).because("revoked"));
        }
        Ok(vec![Attribute::new("subject", leaf.subject()), Attribute::new("uris", leaf.uris().join(" "))])
    }
}

impl Admit for Conformance {
    fn admit(&self, certificate: &Certificate) -> Result<(), String> {
        describe(certificate);
        match certificate.names().first() {
            Some(name) if name.starts_with("refused") => Err(format!("refused: {name}")),
            _ => Ok(()),
        }
    }
}

fn judge(found: &[Certificate], hello: &ClientHello) -> Decision {
    for certificate in found.iter().take(3) {
        describe(certificate);
        log::info!("usable {}", certificate.usable_by(hello));
    }
    match found.first() {
        Some(first) => Decision::certificate(first).because(found.len().to_string()),
        None => Decision::reject(Alert::UnrecognizedName),
    }
}

fn report(connection: &Connection, hello: &ClientHello) {
    let (client, server) = (connection.client_address(), connection.server_address());
    let tlvs = connection.proxy_tlvs();
    log::info!(
        "connection {} {} {} {} {} {} {}",
        connection.listener(),
        ip(client.ip),
        client.port,
        ip(server.ip),
        server.port,
        connection.proxied(),
        joined(tlvs.iter().map(|(kind, value)| format!("{kind}:{}", sum(value)))),
    );
    log::info!(
        "hello {} {} {}",
        absent(hello.server_name()),
        joined(hello.alpn().iter().map(|id| sum(id))),
        hello.offers_resumption(),
    );
    log::info!(
        "numbers {} {} {} {} {}",
        joined(hello.protocol_versions().iter().map(u16::to_string)),
        joined(hello.cipher_suites().iter().map(u16::to_string)),
        joined(hello.signature_schemes().iter().map(u16::to_string)),
        joined(hello.named_groups().iter().map(u16::to_string)),
        joined(hello.extensions().iter().map(u16::to_string)),
    );
    log::info!("prints {} {} {}", hello.ja3(), hello.ja4(), sum(&hello.raw()));
}

fn describe(certificate: &Certificate) {
    let algorithm = match certificate.key_algorithm() {
        KeyAlgorithm::Rsa => "rsa",
        KeyAlgorithm::EcdsaP256 => "ecdsa-p256",
        KeyAlgorithm::EcdsaP384 => "ecdsa-p384",
        KeyAlgorithm::EcdsaP521 => "ecdsa-p521",
        KeyAlgorithm::Ed25519 => "ed25519",
        KeyAlgorithm::Other => "other",
    };
    log::info!(
        "certificate {} {} {algorithm} {} {} {}",
        certificate.id(),
        joined(certificate.names()),
        certificate.key_bits(),
        certificate.not_before(),
        certificate.not_after(),
    );
    log::info!(
        "details {} {} {} {} {} {}",
        certificate.issuer(),
        certificate.serial(),
        certificate.fingerprint(),
        sum(&certificate.der()),
        joined(certificate.tags().iter().map(|(key, value)| format!("{key}={value}"))),
        absent(certificate.tag("team")),
    );
}

fn store() -> String {
    const LIVE: Duration = Duration::from_secs(60);
    let get = || key_value::get(b"k").map_or_else(|| "-".to_owned(), |value| hex(&value));
    let said = |failed: key_value::Error| match failed {
        key_value::Error::TooLarge => "too-large".to_owned(),
        key_value::Error::NotANumber => "not-a-number".to_owned(),
    };
    let set =
        |key: &[u8], value: &[u8]| key_value::set(key, value, LIVE).map_or_else(said, |()| "ok".to_owned());
    let add = |delta| key_value::increment(b"k", delta, LIVE).map_or_else(said, |sum| sum.to_string());
    let swap = |expected: Option<&[u8]>| {
        key_value::compare_and_set(b"k", expected, &[255], LIVE).map_or_else(said, |done| done.to_string())
    };
    let mut steps = vec![get(), set(b"k", &[1, 2, 3]), get()];
    key_value::delete(b"k");
    steps.extend([get(), add(5), add(-7), swap(None), swap(Some(&(-2_i64).to_le_bytes())), add(1)]);
    steps.push(set(&[b'k'; 300], &[255]));
    steps.join(" ")
}

fn call(method: &str, rest: &str) -> String {
    let (url, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let request = Request::new(method, url).field("x-conformance", "1").body(body.as_bytes());
    match request.patience(Duration::from_millis(250)).send() {
        Ok(response) => {
            let field = response.field("X-Answer").map(|value| String::from_utf8_lossy(value).into_owned());
            format!("{} {} {}", response.status, absent(field), sum(&response.body))
        }
        Err(error) => match error {
            Error::Request => "request",
            Error::NotAllowed => "not-allowed",
            Error::Limited => "limited",
            Error::TimedOut => "timed-out",
            Error::TooLarge => "too-large",
            Error::Failed => "failed",
        }
        .to_owned(),
    }
}

fn ip(address: IpAddress) -> String {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => format!("{a}.{b}.{c}.{d}"),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
            [a, b, c, d, e, f, g, h].map(|group| format!("{group:x}")).join(":")
        }
    }
}

fn sum(bytes: &[u8]) -> String {
    let total = bytes.iter().fold(0_u16, |total, byte| total.wrapping_add(u16::from(*byte)));
    format!("{}:{total}", bytes.len())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn absent(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn joined(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}
