//! The file of cases as its author wrote it: one struct per table, unknown keys refused, every default in one place.
//!
//! [`File::parse`] turns it into checked [`Cases`]. The defaults describe what is usual, so that a case says only what it
//! is about: a client of today on the listener `public`, a certificate with a P-256 key that is valid for ninety days.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handfast_plugin_host::{Certificate, Hooks};
use handfast_wire::ClientHelloError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, de};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hello::Offer;
use super::shelf::Shelf;
use super::{Case, Cases, Hook, Subject};
use crate::certificate::Peer;
use crate::certificate::load::MAX_FILE_SIZE;
use crate::config::error::suggest;
use crate::config::file::File as Configuration;
use crate::config::{self, ConfigError};
use crate::freshness::file::read_alone;
use crate::telemetry::error_chain;

mod certificates;
mod client;
mod expected;

use certificates::{CertificateTable, PeerTable, chain_of};
use client::{ConnectionTable, HelloTable};
use expected::ExpectTable;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct File {
    /// Taken out before, since its keys are the configuration's. Here it is one of the keys that a mistyped one may mean.
    #[serde(default, rename = "policy")]
    _policy: de::IgnoredAny,
    #[serde(default, rename = "certificate")]
    certificates: Vec<CertificateTable>,
    #[serde(default, rename = "case")]
    cases: Vec<CaseTable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CaseTable {
    name: Spanned<String>,
    config: Option<toml::Table>,
    #[serde(default)]
    connection: ConnectionTable,
    hello: Option<Spanned<HelloTable>>,
    chain: Option<Spanned<Vec<PeerTable>>>,
    admit: Option<Spanned<String>>,
    #[serde(default = "once")]
    times: Spanned<u32>,
    expect: Spanned<ExpectTable>,
}

impl File {
    /// Reads the text of a file. `path` is used in messages and as the base of relative paths.
    pub(super) fn parse(path: &Path, text: &str, name: &str, plugin: &Path) -> Result<Cases, ConfigError> {
        let mut whole = DeTable::parse(text).map_err(|error| {
            ConfigError::at(path, text, error.span().unwrap_or(0..0), error.message(), None)
        })?;
        let place = Place { path, text };
        let policy = match whole.get_mut().remove("policy") {
            None => Spanned::new(0..0, DeTable::new()),
            Some(value) => {
                let span = value.span();
                let DeValue::Table(table) = value.into_inner() else {
                    return Err(place.at(span, "`policy` is not a table", "write `[policy]` above its keys"));
                };
                Spanned::new(span, table)
            }
        };
        let policy = Configuration::policy_alone(path, text, policy, name, plugin)?;
        Configuration::table::<Self>(path, text, whole)?.resolve(&place, policy)
    }

    fn resolve(self, place: &Place<'_>, policy: Arc<config::Policy>) -> Result<Cases, ConfigError> {
        let mut shelf = Shelf::default();
        for table in self.certificates {
            if shelf.get(table.id.get_ref()).is_some() {
                let message = format!("there is another certificate `{}`", table.id.get_ref());
                return Err(place.at(table.id.span(), message, "an id names one certificate"));
            }
            shelf.0.push(Arc::new(table.resolve(place)?));
        }
        let shelf = Arc::new(shelf);
        let mut cases: Vec<Case> = Vec::new();
        for table in self.cases {
            if cases.iter().any(|case| case.name == *table.name.get_ref()) {
                let hint = "the report tells cases apart by their names";
                return Err(place.at(table.name.span(), "there is another case of this name", hint));
            }
            cases.push(table.resolve(place, &policy, &shelf)?);
        }
        if cases.is_empty() {
            return Err(ConfigError::Whole {
                path: place.path.to_owned(),
                message: "no [[case]] is there".to_owned(),
                hint: "add one, for example:\n\n        [[case]]\n        name = \"everybody gets in\"\n        expect = { verdict = \"pass\" }".to_owned(),
            });
        }
        Ok(Cases { policy, cases })
    }
}

/// What is usual, for the first hook of these.
pub(super) fn usual(hooks: Hooks) -> Result<Subject, ClientHelloError> {
    let hook = match hooks {
        Hooks { select: true, .. } => Hook::Select,
        Hooks { validate: true, .. } => {
            Hook::Validate(vec![Arc::new(PeerTable::named("client").described(None))])
        }
        _ => Hook::Admit(Arc::new(CertificateTable::named("a.example").described(None))),
    };
    let offer = Offer { server_name: Some("a.example".to_owned()), ..Offer::default() };
    Ok(Subject {
        connection: Arc::new(ConnectionTable::default().resolve()),
        hello: Arc::new(offer.sent()?),
        certificates: Arc::new(Shelf::default()),
        hook,
    })
}

/// Where a mistake is.
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn at(&self, span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::at(self.path, self.text, span, message, Some(hint.into()))
    }

    /// The first certificate of a PEM file, whose path counts from the file of cases.
    fn certificate(&self, file: Option<&Spanned<PathBuf>>) -> Result<Option<Peer>, ConfigError> {
        let Some(file) = file else { return Ok(None) };
        let path = self.path.parent().unwrap_or(Path::new("")).join(file.get_ref());
        let hint = "it is a PEM file, whose path counts from the file of cases";
        let failed = |error: &dyn std::error::Error| {
            self.at(file.span(), format!("no certificate can be read: {}", error_chain(error)), hint)
        };
        let text = read_alone(&path, MAX_FILE_SIZE).map_err(|error| failed(&error))?;
        let der = CertificateDer::from_pem_slice(&text).map_err(|error| failed(&error))?;
        Peer::new(der).map(Some).map_err(|error| failed(&error))
    }
}

