//! `handfast certificate check`: would these pairs go live?
//!
//! Each pair is read and judged as a certificate source does it, without a configuration and without policies. Findings go
//! to standard output, one a line, each with its file and its remedy, or as JSON; the verdict is the exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::check::print;
use super::super::output::Output;
use super::super::{Failure, RUNTIME, counted};
use super::{Accepted, print_findings};
use crate::admin::certificates::FindingItem;
use crate::certificate::expiry::Horizons;
use crate::certificate::load::{self, Identity, MAX_FILE_SIZE};
use crate::certificate::ocsp::stapler;
use crate::certificate::source::directory::{Candidate, Tree};
use crate::certificate::store::{Finding, Severity, remaining, unmatched_names};
use crate::certificate::{Certificate, CertificateError, unix_now};
use crate::freshness::file::read_together;
use crate::telemetry::{error_chain, one_line};

/// The least that should be left of a certificate: the widest of the horizons that a gateway has by default.
const NEAR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);

pub(super) fn run(paths: &[PathBuf], accepted: Accepted, as_json: bool) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut asked = Vec::new();
    for (argument, path) in paths.iter().enumerate() {
        let mut candidates = Vec::new();
        find(path, &mut candidates, &mut findings);
        candidates.sort_by(|one, other| one.files.cmp(&other.files));
        asked.extend(candidates.into_iter().map(|candidate| Asked { argument, candidate }));
    }
    // Both files of a pair, or a folder and a file in it.
    let mut seen = BTreeSet::new();
    asked.retain(|asked| seen.insert(asked.candidate.files.clone()));
    let good = judge_all(&asked, accepted, &mut findings);
    find_duplicates(&good, &mut findings);
    find_clashes(&good, &mut findings);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    match as_json {
        true => report_as_json(findings, asked.len()),
        false => report(&findings, asked.len()),
    }
}

/// A pair that is to be judged.
struct Asked {
    /// Which of the paths it was found by: ids count from there.
    argument: usize,
    candidate: Candidate,
}

/// A pair that would go live.
struct Good {
    argument: usize,
    /// Its first file.
    path: Arc<str>,
    certificate: Certificate,
}

/// The findings as `certificate list` has them, and how many pairs they were looked for in.
fn report_as_json(findings: Vec<Finding>, pairs: usize) -> Result<(), Failure> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let findings: Vec<_> = findings.into_iter().map(FindingItem::from).collect();
    let mut out = Output::new();
    out.line(format_args!("{{\"good\":{},\"pairs\":{pairs},\"findings\":[", errors == 0))?;
    print_findings(&findings, &mut out)?;
    out.line(format_args!("]}}"))?;
    out.finish()?;
    verdict(errors, &counted(pairs, "pair", "pairs"))
}

fn verdict(errors: usize, pairs: &str) -> Result<(), Failure> {
    match errors {
        0 => Ok(()),
        errors => {
            let text = format!("{} in {pairs}", counted(errors, "error", "errors"));
            Err(Failure { text, code: RUNTIME })
        }
    }
}

fn report(findings: &[Finding], pairs: usize) -> Result<(), Failure> {
    let mut out = Output::new();
    // The texts name the files.
    let errors = print(findings, |finding| finding.text.clone(), &mut out)?;
    let pairs = counted(pairs, "pair", "pairs");
    if errors > 0 {
        out.finish()?;
        return verdict(errors, &pairs);
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
                findings.extend(look.left_out.iter().map(Finding::left_out));
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

/// Judges on as many threads as there are processors; returns those that would go live.
fn judge_all(asked: &[Asked], accepted: Accepted, findings: &mut Vec<Finding>) -> Vec<Good> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = asked.len().div_ceil(threads).max(1);
    let judge_share =
        |share: &[Asked]| -> Vec<_> { share.iter().map(|asked| judge(&asked.candidate, accepted)).collect() };
    let judged: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            asked.chunks(share).map(|share| scope.spawn(move || judge_share(share))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    let mut good = Vec::new();
    let horizons = Horizons::new(&[NEAR]);
    let now = unix_now();
    for (Asked { argument, candidate }, judged) in asked.iter().zip(judged) {
        let path: Arc<str> =
            candidate.files.first().map(|file| file.display().to_string()).unwrap_or_default().into();
        let mut say = |severity, text| findings.push(Finding::new(severity, path.to_string(), text));
        match judged {
            Err(text) => say(Severity::Error, text),
            Ok((certificate, staple)) => {
                staple.into_iter().for_each(|text| say(Severity::Warning, text));
                if horizons.reached(certificate.chain_not_after(), now).is_some() {
                    say(
                        Severity::Warning,
                        format!("{path} {}", remaining(certificate.chain_not_after(), now)),
                    );
                }
                if let Some(text) = unmatched_names(&certificate) {
                    say(Severity::Warning, format!("{path} {text}"));
                }
                good.push(Good { argument: *argument, path, certificate });
            }
        }
    }
    good
}

/// A pair that would go live, and what is wrong with the OCSP response beside it. The error is what to say.
fn judge(candidate: &Candidate, accepted: Accepted) -> Result<(Certificate, Option<String>), String> {
    let Accepted { allow_readable_keys, serve_expired } = accepted;
    let identity =
        Identity { id: candidate.id.clone(), tags: Arc::default(), allow_readable_keys, serve_expired };
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
fn find_duplicates(good: &[Good], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(&str, String), &Arc<str>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for Good { path, certificate, .. } in good {
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

/// Pairs with one id: only the first in the order of their paths would be served.
fn find_clashes(good: &[Good], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(usize, &str), &Arc<str>> = BTreeMap::new();
    for Good { argument, path, certificate } in good {
        let other = *first.entry((*argument, certificate.id())).or_insert(path);
        if other != path {
            let (id, path_of_it) = (certificate.id().into(), (**path).into());
            let error = CertificateError::IdTaken { id, path: path_of_it, other: (**other).into() };
            findings.push(Finding::new(Severity::Error, path.to_string(), error.to_string()));
        }
    }
}
