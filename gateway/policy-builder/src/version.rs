//! How old a toolchain may be: it is asked before it compiles anything, so that one that is too old is told in a line, and
//! not by what it makes of sources that are newer than itself.
//!
//! Called by [`Tool::find`](crate::Tool::find) only. A program that does not answer, or not in its usual words, is not held
//! up: what is wrong with it, it says itself. No version of clang is asked for: clangs go by what they lack, [`Tool::lack`].

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::language::Language;
use crate::project::Project;
use crate::tool::Tool;

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

/// A part of a toolchain that is too old.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outdated {
    pub(crate) program: &'static str,
    pub(crate) found: Version,
    pub(crate) least: Version,
}

/// Edition 2024, in which the SDK is written.
const RUST: Version = Version(1, 85, 0);
/// `go.mod` of the SDK has it. An older one fetches it where it may, and then says that it is this one.
const GO: Version = Version(1, 25, 0);
/// `package.json` of the SDK has both.
const NODE: Version = Version(18, 0, 0);
const COMPONENTIZE_QJS: Version = Version(0, 4, 5);
/// `pyproject.toml` of the SDK has both.
const PYTHON: Version = Version(3, 10, 0);
const COMPONENTIZE_PY: Version = Version(0, 25, 0);
/// The oldest that was tried.
const ZIG: Version = Version(0, 11, 0);

/// The first part of the toolchain that is too old for a policy in its language.
pub(crate) fn outdated(project: &Project, tool: &Tool) -> Option<Outdated> {
    let asked = |command: Command, question, before| said(command, &project.folder, question, before);
    match project.language {
        Language::Rust => too_old("cargo", asked(tool.alone(), "--version", "cargo "), RUST),
        // In the policy's folder, whose `go.mod` may make it another version than elsewhere.
        Language::Go => too_old("go", asked(tool.alone(), "version", "go version go"), GO),
        Language::C if tool.is_zig() => too_old("zig", asked(tool.zig(), "version", ""), ZIG),
        Language::C => None,
        Language::Javascript => {
            let package = project.modules.join("componentize-qjs/package.json");
            too_old("node", asked(tool.alone(), "--version", "v"), NODE)
                .or_else(|| too_old("componentize-qjs", of_package(&package), COMPONENTIZE_QJS))
        }
        Language::Python => {
            let script = Path::new(tool.program()).with_file_name("componentize-py");
            let script = asked(Command::new(script), "--version", "componentize-py ");
            too_old("python3", asked(tool.alone(), "--version", "Python "), PYTHON)
                .or_else(|| too_old("componentize-py", script, COMPONENTIZE_PY))
        }
    }
}

fn too_old(program: &'static str, found: Option<Version>, least: Version) -> Option<Outdated> {
    found.filter(|found| *found < least).map(|found| Outdated { program, found, least })
}

/// The version that a program says it has, behind the words `before`.
fn said(mut command: Command, folder: &Path, question: &str, before: &str) -> Option<Version> {
    command.current_dir(folder).arg(question).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Version::parse(String::from_utf8_lossy(&output.stdout).trim().strip_prefix(before)?)
}

/// The version that npm has installed.
fn of_package(manifest: &Path) -> Option<Version> {
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
    Version::parse(manifest.get("version")?.as_str()?)
}

impl Version {
    /// What follows the numbers does not count: `1.25rc1` is 1.25.0.
    fn parse(text: &str) -> Option<Self> {
        let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
        let mut numbers = text.get(..end)?.split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let mut further = || numbers.next().and_then(Result::ok).unwrap_or(0);
        Some(Self(major, further(), further()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        write!(formatter, "{major}.{minor}")?;
        if *patch == 0 { Ok(()) } else { write!(formatter, ".{patch}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_out_of_what_programs_say() {
        let said = |text: &str| Version::parse(text).map(|version| version.to_string());
        assert_eq!(said("1.96.0 (30a34c682 2026-05-25)").as_deref(), Some("1.96"));
        assert_eq!(said("1.25rc1 linux/amd64").as_deref(), Some("1.25"));
        assert_eq!(said("20.20.2").as_deref(), Some("20.20.2"));
        assert_eq!(said("0.17.0-dev.12+abc").as_deref(), Some("0.17"));
        assert_eq!(said("18").as_deref(), Some("18.0"));
        assert_eq!((said(""), said("unknown")), (None, None));
        assert!(Version(1, 9, 9) < Version(1, 10, 0));
    }

    /// The SDKs say the same to their package managers, and the pages to people.
    #[test]
    fn the_least_versions_are_those_of_the_sdks() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk");
        let read = |path: &str| fs::read_to_string(sdk.join(path)).unwrap();
        for (path, text) in [
            ("go/go.mod", format!("go {GO}\n")),
            ("javascript/package.json", format!("\"node\": \">={}\"", NODE.0)),
            ("javascript/package.json", format!("\"componentize-qjs\": \"{COMPONENTIZE_QJS}\"")),
            ("python/pyproject.toml", format!("requires-python = \">={PYTHON}\"")),
            ("python/pyproject.toml", format!("componentize-py=={COMPONENTIZE_PY}.")),
            ("rust/template/sdk.toml", "edition = \"2024\"".to_owned()),
            ("../../docs/policies/rust.md", format!("Rust of {RUST} or newer")),
            ("../../docs/policies/go.md", format!("Go {GO} or newer")),
            ("../../docs/policies/javascript.md", format!("Node {} or newer", NODE.0)),
            ("../../docs/policies/python.md", format!("Python {PYTHON} or newer")),
        ] {
            assert!(read(path).contains(&text), "{path} has no {text}");
        }
    }
}
