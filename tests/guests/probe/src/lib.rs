//! A policy with all hooks that does what the test asks for.
//!
//! `select` obeys the first label of the server name, or `{"select": "…"}` of its config where the label says nothing:
//!
//! | label | what happens |
//! |---|---|
//! | `pass`, `drop` | that verdict |
//! | `reject-<alert>` | that alert: a few names, or a number |
//! | `passthrough-<upstream>` | that upstream |
//! | `default` | the certificate of `certificates.fallback()` |
//! | `tagged-<value>` | the first certificate with the tag `probe` of that value |
//! | `unknown` | a certificate that does not exist: an invalid verdict |
//! | `count` | the name's certificate; the reason says how many calls this instance has served |
//! | `config` | the name's certificate; the reason is the config |
//! | `clock`, `random` | the name's certificate; the reason is what the import answered |
//! | `chatter` | the name's certificate, after 100 log lines |
//! | `panic`, `loop`, `hog` | no verdict |
//! | others | the name's certificate; every getter is read and logged; the reason is `listener client ja4` |
//!
//! `validate` rejects a leaf whose OU or CN is `refused`, and gives attributes else. `admit` refuses a certificate with a
//! name that contains `refused`. `configure` fails with the text of `{"fail": "…"}`, and on what is not JSON.

use std::{cell::Cell, net::SocketAddr};

use handfast_policy::{
    Admit, Alert, Attribute, Certificate, ClientHello, Configure, Connection, Decision, PeerChain, Rejection,
    Select, Validate, Verdict, certificates, clock, log, random,
};
use serde_json::Value;

struct Probe {
    config: String,
    select: Option<String>,
    calls: Cell<u32>,
}

handfast_policy::export!(Probe: select, validate, admit, configure);

impl Configure for Probe {
    fn configure(config: &str) -> Result<Self, String> {
        let parsed: Value = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if let Some(text) = parsed["fail"].as_str() {
            return Err(text.to_owned());
        }
        let select = parsed["select"].as_str().map(str::to_owned);
        Ok(Self { config: config.to_owned(), select, calls: Cell::new(0) })
    }
}

impl Select for Probe {
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
        self.calls.set(self.calls.get() + 1);
        let name = hello.server_name().unwrap_or_default();
        let label = name.split('.').next().unwrap_or_default();
        self.obey(label, connection, hello)
            .or_else(|| self.obey(self.select.as_deref()?, connection, hello))
            .unwrap_or_else(|| for_the_name(hello).because(report(connection, hello)))
    }
}

impl Probe {
    /// `None` where the instruction is none.
    fn obey(&self, instruction: &str, connection: &Connection, hello: &ClientHello) -> Option<Decision> {
        let (verb, object) = instruction.split_once('-').unwrap_or((instruction, ""));
        Some(match verb {
            "pass" => Decision::pass().because("told to pass"),
            "drop" => Decision::drop().because("told to drop"),
            "reject" => Decision::reject(alert(object)?).because("told to reject"),
            "passthrough" => Decision::passthrough(object).because("told to pass through"),
            "default" => or_reject(certificates::fallback()).because("told to use the default"),
            "tagged" => {
                or_reject(certificates::tagged("probe", object).pop()).because("told to use the tagged one")
            }
            "unknown" => Verdict::Certificate("no such certificate".to_owned()).into(),
            "count" => for_the_name(hello).because(format!("call {} of this instance", self.calls.get())),
            "config" => for_the_name(hello).because(self.config.as_str()),
            "clock" => for_the_name(hello).because(format!("{} {:?}", clock::now(), clock::monotonic())),
            "random" => {
                for_the_name(hello).because(format!("{:016x} {:02x?}", random::unsigned(), random::bytes(4)))
            }
            "chatter" => {
                (0..100).for_each(|line| log::info!("line {line}"));
                for_the_name(hello)
            }
            "panic" => panic!("told to panic by {}", connection.listener()),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "hog" => loop {
                std::mem::forget(std::hint::black_box(vec![1_u8; 256 << 10]));
            },
            _ => return None,
        })
    }
}

