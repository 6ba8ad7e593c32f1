//! `cargo xtask test`: the one command that says whether the tree is good. `.ci/run` is this and nothing else.
//!
//! Its steps go from cheap to dear, and the first that fails ends it. It prepares what it needs itself: programs by
//! package name where it may install them, guests with the pinned compiler.

use std::ffi::OsString;
use std::num::NonZero;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{fuzz, instructions, languages, plugins, root};

mod prepare;

/// How long the parsers are fuzzed: enough to notice what a change broke, since the corpus is kept between runs.
const FUZZ_SECONDS: u64 = 10;

/// The tests whose name contains this also build the policies of all languages, and compare them.
const LANGUAGES: &str = "languages";

/// Runs everything, or only the behaviour tests whose name contains `filter`.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    prepare::programs(filter)?;
    if let Some(filter) = filter {
        step("guests", || plugins::build_all(plugins::GUESTS).map(|_| ()))?;
        if filter == LANGUAGES {
            step("languages", policies_in_all_languages)?;
        }
        return behaviour(Some(filter));
    }
    step("formatting", || cargo(&["fmt", "--all", "--check"]))?;
    step("plugins", || plugins::run(true))?;
    step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])
    })?;
    step("unit tests", || {
        let without = ["--exclude", "handfast-tests", "--exclude", "handfast-conformance"];
        cargo(&[&["test", "--workspace", "--locked"], without.as_slice()].concat())
    })?;
    step("languages", policies_in_all_languages)?;
    behaviour(None)?;
    step("fuzzing", || fuzz::run(FUZZ_SECONDS))?;
    step("instructions", || {
        // Says what changed, and is no reason to fail.
        if let Err(error) = instructions::run(&instructions::Args::default()) {
            println!("not counted: {error:#}");
        }
        Ok(())
    })
}

/// Builds them from source, and runs the same cases against each. What they do on live handshakes is a behaviour test.
fn policies_in_all_languages() -> Result<()> {
    languages::build(&[])?;
    cargo(&["test", "--workspace", "--test", "cases", "--locked"])
}

/// The tests of the real binary.
fn behaviour(filter: Option<&str>) -> Result<()> {
    // With the tests, of the whole workspace: libraries would be compiled once more for the features that one package asks for.
    step("gateway", || {
        cargo(&["build", "--workspace", "--bin", "handfast", "--test", "behaviour", "--locked"])
    })?;
    // The torture test is one of them, a program of its own that has tests of its own.
    let mut arguments =
        vec!["test", "--workspace", "--test", "behaviour", "--bin", "handfast-torture", "--locked"];
    arguments.extend(filter.iter().flat_map(|filter| ["--", *filter]));
    step("behaviour tests", || cargo_with(&arguments, &[("RUST_TEST_THREADS", &behaviour_threads())]))
}

/// So many tests at once: much of their time they wait, for a deadline or for a child.
fn behaviour_threads() -> String {
    let threads = || std::thread::available_parallelism().map_or(1, NonZero::get) * 2;
    std::env::var("RUST_TEST_THREADS").unwrap_or_else(|_| threads().to_string())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("==> {name}");
    let begun = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    println!("==> {name}: good, {} s", begun.elapsed().as_secs());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

fn cargo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        // Snapshots are compared, never written, whatever the caller's habits.
        .env("INSTA_UPDATE", "no")
        .envs(environment.iter().copied())
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}
