//! What a hook answers, checked.
//!
//! The generated types say what a guest *can* return; the types here hold what it *may*: no length, character or alert
//! that the interface forbids gets past this module, so the gateway can use the values as they are. Whether a
//! certificate or an upstream of that name exists is the gateway's to find out.

use crate::bindings::exports::handfast::policy::{select, validate};
use crate::bindings::handfast::policy::types::Alert;
use crate::error::CallError;
use crate::text::printable;

/// The answer of `select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub verdict: Verdict,
    /// Printable, at most 256 bytes.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The id of a certificate: 1 to 1,024 bytes.
    Certificate(String),
    /// The code point of a TLS alert, never 0.
    Reject(u8),
    Drop,
    /// The name of an upstream: 1 to 1,024 bytes.
    Passthrough(String),
}

/// The answer of `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validation {
    /// At most 32 attributes.
    Accept(Vec<Attribute>),
    Reject {
        alert: u8,
        reason: Option<String>,
    },
}

/// A fact about a client: `name` is a token of at most 64 bytes, `value` at most 4,096 bytes of visible ASCII and
/// spaces with no space at either end, so both can stand in a header field and arrive as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: String,
}

const REASON_BYTES: usize = 256;
const NAME_BYTES: usize = 1_024;
const ATTRIBUTES: usize = 32;
const ATTRIBUTE_NAME_BYTES: usize = 64;
const ATTRIBUTE_VALUE_BYTES: usize = 4_096;

impl Decision {
    /// What a plugin that does not export `select` answers.
    pub(crate) const PASS: Self = Self { verdict: Verdict::Pass, reason: None };

    pub(crate) fn from_guest(decision: select::Decision) -> Result<Self, CallError> {
        let verdict = match decision.verdict {
            select::Verdict::Pass => Verdict::Pass,
            select::Verdict::Certificate(id) => Verdict::Certificate(bounded("a certificate id", id)?),
            select::Verdict::Reject(alert) => Verdict::Reject(code_point(alert)?),
            select::Verdict::Drop => Verdict::Drop,
            select::Verdict::Passthrough(upstream) => {
                Verdict::Passthrough(bounded("an upstream name", upstream)?)
            }
        };
        Ok(Self { verdict, reason: decision.reason.map(reason) })
    }
}

impl Validation {
    pub(crate) fn from_guest(
        answer: Result<Vec<validate::Attribute>, validate::Rejection>,
    ) -> Result<Self, CallError> {
        let attributes = match answer {
            Ok(attributes) => attributes,
            Err(rejection) => {
                let alert = code_point(rejection.alert)?;
                return Ok(Self::Reject { alert, reason: rejection.reason.map(reason) });
            }
        };
        if attributes.len() > ATTRIBUTES {
            return invalid(format!("{} attributes; at most {ATTRIBUTES} are allowed", attributes.len()));
        }
        let attributes = attributes.into_iter().map(Attribute::from_guest);
        Ok(Self::Accept(attributes.collect::<Result<_, _>>()?))
    }
}

impl Attribute {
    fn from_guest(attribute: validate::Attribute) -> Result<Self, CallError> {
        let validate::Attribute { name, value } = attribute;
        if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES || !name.bytes().all(is_token) {
            let name = printable(&name, ATTRIBUTE_NAME_BYTES);
            return invalid(format!("`{name}` is not the name of an attribute: a token of at most 64 bytes"));
        }
        if value.len() > ATTRIBUTE_VALUE_BYTES {
            return invalid(format!("the value of attribute `{name}` has {} bytes, not 4,096", value.len()));
        }
        if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return invalid(format!(
                "the value of attribute `{name}` has more than visible ASCII and spaces"
            ));
        }
        // RFC 9110 section 5.5: whoever reads the field takes these away, and `alice ` would be alice.
        if value.starts_with(' ') || value.ends_with(' ') {
            return invalid(format!("the value of attribute `{name}` begins or ends with a space"));
        }
        Ok(Self { name, value })
    }
}

/// Why a certificate was not admitted.
pub(crate) fn reason(text: String) -> String {
    printable(&text, REASON_BYTES)
}

