//! `/certificates`: what the store knows of each certificate, as JSON, a page at a time.
//!
//! The types here are the stable form that docs/observation.md describes: `handfast certificate` reads what a running
//! gateway sends into them, and fills them itself where none runs. A later version adds members and removes none, so
//! whoever reads must ignore what it does not know.
//!
//! Pages rather than a stream: 100,000 certificates are some 50 MB of JSON, more than an admin connection may take the
//! time for, and a page is a bounded piece of memory on both sides. What is added or removed between two pages may be
//! missed; no certificate is told twice.

use std::collections::BTreeMap;

use handfast_plugin_host::{Certificate as _, KeyAlgorithm};
use serde::{Deserialize, Serialize};

use crate::certificate::expiry::{days, rfc3339};
use crate::certificate::store::{Finding, Link, Page, State, Status};
use crate::certificate::{Certificate, CertificateStore, ocsp, unix_now};

/// The most certificates of a page, and what is sent unless less is asked for: about 500 KB.
pub const PAGE: usize = 1_000;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The version of the gateway that says it.
    pub handfast: String,
    /// Of all pages together.
    pub total: usize,
    /// Ordered by id.
    pub certificates: Vec<Item>,
    /// The value of `after` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What the sources have that is no pair and is not served. On the first page alone; at most [`PAGE`].
    #[serde(default)]
    pub findings: Vec<FindingItem>,
}

/// Something to know, with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingItem {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// The name of a source, or a path.
    pub subject: String,
    pub text: String,
}

/// One certificate, or a pair that never became one. What a refused pair would have said of itself is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    pub source: String,
    /// `current`, `last-good-kept`, `gone`, `expired` or `refused`.
    pub state: String,
    pub error: Option<String>,
    pub required: bool,
    pub names: Vec<String>,
    pub algorithm: Option<String>,
    pub key_bits: Option<u32>,
    /// RFC 3339, in UTC.
    pub not_before: Option<String>,
    pub not_after: Option<String>,
    /// Whole days; negative once it has expired.
    pub days_left: Option<i64>,
    pub issuer: Option<String>,
    pub serial: Option<String>,
    pub fingerprint: Option<String>,
    /// `none`, `stapled`, `missing`, `expired` or `revoked`.
    pub ocsp: Option<String>,
    /// Until when the staple holds.
    pub ocsp_until: Option<String>,
    /// Why there is no staple, or no newer one.
    #[serde(default)]
    pub ocsp_error: Option<String>,
    pub tags: BTreeMap<String, String>,
    pub files: Vec<String>,
    /// Leaf first. Only where one certificate was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<ChainItem>>,
}

/// A certificate of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainItem {
    pub subject: String,
    pub not_after: String,
    pub fingerprint: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    Page {
        /// The last id of the page before.
        after: Option<String>,
        /// 1 to [`PAGE`].
        limit: usize,
    },
    One {
        id: String,
    },
}

impl Default for Query {
    fn default() -> Self {
        Self::Page { after: None, limit: PAGE }
    }
}

/// Why a query is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("`limit` is a number from 1 to {PAGE}")]
    Limit,
    #[error("a value is not percent-encoded UTF-8")]
    Encoding,
    #[error("the parameters are `after` and `limit`, or `id` alone; each once")]
    Parameter,
}

impl Query {
    /// Reads the part of a URI after the question mark.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let (mut after, mut limit, mut id) = (None, None, None);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(QueryError::Parameter)?;
            let place = match name {
                "after" => &mut after,
                "limit" => &mut limit,
                "id" => &mut id,
                _ => return Err(QueryError::Parameter),
            };
            if place.replace(decode(value)?).is_some() {
                return Err(QueryError::Parameter);
            }
        }
        match (id, after, limit) {
            (Some(id), None, None) => Ok(Self::One { id }),
            (Some(_), _, _) => Err(QueryError::Parameter),
            (None, after, limit) => {
                let limit = limit.map_or(Ok(PAGE), |limit| limit.parse().map_err(|_| QueryError::Limit))?;
                match (1..=PAGE).contains(&limit) {
                    true => Ok(Self::Page { after, limit }),
                    false => Err(QueryError::Limit),
                }
            }
        }
    }

    /// The path and query that ask for this.
    pub fn uri(&self) -> String {
        match self {
            Self::One { id } => format!("/certificates?id={}", encode(id)),
            Self::Page { after: None, limit } => format!("/certificates?limit={limit}"),
            Self::Page { after: Some(after), limit } => {
                format!("/certificates?after={}&limit={limit}", encode(after))
            }
        }
    }
}

/// Answers a query. Looks at every certificate the store has, so not for a thread that others wait for.
pub fn answer(store: &CertificateStore, query: &Query) -> Listing {
    let (page, in_full) = match query {
        Query::Page { after, limit } => (store.page(after.as_deref(), *limit), false),
        Query::One { id } => {
            let certificates = store.status(id);
            (Page { total: certificates.len(), certificates, next: None }, true)
        }
    };
    let findings = match query {
        Query::Page { after: None, .. } => listed(store.left_out()),
        _ => Vec::new(),
    };
    let now = unix_now();
    Listing {
        handfast: env!("CARGO_PKG_VERSION").to_owned(),
        total: page.total,
        certificates: page.certificates.iter().map(|status| Item::new(status, in_full, now)).collect(),
        next: page.next,
        findings,
    }
}

