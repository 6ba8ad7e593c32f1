//! What a case expects of the policy: a verdict that its hook can give, and what goes with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use super::Place;
use crate::cli::policy::answer::{Expected, Wanted};
use crate::cli::policy::cases::Hook;
use crate::config::ConfigError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ExpectTable {
    verdict: Spanned<VerdictWord>,
    alert: Option<Spanned<Alert>>,
    certificate: Option<Spanned<String>>,
    upstream: Option<Spanned<String>>,
    attributes: Option<Spanned<BTreeMap<String, String>>>,
    error: Option<Spanned<String>>,
    reason: Option<String>,
    log: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VerdictWord {
    Pass,
    Certificate,
    Reject,
    Drop,
    Passthrough,
    Accept,
    Refuse,
    NoVerdict,
    RefuseConfig,
}

impl ExpectTable {
    pub(super) fn resolve(self, place: &Place<'_>, hook: &Hook) -> Result<Expected, ConfigError> {
        let verdict = *self.verdict.get_ref();
        let (name, possible): (_, &[VerdictWord]) = match hook {
            Hook::Select => (
                "select",
                &[
                    VerdictWord::Pass,
                    VerdictWord::Certificate,
                    VerdictWord::Reject,
                    VerdictWord::Drop,
                    VerdictWord::Passthrough,
                ],
            ),
            Hook::Validate(_) => ("validate", &[VerdictWord::Accept, VerdictWord::Reject]),
            Hook::Admit(_) => ("admit", &[VerdictWord::Accept, VerdictWord::Refuse]),
        };
        if !possible.contains(&verdict)
            && ![VerdictWord::NoVerdict, VerdictWord::RefuseConfig].contains(&verdict)
        {
            let message = format!("`{name}` does not answer this");
            let hint = "a case with `chain` is for `validate`, one with `admit` for `admit`, all others for `select`";
            return Err(place.at(self.verdict.span(), message, hint));
        }
        for (key, span, of) in [
            ("alert", self.alert.as_ref().map(Spanned::span), VerdictWord::Reject),
            ("certificate", self.certificate.as_ref().map(Spanned::span), VerdictWord::Certificate),
            ("upstream", self.upstream.as_ref().map(Spanned::span), VerdictWord::Passthrough),
            ("attributes", self.attributes.as_ref().map(Spanned::span), VerdictWord::Accept),
            ("error", self.error.as_ref().map(Spanned::span), VerdictWord::NoVerdict),
        ] {
            if let Some(span) = span.filter(|_| of != verdict) {
                let message = format!("`{key}` does not go with this verdict");
                return Err(place.at(span, message, "leave it out, or write another verdict"));
            }
        }
        let verdict = match verdict {
            VerdictWord::Pass => Wanted::Pass,
            VerdictWord::Certificate => Wanted::Certificate(self.certificate.map(Spanned::into_inner)),
            VerdictWord::Reject => Wanted::Reject(self.alert.map(|alert| alert.into_inner().0)),
            VerdictWord::Drop => Wanted::Drop,
            VerdictWord::Passthrough => Wanted::Passthrough(self.upstream.map(Spanned::into_inner)),
            VerdictWord::Accept => Wanted::Accept(self.attributes.map(Spanned::into_inner)),
            VerdictWord::Refuse => Wanted::Refuse,
            VerdictWord::NoVerdict => Wanted::NoVerdict(self.error.map(Spanned::into_inner)),
            VerdictWord::RefuseConfig => Wanted::RefuseConfig,
        };
        Ok(Expected { verdict, reason: self.reason, log: self.log })
    }
}

/// An alert by its name in `wit/v1`, or by its number.
#[derive(Debug, Clone, Copy)]
struct Alert(u8);

impl<'de> Deserialize<'de> for Alert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let of_name = |name: &str| handfast_wire::AlertDescription::from_name(&name.replace('-', "_"));
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Integer(code) if (1..=255).contains(&code) => {
                Ok(Self(u8::try_from(code).unwrap_or_default()))
            }
            toml::Value::String(name) if ALERTS.contains(&name.as_str()) => {
                Ok(Self(of_name(&name).map(u8::from).unwrap_or_default()))
            }
            toml::Value::String(name) => Err(de::Error::unknown_variant(&name, ALERTS)),
            other => Err(de::Error::custom(format!(
                "`{other}` is no alert: write a name, as in \"access-denied\", or a number from 1 to 255"
            ))),
        }
    }
}

const ALERTS: &[&str] = &[
    "unexpected-message",
    "handshake-failure",
    "bad-certificate",
    "unsupported-certificate",
    "certificate-revoked",
    "certificate-expired",
    "certificate-unknown",
    "illegal-parameter",
    "unknown-ca",
    "access-denied",
    "decode-error",
    "decrypt-error",
    "protocol-version",
    "insufficient-security",
    "internal-error",
    "inappropriate-fallback",
    "user-canceled",
    "missing-extension",
    "unsupported-extension",
    "unrecognized-name",
    "bad-certificate-status-response",
    "unknown-psk-identity",
    "certificate-required",
    "no-application-protocol",
];
