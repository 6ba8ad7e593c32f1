//! `handfast certificate check`: would these pairs go live?
//!
//! Each pair is read and judged as a certificate source does it, without a configuration and without policies. Findings go
//! to standard output, one a line, each with its file and its remedy; the verdict is the exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::check::print;
use super::super::output::Output;
use super::super::{Failure, RUNTIME, counted};
use crate::certificate::expiry::Horizons;
use crate::certificate::load::{self, Identity, MAX_FILE_SIZE};
use crate::certificate::ocsp::stapler;
use crate::certificate::source::directory::{Candidate, Tree};
use crate::certificate::store::{Finding, Severity, remaining};
use crate::certificate::{Certificate, unix_now};
use crate::freshness::file::read_together;
use crate::telemetry::{error_chain, one_line};

/// The least that should be left of a certificate: the widest of the horizons that a gateway has by default.
const NEAR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

pub(super) fn run(paths: &[PathBuf], allow_readable_keys: bool) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut candidates = Vec::new();
    for path in paths {
        find(path, &mut candidates, &mut findings);
    }
    // Both files of a pair, or a folder and a file in it.
    let mut seen = BTreeSet::new();
    candidates.retain(|candidate| seen.insert(candidate.files.clone()));
    let good = judge_all(&candidates, allow_readable_keys, &mut findings);
    find_duplicates(&good, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report(&findings, candidates.len())
}

fn report(findings: &[Finding], pairs: usize) -> Result<(), Failure> {
    let mut out = Output::new();
    // The texts name the files.
    let errors = print(findings, |finding| finding.text.clone(), &mut out)?;
    let pairs = counted(pairs, "pair", "pairs");
    if errors > 0 {
        out.finish()?;
        let text = format!("{} in {pairs}", counted(errors, "error", "errors"));
        return Err(Failure { text, code: RUNTIME });
    }
    match findings.iter().filter(|finding| finding.severity == Severity::Warning).count() {
        0 => out.line(format_args!("good: {pairs}"))?,
        warnings => {
            let warnings = counted(warnings, "warning", "warnings");
            out.line(format_args!("good: {pairs}, {warnings}"))?;
        }
    }
    out.finish()
}

/// The pairs that a path stands for.
fn find(path: &Path, candidates: &mut Vec<Candidate>, findings: &mut Vec<Finding>) {
    let mut say = |severity, text| findings.push(Finding::new(severity, path.display().to_string(), text));
    let error = |error| {
        format!("{} cannot be looked at; check the path and its permissions: {error}", path.display())
    };
    let is_folder = match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(cause) => return say(Severity::Error, error(cause)),
    };
    if is_folder {
        match tree(path).look() {
            Ok(look) => {
                if look.candidates.is_empty() {
                    say(
                        Severity::Error,
                        format!("{} holds no pair; put `name.crt` beside `name.key`", path.display()),
                    );
                }
                look.left_out.iter().for_each(|left_out| say(Severity::Warning, error_chain(left_out)));
                candidates.extend(look.candidates);
            }
            Err(cause) => say(Severity::Error, error(cause)),
        }
        return;
    }
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Not what is below it: `/shop.pem` does not stand for the whole machine.
    match tree(folder).look_at_root() {
        Ok(look) => {
            let wanted = folder.join(path.file_name().unwrap_or_default());
            let found = look.candidates.into_iter().find(|candidate| candidate.files.contains(&wanted));
            match found {
                Some(candidate) => candidates.push(candidate),
                None => say(
                    Severity::Error,
                    format!(
                        "{} is no part of a pair; a source takes `name.crt` or `name.pem` beside `name.key`, \
                         `fullchain.pem` beside `privkey.pem`, or one `.pem` with both",
                        path.display()
                    ),
                ),
            }
        }
        Err(cause) => say(Severity::Error, error(cause)),
    }
}

fn tree(folder: &Path) -> Tree {
    Tree::new(folder.to_owned(), "certificates", false)
}

/// Judges on as many threads as there are processors; returns those that would go live, each with its first file.
fn judge_all(
    candidates: &[Candidate],
    allow_readable_keys: bool,
    findings: &mut Vec<Finding>,
) -> Vec<(Arc<str>, Certificate)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = candidates.len().div_ceil(threads).max(1);
    let judge_share = |share: &[Candidate]| -> Vec<_> {
        share.iter().map(|candidate| judge(candidate, allow_readable_keys)).collect()
    };
    let judged: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            candidates.chunks(share).map(|share| scope.spawn(move || judge_share(share))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let mut good = Vec::new();
    let horizons = Horizons::new(&[NEAR]);
    let now = unix_now();
    for (candidate, judged) in candidates.iter().zip(judged) {
        let path: Arc<str> =
            candidate.files.first().map(|file| file.display().to_string()).unwrap_or_default().into();
        let mut say = |severity, text| findings.push(Finding::new(severity, path.to_string(), text));
        match judged {
            Err(text) => say(Severity::Error, text),
            Ok((certificate, staple)) => {
                staple.into_iter().for_each(|text| say(Severity::Warning, text));
                if horizons.reached(certificate.not_after(), now).is_some() {
                    say(Severity::Warning, format!("{path} {}", remaining(certificate.not_after(), now)));
                }
                if certificate.names().is_empty() {
                    say(
                        Severity::Warning,
                        format!(
                            "{path} has no subject alternative names, so no client accepts it by name; issue it with some"
                        ),
                    );
                }
                good.push((path, certificate));
            }
        }
    }
    good
}

/// A pair that would go live, and what is wrong with the OCSP response beside it. The error is what to say.
fn judge(candidate: &Candidate, allow_readable_keys: bool) -> Result<(Certificate, Option<String>), String> {
    let identity = Identity {
        id: candidate.id.clone(),
        tags: Arc::default(),
        allow_readable_keys,
        serve_expired: false,
    };
    let contents = read_together(&candidate.all_files(true), MAX_FILE_SIZE).contents;
    let contents = contents.map_err(|error| error_chain(&error))?;
    let certificate = load::certificate(&identity, &contents, unix_now())
        .map_err(|error| one_line(&error_chain(&error)))?;
    let staple = contents.iter().skip(1).find(|file| file.path.extension().is_some_and(|own| own == "ocsp"));
    let trouble = staple.and_then(|file| {
        let trouble = match &file.trouble {
            Some(trouble) => error_chain(trouble),
            None => error_chain(&stapler::judge(&file.bytes, &certificate).err()?),
        };
        Some(format!("{} is not stapled: {trouble}", file.path.display()))
    });
    Ok((certificate, trouble))
}

/// Pairs for the same name and kind of key: only the newest of them is ever chosen by default.
fn find_duplicates(good: &[(Arc<str>, Certificate)], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(&str, String), &Arc<str>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for (path, certificate) in good {
        let kind = format!("{:?}", certificate.key_algorithm());
        for name in certificate.names() {
            let other = *first.entry((name, kind.clone())).or_insert(path);
            if other != path && told.insert((other, path)) {
                let text = format!(
                    "{path} has {name} in common with {other}; the newest is preferred: remove the others"
                );
                findings.push(Finding::new(Severity::Note, path.to_string(), text));
            }
        }
    }
}
