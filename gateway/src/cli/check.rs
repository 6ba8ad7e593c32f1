//! `handfast check`: everything a configuration names, without listening.

use std::path::PathBuf;

use super::output::{Output, printable};
use super::{Failure, counted, start_log};
use crate::certificate::Finding;
use crate::certificate::expiry::Horizons;
use crate::certificate::store::Severity;
use crate::config::{Config, Log, LogFormat};
use crate::server;

pub(super) fn run(path: PathBuf) -> Result<(), Failure> {
    let config = Config::load(&path)?;
    let horizons = Horizons::new(&config.certificates.expiry_warnings);
    // What `reload` warns of at a start is printed below, with what a running gateway would warn of in time.
    let filter = "warn,handfast::reload=error".to_owned();
    let guard = start_log(&path, &Log { format: LogFormat::Text, filter })?;
    let snapshot = server::check(config)?;
    drop(guard);
    let mut findings = snapshot.certificates.findings();
    findings.extend(snapshot.certificates.near_expiry(&horizons));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut out = Output::new();
    for unasked in snapshot.policies.unasked(snapshot.config.listeners.iter().map(|listener| &**listener)) {
        out.line(format_args!("warning: {}", printable(&unasked.to_string())))?;
    }
    let errors = print(&findings, |finding| finding.to_string(), &mut out)?;
    if errors > 0 {
        out.finish()?;
        let certificates = counted(errors, "certificate", "certificates");
        return Err(Failure::hinted(
            format!("{}: {certificates} would not be served", path.display()),
            "a gateway starts all the same and leaves them out",
        ));
    }
    out.line(format_args!(
        "{}: good: {}, {}, {}, {}",
        printable(&path.display().to_string()),
        counted(snapshot.config.listeners.len(), "listener", "listeners"),
        counted(snapshot.certificates.len(), "certificate", "certificates"),
        counted(snapshot.config.policies.len(), "policy", "policies"),
        counted(snapshot.config.routes.len(), "route", "routes"),
    ))?;
    out.finish()
}

/// Prints findings, one a line in these words, and counts the errors among them.
pub(super) fn print(
    findings: &[Finding],
    words: impl Fn(&Finding) -> String,
    out: &mut Output,
) -> Result<usize, Failure> {
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        out.line(format_args!("{severity}: {}", printable(&words(finding))))?;
    }
    Ok(findings.iter().filter(|finding| finding.severity == Severity::Error).count())
}