impl CaseTable {
    fn resolve(
        self,
        place: &Place<'_>,
        policy: &config::Policy,
        shelf: &Arc<Shelf>,
    ) -> Result<Case, ConfigError> {
        let hook = match (self.chain, self.admit) {
            (Some(_), Some(admit)) => {
                let hint = "`chain` is for `validate`, `admit` for `admit`: make two cases of it";
                return Err(place.at(admit.span(), "this case is for two hooks", hint));
            }
            (Some(chain), None) => Hook::Validate(chain_of(place, chain)?),
            (None, Some(id)) => match shelf.get(id.get_ref()) {
                Some(own) => Hook::Admit(Arc::clone(own) as Arc<dyn Certificate>),
                None => {
                    let known = shelf.0.iter().map(|own| own.id.as_str());
                    let hint = suggest(id.get_ref(), "certificates", known);
                    return Err(place.at(
                        id.span(),
                        format!("there is no certificate `{}`", id.get_ref()),
                        hint,
                    ));
                }
            },
            (None, None) => Hook::Select,
        };
        if !(1..=1_000_000).contains(self.times.get_ref()) {
            let message = "`times` must be between 1 and 1000000";
            return Err(place.at(self.times.span(), message, "the last answer is the one that counts"));
        }
        let (span, hello) = match self.hello {
            Some(hello) => (hello.span(), hello.into_inner()),
            None => (0..0, HelloTable::default()),
        };
        let name = hello.server_name.as_ref().map(Spanned::span);
        let sent = hello.resolve().sent().map_err(|error| {
            let message = format!("no client can send this hello: {}", error_chain(&error));
            let (span, hint) = match &error {
                ClientHelloError::ServerName(_) => (
                    name.unwrap_or(span),
                    "a server name is a DNS name: A-labels of at most 63 bytes, 253 in all",
                ),
                _ => {
                    (span, "a hello has at most 16384 bytes, and lists that must not be empty have an entry")
                }
            };
            place.at(span, message, hint)
        })?;
        let expected = self.expect.into_inner().resolve(place, &hook)?;
        Ok(Case {
            name: self.name.into_inner(),
            policy: self.config.map(|config| Arc::new(policy.with_config(config))),
            subject: Subject {
                connection: Arc::new(self.connection.resolve()),
                hello: Arc::new(sent),
                certificates: Arc::clone(shelf),
                hook,
            },
            times: self.times.into_inner(),
            expected,
        })
    }
}

