//! `handfast check`: everything a configuration names, without listening.
//!
//! What stands in the way of a start ends it with the words that `handfast run` has. What a gateway starts without is
//! printed, one finding a line: the exit code is 1 if anything would not be served, since whoever runs this before a reload
//! wants all of it. Warnings and notes leave it at 0, as with `nginx -t`.

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
    // What `reload` and staples warn of at a start is printed below, with what a running gateway would warn of in time.
    let filter = "warn,handfast::reload=error,handfast::certificate::ocsp=error".to_owned();
    let guard = start_log(&path, &Log { format: LogFormat::Text, filter })?;
    let snapshot = server::check(config)?;
    drop(guard);
    let mut findings = snapshot.certificates.findings();
    findings.extend(snapshot.certificates.near_expiry(&horizons));
    findings.extend(snapshot.certificates.unstapled());
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut out = Output::new();
    for unasked in snapshot.policies.unasked(snapshot.config.listeners.iter().map(|listener| &**listener)) {
        out.line(format_args!("warning: {}", printable(&unasked.to_string())))?;
    }
    let errors = print(&findings, |finding| finding.to_string(), &mut out)?;
    if errors > 0 {
        out.finish()?;
        let errors = counted(errors, "error", "errors");
        return Err(Failure::hinted(
            format!(
                "{}: {errors}: not everything in its certificate sources would be served",
                path.display()
            ),
            "a gateway starts all the same and leaves out what has an error",
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
        out.line(format_args!("{}: {}", finding.severity.word(), printable(&words(finding))))?;
    }
    Ok(findings.iter().filter(|finding| finding.severity == Severity::Error).count())
}
