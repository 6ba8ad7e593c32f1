//! `handfast certificate`: what certificates there are, and what is wrong with them.
//!
//! `list` and `show` ask the running gateway of the configuration, so that what only it knows is seen (which pair is the
//! last good one, and why). Where none answers they read the files as a gateway would that starts now; only policies are
//! not asked then, since that takes a whole gateway: `handfast check` does it. `check` needs no configuration.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::Failure;
use super::output::{Output, printable, printable_json};
use crate::admin::certificates::{FindingItem, Item, Query};
use crate::config::Config;

mod check;
mod offline;
mod running;
mod table;

use offline::Offline;
use running::{Running, RunningError};

#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    /// List certificates: id, names, algorithm, days left, source, state, last error
    ///
    /// Below them stands what the sources have that is no pair and is not served: keys without a certificate, folders that
    /// cannot be listed. Asks the running gateway where the configuration has [admin] and one answers there; reads the
    /// files otherwise.
    List {
        /// The configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
    /// Show everything about one certificate
    ///
    /// Asks the running gateway where the configuration has [admin] and one answers there; reads the files otherwise.
    Show {
        /// The id, as `list` has it
        id: String,
        /// The configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        shown: Shown,
    },
    /// Check pairs before they go live: everything a gateway checks except its policies
    ///
    /// Exits with 1 if any pair would be refused, or a folder cannot be listed. Pairs are found as in a certificate source,
    /// in every layout that docs/configuration.md lists: `name.crt` and `name.key`, `fullchain.pem` and `privkey.pem`,
    /// `tls.crt` and `tls.key`, one `.pem` with both, and others.
    Check {
        /// Files of pairs (either file stands for both), or folders, which are searched
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        accepted: Accepted,
        /// Print JSON; docs/observation.md describes it
        #[arg(long)]
        json: bool,
    },
}

/// What a source accepts that says so with keys of these names.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Accepted {
    /// Accept private keys that group or others can read, as a source with `allow-readable-keys` does
    #[arg(long)]
    allow_readable_keys: bool,
    /// Accept certificates whose validity has ended, with a warning, as a source with `serve-expired` does
    #[arg(long)]
    serve_expired: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Shown {
    /// Read the files, even if a gateway is running
    #[arg(long)]
    offline: bool,
    /// Print JSON; docs/observation.md describes it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: CertificateCommand) -> Result<(), Failure> {
    match command {
        CertificateCommand::List { config, shown } => {
            let mut view = View::open(&Config::load(&config)?, shown.offline)?;
            match shown.json {
                true => print_json(&mut view, Query::default()),
                false => print_table(&mut view),
            }
        }
        CertificateCommand::Show { id, config, shown } => {
            let mut view = View::open(&Config::load(&config)?, shown.offline)?;
            show(&mut view, &id, shown.json).map_err(|failure| match failure {
                Some(failure) => failure,
                None => Failure::hinted(
                    format!("there is no certificate with the id \"{id}\""),
                    &format!("`handfast certificate list -c {}` shows the ids", config.display()),
                ),
            })
        }
        CertificateCommand::Check { paths, accepted, json } => check::run(&paths, accepted, json),
    }
}

/// Where the state of certificates comes from.
enum View {
    Gateway(Running),
    Files(Offline),
}

impl View {
    fn open(config: &Config, offline: bool) -> Result<Self, Failure> {
        if offline {
            return Ok(Self::Files(Offline::open(config)?));
        }
        match Running::find(config.admin.as_ref()) {
            Ok(running) => Ok(Self::Gateway(running)),
            // What is shown differs from what a gateway would say, so whoever reads is told.
            Err(error) => {
                let reason = super::telemetry::error_chain(&error);
                super::complain("note", &format!("{reason}; this is what the files hold"));
                Ok(Self::Files(Offline::open(config)?))
            }
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Files(_) => "files",
        }
    }