fn once() -> Spanned<u32> {
    Spanned::new(0..0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match File::parse(Path::new("cases.toml"), text, "policy", Path::new("policy.wasm")) {
            Ok(_) => panic!("accepted: {text}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_case_says_only_what_it_is_about() {
        let text = "[[case]]\nname = \"one\"\nexpect = { verdict = \"pass\" }\n";
        let cases = File::parse(Path::new("cases.toml"), text, "policy", Path::new("policy.wasm")).unwrap();
        assert_eq!(cases.policy.config, "{}");
        let case = &cases.cases[0];
        assert_eq!((case.name.as_str(), case.subject.hook(), case.times), ("one", "select", 1));
        assert_eq!(case.subject.connection.listener(), "public");
        assert_eq!(case.subject.hello.protocol_versions(), [0x0304, 0x0303]);
        for hooks in [
            Hooks { select: true, ..Hooks::default() },
            Hooks { validate: true, ..Hooks::default() },
            Hooks { admit: true, ..Hooks::default() },
        ] {
            assert!(usual(hooks).unwrap().is_for(hooks));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_its_remedy() {
        let case = |keys: &str| format!("[[case]]\nname = \"one\"\n{keys}\n");
        for (text, message, hint) in [
            (case("expect = { verdict = \"pas\" }"), "unknown value `pas`", "did you mean `pass`?"),
            (
                case("expect = { verdict = \"accept\" }"),
                "`select` does not answer this",
                "a case with `chain`",
            ),
            (case("expect = { verdict = \"pass\", alert = 70 }"), "`alert` does not go with", "leave it out"),
            (
                case("expect = { verdict = \"reject\", alert = \"acess-denied\" }"),
                "unknown value `acess-denied`",
                "did you mean `access-denied`?",
            ),
            (
                case("admit = \"x\"\nexpect = { verdict = \"accept\" }"),
                "no certificate `x`",
                "there are no certificates yet",
            ),
            (
                case("hello = { server-name = \"a b\" }\nexpect = { verdict = \"pass\" }"),
                "no client can send this",
                "A-labels",
            ),
            (
                case(&format!(
                    "hello = {{ server-name = \"{}\" }}\nexpect = {{ verdict = \"pass\" }}",
                    "a".repeat(70_000)
                )),
                "the name has 70000 bytes, of at most 253",
                "253 in all",
            ),
            (
                case("hello = { cipher-suites = [4865, 70000] }\nexpect = { verdict = \"pass\" }"),
                "expected a whole number from 0 to 65535, found the number `70000`",
                "as in 0x1301",
            ),
            (
                case(
                    "connection = { proxy-tlvs = [{ type = 256, value = \"\" }] }\nexpect = { verdict = \"pass\" }",
                ),
                "expected a whole number from 0 to 255, found the number `256`",
                "write digits",
            ),
            ("[polcy]\n".to_owned(), "unknown key `polcy`", "did you mean `policy`?"),
            (
                "[settings]\n".to_owned(),
                "unknown key `settings`",
                "known keys: `policy`, `certificate`, `case`",
            ),
            (
                case("chain = []\nexpect = { verdict = \"accept\" }"),
                "the chain is empty",
                "without a certificate",
            ),
            (case("times = 0\nexpect = { verdict = \"pass\" }"), "`times` must be", "the last answer"),
            ("[policy]\ntimout = \"1s\"\n".to_owned(), "unknown key `timout`", "did you mean `timeout`?"),
            ("[policy]\ntimeout = \"1ms\"\n".to_owned(), "must be between 10ms and 10s", "busy machine"),
        ] {
            let told = refusal(&text);
            assert!(
                told.contains(message) && told.contains(hint) && told.contains("--> cases.toml:"),
                "{told}"
            );
            assert!(told.len() < 1_000, "{told}");
        }
        assert!(refusal("").contains("no [[case]] is there"));
    }
}
