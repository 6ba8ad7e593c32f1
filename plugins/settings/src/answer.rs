//! What a client that is refused gets.

use handfast_policy::{Alert, Decision};

use crate::Refusal;

/// An alert, or nothing but the end of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A TLS alert.
    Alert(Alert),
    /// The connection is closed without one.
    None,
}

/// As the interface names them; the names of RFC 8446 section 6 have `_` for `-`.
const ALERTS: &[(&str, Alert)] = &[
    ("access-denied", Alert::AccessDenied),
    ("unrecognized-name", Alert::UnrecognizedName),
    ("handshake-failure", Alert::HandshakeFailure),
    ("internal-error", Alert::InternalError),
    ("user-canceled", Alert::UserCanceled),
    ("bad-certificate", Alert::BadCertificate),
    ("certificate-unknown", Alert::CertificateUnknown),
    ("unknown-ca", Alert::UnknownCa),
    ("insufficient-security", Alert::InsufficientSecurity),
    ("protocol-version", Alert::ProtocolVersion),
];

impl Answer {
    /// Reads an alert's name, or `none`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "none" {
            return Ok(Self::None);
        }
        let name = text.replace('_', "-");
        let found = ALERTS.iter().find(|(known, _)| *known == name);
        let found = found.map(|(_, alert)| Self::Alert(*alert));
        found.ok_or_else(|| {
            let mut what = alloc::vec!["is \"", text, "\": write \"none\""];
            for (name, _) in ALERTS {
                what.extend([", \"", *name, "\""]);
            }
            Refusal::new(&what)
        })
    }

    /// As the verdict of `select`.
    pub fn decision(self) -> Decision {
        match self {
            Self::Alert(alert) => Decision::reject(alert),
            Self::None => Decision::drop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_go_by_their_names_in_the_interface_and_in_the_rfc() {
        for text in ["access-denied", "access_denied"] {
            assert_eq!(Answer::parse(text), Ok(Answer::Alert(Alert::AccessDenied)));
        }
        assert_eq!(Answer::parse("none").unwrap().decision(), Decision::drop());
        let refusal = String::from(Answer::parse("denied").unwrap_err().within("alert"));
        assert!(
            refusal.starts_with("`alert` is \"denied\": write \"none\", \"access-denied\", "),
            "{refusal}"
        );
    }
}