    fn ask(&mut self, query: Query) -> Result<Part, RunningError> {
        let listing = match self {
            Self::Gateway(running) => running.ask(&query)?,
            Self::Files(offline) => offline.ask(&query),
        };
        let next = match query {
            Query::Page { after, limit } => {
                // Whatever answers, asking comes to an end.
                let next = listing.next.filter(|next| after.is_none_or(|after| *next > after));
                next.map(|after| Query::Page { after: Some(after), limit })
            }
            Query::One { .. } => None,
        };
        Ok(Part { certificates: listing.certificates, findings: listing.findings, next })
    }
}

/// A part of what there is.
struct Part {
    certificates: Vec<Item>,
    findings: Vec<FindingItem>,
    /// What to ask for the next one.
    next: Option<Query>,
}

/// One certificate a line, so that 100,000 need the memory of a page.
fn print_json(view: &mut View, first: Query) -> Result<(), Failure> {
    let mut out = Output::new();
    out.line(format_args!("{{\"from\":\"{}\",\"certificates\":[", view.word()))?;
    let mut next = Some(first);
    let mut findings = Vec::new();
    let mut lines = JsonLines::default();
    while let Some(query) = next {
        let part = view.ask(query).map_err(Failure::runtime)?;
        next = part.next;
        findings.extend(part.findings);
        for certificate in &part.certificates {
            lines.add(certificate, &mut out)?;
        }
    }
    lines.end(&mut out)?;
    out.line(format_args!("],\"findings\":["))?;
    print_findings(&findings, &mut out)?;
    out.line(format_args!("]}}"))?;
    out.finish()
}

/// The elements of a JSON list that are findings.
fn print_findings(findings: &[FindingItem], out: &mut Output) -> Result<(), Failure> {
    let mut lines = JsonLines::default();
    for finding in findings {
        lines.add(finding, out)?;
    }
    lines.end(out)
}

/// The elements of a JSON list, one a line, each but the last with a comma.
#[derive(Default)]
struct JsonLines {
    before: Option<String>,
}

impl JsonLines {
    fn add(&mut self, element: &impl Serialize, out: &mut Output) -> Result<(), Failure> {
        let line = serde_json::to_string(element).map_err(Failure::runtime)?;
        match self.before.replace(line) {
            Some(before) => out.line(format_args!("{},", printable_json(&before))),
            None => Ok(()),
        }
    }

    fn end(self, out: &mut Output) -> Result<(), Failure> {
        match self.before {
            Some(last) => out.line(format_args!("{}", printable_json(&last))),
            None => Ok(()),
        }
    }
}

fn print_table(view: &mut View) -> Result<(), Failure> {
    let (mut rows, mut findings) = (Vec::new(), Vec::new());
    let mut next = Some(Query::default());
    while let Some(query) = next {
        let part = view.ask(query).map_err(Failure::runtime)?;
        next = part.next;
        findings.extend(part.findings);
        rows.extend(part.certificates.iter().map(table::row));
    }
    let mut out = Output::new();
    table::print(&rows, &mut out)?;
    if !findings.is_empty() {
        out.line(format_args!(""))?;
    }
    for FindingItem { severity, subject, text } in &findings {
        out.line(format_args!("{}: {}: {}", printable(severity), printable(subject), printable(text)))?;
    }
    out.finish()
}

/// The error `None`: there is no such certificate.
fn show(view: &mut View, id: &str, as_json: bool) -> Result<(), Option<Failure>> {
    let query = Query::One { id: id.to_owned() };
    let Part { certificates, .. } = view.ask(query.clone()).map_err(|error| Some(Failure::runtime(error)))?;
    if certificates.is_empty() {
        return Err(None);
    }
    if as_json {
        return print_json(view, query).map_err(Some);
    }
    let mut out = Output::new();
    for (number, certificate) in certificates.iter().enumerate() {
        if number > 0 {
            out.line(format_args!("")).map_err(Some)?;
        }
        table::describe(certificate, &mut out).map_err(Some)?;
    }
    out.finish().map_err(Some)
}
