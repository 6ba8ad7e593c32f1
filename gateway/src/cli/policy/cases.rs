//! The table of cases of `handfast policy test`: what a policy is shown, and what it is to answer.
//!
//! [`written`] is the file as its author wrote it; [`Cases`] is what can be run, with every word checked, so that a mistake
//! in the file is told with its place and not as a failed case. A case is shown to a policy through the traits that the
//! gateway's own connections and certificates are shown by; its ClientHello is encoded and then read by the gateway's
//! parser, so what cannot be on the wire cannot be in a case.

use std::path::Path;
use std::sync::Arc;

use handfast_plugin_host::{Certificate, ClientHello, Connection, Hooks, PeerCertificate, Policy};
use handfast_wire::ClientHelloError;

use super::answer::{Answer, Expected};
use crate::cli::{Failure, USAGE};
use crate::config::error::suggest;
use crate::config::{self, ConfigError};
use crate::freshness::file::{ReadError, read_alone};
use crate::telemetry::error_chain;

mod hello;
mod moment;
mod shelf;
mod written;

use shelf::Shelf;

/// A file of cases, ready to run.
pub(super) struct Cases {
    /// What every case runs under, unless it has a `config` of its own.
    pub(super) policy: Arc<config::Policy>,
    pub(super) cases: Vec<Case>,
}

/// One thing to be shown, and the answer that is expected.
pub(super) struct Case {
    pub(super) name: String,
    /// The policy with the case's own `config`.
    pub(super) policy: Option<Arc<config::Policy>>,
    pub(super) subject: Subject,
    /// How often it is shown. The last answer counts.
    pub(super) times: u32,
    pub(super) expected: Expected,
}

/// The arguments of a hook.
#[derive(Clone)]
pub(super) struct Subject {
    connection: Arc<dyn Connection>,
    hello: Arc<dyn ClientHello>,
    certificates: Arc<Shelf>,
    hook: Hook,
}

#[derive(Clone)]
enum Hook {
    Select,
    Validate(Vec<Arc<dyn PeerCertificate>>),
    Admit(Arc<dyn Certificate>),
}

/// What the policy is called in what it keeps.
const NAME: &str = "policy";
/// Bytes of a file of cases. The longest of the first-party policies has 8 KB.
const FILE_BYTES: usize = 1 << 20;

impl Cases {
    /// Reads and checks a file. `plugin` is what the policy is loaded from.
    pub(super) fn load(path: &Path, plugin: &Path) -> Result<Self, ConfigError> {
        let unreadable = |cause: &str| ConfigError::Whole {
            path: path.to_owned(),
            message: format!("cannot read the cases: {cause}"),
            hint: "`handfast policy new` writes one to begin with".to_owned(),
        };
        let bytes = read_alone(path, FILE_BYTES).map_err(|error| match error {
            ReadError::Missing { .. } => unreadable("No such file or directory"),
            error => unreadable(&error_chain(&error)),
        })?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("the file must be UTF-8 text"))?;
        written::File::parse(path, &text, NAME, plugin)
    }

    /// Leaves the case of this name. Which there are is said where it is none of them.
    pub(super) fn keep(&mut self, name: &str) -> Result<(), Failure> {
        if self.cases.iter().any(|case| case.name == name) {
            self.cases.retain(|case| case.name == name);
            return Ok(());
        }
        let hint = suggest(name, "cases", self.cases.iter().map(|case| case.name.as_str()));
        Err(Failure { text: format!("there is no case `{name}`\n  = hint: {hint}"), code: USAGE })
    }
}

impl Subject {
    /// What a policy of these hooks can be shown without a file: a client as most are, a certificate.
    pub(super) fn usual(hooks: Hooks) -> Result<Self, ClientHelloError> {
        written::usual(hooks)
    }

    /// The hook that it is shown to.
    pub(super) fn hook(&self) -> &'static str {
        match self.hook {
            Hook::Select => "select",
            Hook::Validate(_) => "validate",
            Hook::Admit(_) => "admit",
        }
    }

    /// Whether a policy of these hooks can be shown it.
    pub(super) fn is_for(&self, hooks: Hooks) -> bool {
        match self.hook {
            Hook::Select => hooks.select,
            Hook::Validate(_) => hooks.validate,
            Hook::Admit(_) => hooks.admit,
        }
    }

    /// Calls the hook.
    pub(super) async fn show(&self, policy: &Policy) -> Answer {
        let (connection, hello) = (Arc::clone(&self.connection), Arc::clone(&self.hello));
        let certificates = Arc::clone(&self.certificates);
        match &self.hook {
            Hook::Select => {
                policy.select(connection, hello, certificates).await.map_or_else(Answer::none, Answer::from)
            }
            Hook::Validate(chain) => policy
                .validate(connection, hello, certificates, chain.clone())
                .await
                .map_or_else(Answer::none, Answer::from),
            Hook::Admit(certificate) => policy
                .admit(Arc::clone(certificate), certificates)
                .await
                .map_or_else(Answer::none, Answer::admitted),
        }
    }
}