impl Validate for Probe {
    fn validate(
        &self,
        _: &Connection,
        _: &ClientHello,
        chain: &PeerChain,
    ) -> Result<Vec<Attribute>, Rejection> {
        let Some(leaf) = chain.certificate(0) else {
            return Err(Rejection::new(Alert::CertificateRequired).because("an empty chain"));
        };
        let refused = |name: &String| name == "refused";
        if leaf.organizational_units().iter().any(refused) || leaf.common_name().iter().any(refused) {
            return Err(Rejection::new(Alert::AccessDenied).because("the certificate is for `refused`"));
        }
        log::info!("valid={:?} der={}", leaf.not_before()..leaf.not_after(), leaf.der().len());
        Ok(vec![
            Attribute::new("subject", leaf.subject()),
            Attribute::new("issuer", leaf.issuer()),
            Attribute::new("serial", leaf.serial()),
            Attribute::new("fingerprint", leaf.fingerprint()),
            Attribute::new("common-name", leaf.common_name().unwrap_or_default()),
            Attribute::new("uris", leaf.uris().join(" ")),
            Attribute::new("dns-names", leaf.dns_names().join(" ")),
            Attribute::new("email-addresses", leaf.email_addresses().join(" ")),
            Attribute::new("chain-length", chain.length().to_string()),
        ])
    }
}

impl Admit for Probe {
    fn admit(&self, certificate: &Certificate) -> Result<(), String> {
        match certificate.names().iter().find(|name| name.contains("refused")) {
            Some(name) => Err(format!("no certificate for {name} goes live")),
            None => Ok(()),
        }
    }
}

fn for_the_name(hello: &ClientHello) -> Decision {
    let name = hello.server_name().unwrap_or_default();
    or_reject(certificates::find(&name).into_iter().find(|certificate| certificate.usable_by(hello)))
}

fn or_reject(certificate: Option<Certificate>) -> Decision {
    match certificate {
        Some(certificate) => {
            log::debug!(
                "id={} names={:?} key={:?}/{} valid={:?} issuer={} serial={} fingerprint={} der={} tags={:?}",
                certificate.id(),
                certificate.names(),
                certificate.key_algorithm(),
                certificate.key_bits(),
                certificate.not_before()..certificate.not_after(),
                certificate.issuer(),
                certificate.serial(),
                certificate.fingerprint(),
                certificate.der().len(),
                certificate.tags(),
            );
            Decision::certificate(&certificate)
        }
        None => Decision::reject(Alert::UnrecognizedName),
    }
}

fn report(connection: &Connection, hello: &ClientHello) -> String {
    let client = SocketAddr::from(connection.client_address());
    log::info!(
        "listener={} client={client} server={} proxied={} tlvs={:?}",
        connection.listener(),
        SocketAddr::from(connection.server_address()),
        connection.proxied(),
        connection.proxy_tlvs(),
    );
    log::info!(
        "server-name={:?} alpn={:?} versions={:04x?} ciphers={:04x?} schemes={:04x?} groups={:04x?} extensions={:?}",
        hello.server_name(),
        hello.alpn().iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect::<Vec<_>>(),
        hello.protocol_versions(),
        hello.cipher_suites(),
        hello.signature_schemes(),
        hello.named_groups(),
        hello.extensions(),
    );
    log::info!("ja3={} raw={} resumption={}", hello.ja3(), hello.raw().len(), hello.offers_resumption());
    format!("{} {} {}", connection.listener(), client.ip(), hello.ja4())
}

fn alert(name: &str) -> Option<Alert> {
    Some(match name {
        "handshake-failure" => Alert::HandshakeFailure,
        "bad-certificate" => Alert::BadCertificate,
        "access-denied" => Alert::AccessDenied,
        "protocol-version" => Alert::ProtocolVersion,
        "internal-error" => Alert::InternalError,
        "unrecognized-name" => Alert::UnrecognizedName,
        number => Alert::Other(number.parse().ok()?),
    })
}
