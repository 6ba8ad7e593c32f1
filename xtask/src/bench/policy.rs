//! `policy-LANGUAGE-…`: what a policy costs by itself, in every language.
//!
//! A call is too small beside a handshake to be measured from outside, so the plugin host's own benchmark makes calls in a
//! loop, once for each round. The policy is the same in every language: it chooses as the embedded one does
//! (`xtask/policies`); in Rust it is the embedded one.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use handfast_policy_builder::Language;
use serde::Deserialize;

use super::ground::Ground;
use super::report::{Heading, Measured};
use super::round::Length;
use super::samples::Samples;
use super::server;
use crate::root;

/// As the figures are called, and the language.
const LANGUAGES: [(&str, &str, Language); 5] = [
    ("rust", "Rust", Language::Rust),
    ("c", "C", Language::C),
    ("js", "JavaScript", Language::Javascript),
    ("go", "Go", Language::Go),
    ("python", "Python", Language::Python),
];

/// What is measured of each, with its unit.
const FIGURES: [(&str, &str, &str); 6] = [
    ("size", "the component", "KiB"),
    ("compile", "compiling it", "ms"),
    ("cached-load", "loading it compiled", "ms"),
    ("call-fresh", "a call of `select` in a fresh instance", "CPU µs"),
    ("call-reused", "a call of `select` in a reused instance", "CPU µs"),
    ("instance-memory", "an instance that is kept", "KiB"),
];

/// What `gateway/plugin-host/benches/call.rs` prints with `--json`.
#[derive(Debug, Deserialize)]
struct Cost {
    size_bytes: f64,
    compile_ms: f64,
    cached_load_ms: f64,
    fresh_us: f64,
    reused_us: f64,
    instance_kib: f64,
}

pub(super) fn names() -> impl Iterator<Item = String> {
    LANGUAGES.iter().flat_map(|(language, ..)| FIGURES.iter().map(move |(figure, ..)| name(language, figure)))
}

/// Measures the languages of which any figure was asked for.
pub(super) fn measure(
    ground: &Ground,
    length: Length,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(Heading, Vec<Measured>)>> {
    let mut lines = Vec::new();
    for (language, title, builder) in LANGUAGES {
        let any = FIGURES.iter().any(|(figure, ..)| wanted(&name(language, figure)));
        if !any {
            continue;
        }
        let component = match builder {
            Language::Rust => server::rust(),
            other => ground.policy(other, "choose")?,
        };
        let mut all: [Samples; 6] = Default::default();
        for round in 1..=length.rounds {
            let cost = one(&ground.folder.join("code-cache"), &component)?;
            eprintln!("bench: {language}, round {round} of {}: {cost:?}", length.rounds);
            let Cost { size_bytes, compile_ms, cached_load_ms, fresh_us, reused_us, instance_kib } = cost;
            let values = [size_bytes / 1024.0, compile_ms, cached_load_ms, fresh_us, reused_us, instance_kib];
            for (samples, value) in all.iter_mut().zip(values) {
                samples.add(value);
            }
        }
        for ((figure, what, unit), values) in FIGURES.into_iter().zip(all) {
            let name = name(language, figure);
            if wanted(&name) {
                let heading = Heading { name, title: format!("A policy in {title}: {what}"), unit };
                lines.push((
                    heading,
                    vec![Measured { name: "handfast", title, values, rates: None, unready: None }],
                ));
            }
        }
    }
    Ok(lines)
}

fn name(language: &str, figure: &str) -> String {
    format!("policy-{language}-{figure}")
}

fn one(cache: &PathBuf, component: &Path) -> Result<Cost> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let output = Command::new(cargo)
        .args(["bench", "--quiet", "--locked", "--package", "handfast-plugin-host", "--bench", "call"])
        .args(["--", "--json"])
        .arg(component)
        .arg(cache)
        .current_dir(root())
        .output()
        .context("cannot run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the plugin host's benchmark failed: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("the benchmark's JSON")
}