/// As many as a page has room for, and how many there are besides.
fn listed(findings: Vec<Finding>) -> Vec<FindingItem> {
    let more = findings.len().saturating_sub(PAGE);
    let mut listed: Vec<_> = findings.into_iter().take(PAGE).map(FindingItem::from).collect();
    if let Some(last) = listed.last_mut().filter(|_| more > 0) {
        last.text.push_str(&format!(" (and {more} more)"));
    }
    listed
}

impl From<Finding> for FindingItem {
    fn from(finding: Finding) -> Self {
        let Finding { severity, subject, text } = finding;
        Self { severity: severity.word().to_owned(), subject, text }
    }
}

impl Item {
    fn new(status: &Status, in_full: bool, now: i64) -> Self {
        let certificate = status.certificate.as_deref();
        let ocsp = certificate.map(Certificate::ocsp_status);
        Self {
            id: status.id.clone(),
            source: status.source.clone(),
            state: word(status.state).to_owned(),
            error: status.last_error.clone(),
            required: status.required,
            names: certificate.map(|certificate| certificate.names().to_vec()).unwrap_or_default(),
            algorithm: certificate.map(|certificate| algorithm(certificate.key_algorithm()).to_owned()),
            key_bits: certificate.map(Certificate::key_bits),
            not_before: certificate.map(|certificate| rfc3339(certificate.not_before())),
            not_after: certificate.map(|certificate| rfc3339(certificate.chain_not_after())),
            days_left: certificate.map(|certificate| days(certificate.chain_not_after().saturating_sub(now))),
            issuer: certificate.map(|certificate| certificate.issuer()),
            serial: certificate.map(|certificate| certificate.serial()),
            fingerprint: certificate.map(|certificate| certificate.fingerprint().to_owned()),
            ocsp: ocsp.map(|status| status.word().to_owned()),
            ocsp_until: match ocsp {
                Some(ocsp::Status::Stapled { until }) => Some(rfc3339(until)),
                _ => None,
            },
            ocsp_error: certificate.and_then(Certificate::staples).and_then(|slot| slot.last_error()),
            tags: certificate
                .map(|certificate| certificate.tags().iter().cloned().collect())
                .unwrap_or_default(),
            files: status.files.iter().map(|file| file.display().to_string()).collect(),
            chain: in_full.then(|| status.chain().into_iter().map(ChainItem::from).collect()),
        }
    }
}

impl From<Link> for ChainItem {
    fn from(link: Link) -> Self {
        let Link { subject, not_after, fingerprint } = link;
        Self { subject, not_after: rfc3339(not_after), fingerprint }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Current => "current",
        State::KeptLastGood => "last-good-kept",
        State::Gone => "gone",
        State::Expired => "expired",
        State::Refused => "refused",
    }
}

/// In the words of the policy interface.
fn algorithm(algorithm: KeyAlgorithm) -> &'static str {
    match algorithm {
        KeyAlgorithm::Rsa => "rsa",
        KeyAlgorithm::EcdsaP256 => "ecdsa-p256",
        KeyAlgorithm::EcdsaP384 => "ecdsa-p384",
        KeyAlgorithm::EcdsaP521 => "ecdsa-p521",
        KeyAlgorithm::Ed25519 => "ed25519",
        KeyAlgorithm::Other => "other",
    }
}

/// RFC 3986 section 2.1. A plus sign is itself.
fn decode(text: &str) -> Result<String, QueryError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { return Err(QueryError::Encoding) };
                u8::try_from(high << 4 | low).map_err(|_| QueryError::Encoding)?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| QueryError::Encoding)
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            // RFC 3986 section 2.3, and what else a query may hold and ids often do.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::store::Severity;

    #[test]
    fn every_query_is_read_as_it_was_written() {
        for query in [
            Query::default(),
            Query::Page { after: Some("live/a b&c=d%\u{e4}+".to_owned()), limit: 7 },
            Query::One { id: "files:*.a.example?#\n".to_owned() },
        ] {
            let uri = query.uri();
            assert!(uri.is_ascii() && !uri.contains([' ', '#', '\n']), "{uri}");
            assert_eq!(Query::parse(uri.split_once('?').unwrap().1), Ok(query));
        }
        assert_eq!(Query::parse(""), Ok(Query::default()));
    }

    #[test]
    fn no_more_findings_are_listed_than_a_page_has_room_for() {
        let finding = || Finding::new(Severity::Warning, "files".to_owned(), "a key alone".to_owned());
        let all = |number| listed(std::iter::repeat_with(finding).take(number).collect());
        assert_eq!(all(PAGE).last().unwrap().text, "a key alone");
        assert_eq!(
            (all(PAGE + 7).len(), &*all(PAGE + 7).last().unwrap().text),
            (PAGE, "a key alone (and 7 more)")
        );
        assert!(all(0).is_empty());
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for (query, error) in [
            ("limit=0", QueryError::Limit),
            ("limit=1001", QueryError::Limit),
            ("limit=-1", QueryError::Limit),
            ("limit=", QueryError::Limit),
            ("id=%", QueryError::Encoding),
            ("id=%4", QueryError::Encoding),
            ("id=%zz", QueryError::Encoding),
            ("id=%ff", QueryError::Encoding),
            ("id", QueryError::Parameter),
            ("ids=a", QueryError::Parameter),
            ("id=a&id=b", QueryError::Parameter),
            ("id=a&limit=1", QueryError::Parameter),
        ] {
            assert_eq!(Query::parse(query), Err(error), "{query}");
        }
    }
}