fn bounded(what: &str, text: String) -> Result<String, CallError> {
    if text.is_empty() || text.len() > NAME_BYTES {
        return invalid(format!("{what} of {} bytes; it has 1 to 1,024", text.len()));
    }
    Ok(text)
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The code points of the IANA registry "TLS Alerts".
fn code_point(alert: Alert) -> Result<u8, CallError> {
    Ok(match alert {
        Alert::UnexpectedMessage => 10,
        Alert::HandshakeFailure => 40,
        Alert::BadCertificate => 42,
        Alert::UnsupportedCertificate => 43,
        Alert::CertificateRevoked => 44,
        Alert::CertificateExpired => 45,
        Alert::CertificateUnknown => 46,
        Alert::IllegalParameter => 47,
        Alert::UnknownCa => 48,
        Alert::AccessDenied => 49,
        Alert::DecodeError => 50,
        Alert::DecryptError => 51,
        Alert::ProtocolVersion => 70,
        Alert::InsufficientSecurity => 71,
        Alert::InternalError => 80,
        Alert::InappropriateFallback => 86,
        Alert::UserCanceled => 90,
        Alert::MissingExtension => 109,
        Alert::UnsupportedExtension => 110,
        Alert::UnrecognizedName => 112,
        Alert::BadCertificateStatusResponse => 113,
        Alert::UnknownPskIdentity => 115,
        Alert::CertificateRequired => 116,
        Alert::NoApplicationProtocol => 120,
        Alert::Other(0) => return invalid("alert 0 is `close_notify`, which is not an error".into()),
        Alert::Other(code) => code,
    })
}

fn invalid<T>(what: String) -> Result<T, CallError> {
    Err(CallError::InvalidVerdict(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, value: &str) -> validate::Attribute {
        validate::Attribute { name: name.into(), value: value.into() }
    }

    #[test]
    fn alert_0_is_refused_and_a_named_alert_has_its_code_point() {
        assert!(code_point(Alert::Other(0)).is_err());
        assert_eq!(code_point(Alert::UnrecognizedName).ok(), Some(112));
        assert_eq!(code_point(Alert::Other(200)).ok(), Some(200));
    }

    #[test]
    fn ids_are_bounded() {
        let decision =
            |id: String| select::Decision { verdict: select::Verdict::Certificate(id), reason: None };
        assert!(Decision::from_guest(decision(String::new())).is_err());
        assert!(Decision::from_guest(decision("i".repeat(1_025))).is_err());
        assert!(Decision::from_guest(decision("i".repeat(1_024))).is_ok());
    }

    #[test]
    fn a_reason_is_cut_between_characters_and_cannot_forge_a_line() {
        let decision = select::Decision {
            verdict: select::Verdict::Pass,
            reason: Some(format!("a\n{}", "ä".repeat(200))),
        };
        let reason = Decision::from_guest(decision).unwrap().reason.unwrap();
        assert!(reason.starts_with(r"a\nä") && reason.len() == 255, "{reason}");
    }

    #[test]
    fn attributes_can_stand_in_a_header_field() {
        for (name, value) in [("", ""), ("a b", ""), ("a:", ""), ("a", "x\r\ny: z"), ("a", "ä")] {
            assert!(Attribute::from_guest(attribute(name, value)).is_err(), "{name:?} {value:?}");
        }
        for (name, value) in [("a", "alice "), ("a", " alice"), ("a", " ")] {
            assert!(Attribute::from_guest(attribute(name, value)).is_err(), "{name:?} {value:?}");
        }
        assert!(Attribute::from_guest(attribute(&"n".repeat(65), "")).is_err());
        assert!(Attribute::from_guest(attribute("n", &"v".repeat(4_097))).is_err());
        assert!(Attribute::from_guest(attribute("spiffe-id", "spiffe://example.org/a b")).is_ok());
    }

    #[test]
    fn there_are_at_most_32_attributes() {
        let many = |count| Ok(vec![attribute("n", "v"); count]);
        assert!(Validation::from_guest(many(33)).is_err());
        assert!(Validation::from_guest(many(32)).is_ok());
    }
}
