//! TLS alerts: their names for logs and configs, and the record that carries one before any key exists.
//!
//! Called by whatever refuses a handshake. It never decides which alert fits; [`crate::ClientHelloError::alert`] and
//! the policies do.

use std::fmt;

/// A TLS alert description (RFC 8446 section 6; the IANA registry "TLS Alerts").
///
/// Any code point can be held, since a policy may name one that is registered after this was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertDescription(u8);

impl AlertDescription {
    /// An alert of any code point.
    pub const fn new(code: u8) -> Self {
        Self(code)
    }

    /// The code point, as it stands on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// A complete fatal alert record, to be written before the close when a handshake is refused ahead of its keys.
    ///
    /// The record's version is 0x0303, as RFC 8446 section 5.1 fixes it for every record but a first ClientHello;
    /// clients of all versions accept it there.
    pub const fn plaintext_record(self) -> [u8; 7] {
        const ALERT: u8 = 21;
        const FATAL: u8 = 2;
        [ALERT, 0x03, 0x03, 0x00, 0x02, FATAL, self.0]
    }
}

impl From<AlertDescription> for u8 {
    fn from(alert: AlertDescription) -> Self {
        alert.code()
    }
}

impl fmt::Display for AlertDescription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "alert {}", self.0),
        }
    }
}

impl fmt::Debug for AlertDescription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self} ({})", self.0)
    }
}

macro_rules! alerts {
    ($($constant:ident = $code:literal, $name:literal;)+) => {
        impl AlertDescription {
            $(
                #[doc = concat!("`", $name, "`, ", $code)]
                pub const $constant: Self = Self($code);
            )+

            /// Every registered alert, reserved ones included, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$constant),+];

            /// The registered name, such as `unrecognized_name`.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($name),)+
                    _ => None,
                }
            }

            /// The alert of a registered name. Case and underscores count.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self($code)),)+
                    _ => None,
                }
            }
        }
    };
}

alerts! {
    CLOSE_NOTIFY = 0, "close_notify";
    UNEXPECTED_MESSAGE = 10, "unexpected_message";
    BAD_RECORD_MAC = 20, "bad_record_mac";
    DECRYPTION_FAILED = 21, "decryption_failed";
    RECORD_OVERFLOW = 22, "record_overflow";
    DECOMPRESSION_FAILURE = 30, "decompression_failure";
    HANDSHAKE_FAILURE = 40, "handshake_failure";
    NO_CERTIFICATE = 41, "no_certificate";
    BAD_CERTIFICATE = 42, "bad_certificate";
    UNSUPPORTED_CERTIFICATE = 43, "unsupported_certificate";
    CERTIFICATE_REVOKED = 44, "certificate_revoked";
    CERTIFICATE_EXPIRED = 45, "certificate_expired";
    CERTIFICATE_UNKNOWN = 46, "certificate_unknown";
    ILLEGAL_PARAMETER = 47, "illegal_parameter";
    UNKNOWN_CA = 48, "unknown_ca";
    ACCESS_DENIED = 49, "access_denied";
    DECODE_ERROR = 50, "decode_error";
    DECRYPT_ERROR = 51, "decrypt_error";
    TOO_MANY_CIDS_REQUESTED = 52, "too_many_cids_requested";
    EXPORT_RESTRICTION = 60, "export_restriction";
    PROTOCOL_VERSION = 70, "protocol_version";
    INSUFFICIENT_SECURITY = 71, "insufficient_security";
    INTERNAL_ERROR = 80, "internal_error";
    INAPPROPRIATE_FALLBACK = 86, "inappropriate_fallback";
    USER_CANCELED = 90, "user_canceled";
    NO_RENEGOTIATION = 100, "no_renegotiation";
    MISSING_EXTENSION = 109, "missing_extension";
    UNSUPPORTED_EXTENSION = 110, "unsupported_extension";
    CERTIFICATE_UNOBTAINABLE = 111, "certificate_unobtainable";
    UNRECOGNIZED_NAME = 112, "unrecognized_name";
    BAD_CERTIFICATE_STATUS_RESPONSE = 113, "bad_certificate_status_response";
    BAD_CERTIFICATE_HASH_VALUE = 114, "bad_certificate_hash_value";
    UNKNOWN_PSK_IDENTITY = 115, "unknown_psk_identity";
    CERTIFICATE_REQUIRED = 116, "certificate_required";
    GENERAL_ERROR = 117, "general_error";
    NO_APPLICATION_PROTOCOL = 120, "no_application_protocol";
    ECH_REQUIRED = 121, "ech_required";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_code() {
        for alert in AlertDescription::ALL {
            assert_eq!(alert.name().and_then(AlertDescription::from_name), Some(*alert));
        }
        assert_eq!(AlertDescription::ALL.len(), 37);
    }

    #[test]
    fn an_unregistered_code_has_no_name_but_can_be_shown() {
        assert_eq!(AlertDescription::new(99).name(), None);
        assert_eq!(AlertDescription::new(99).to_string(), "alert 99");
        assert_eq!(AlertDescription::from_name("Unrecognized_Name"), None);
    }

    #[test]
    fn the_plaintext_record_is_a_fatal_alert() {
        assert_eq!(AlertDescription::UNRECOGNIZED_NAME.plaintext_record(), [21, 3, 3, 0, 2, 2, 112]);
    }
}
