//! The programs that tests run beside the gateway: present, or installed by package name, or named in one line.
//!
//! Only what the tests need that are to run. A whole run ends here without them, since in it nothing is skipped; one of
//! some tests goes on, since each test names the program that it lacks.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A program and the Debian package that has it.
struct Program {
    name: &'static str,
    package: &'static str,
    purpose: Purpose,
}

/// What a program is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Behaviour tests: clients, upstreams, users and networks of their own.
    Behaviour,
    /// The toolchains of policies.
    Languages,
    Fuzzing,
    /// Counting instructions, which says what changed and fails nothing.
    Counting,
}

/// Not a program, but what Debian leaves out of Python.
const VENV: &str = "python3 -m venv";

const PROGRAMS: &[Program] = {
    const fn of(purpose: Purpose, name: &'static str, package: &'static str) -> Program {
        Program { name, package, purpose }
    }
    use Purpose::{Behaviour, Counting, Fuzzing, Languages};
    &[
        of(Behaviour, "curl", "curl"),
        of(Behaviour, "openssl", "openssl"),
        of(Behaviour, "setpriv", "util-linux"),
        of(Behaviour, "unshare", "util-linux"),
        of(Behaviour, "ip", "iproute2"),
        of(Behaviour, "git", "git"),
        of(Behaviour, "python3", "python3"),
        of(Behaviour, "nginx", "nginx-light"),
        of(Behaviour, "h2load", "nghttp2-client"),
        of(Languages, "python3", "python3"),
        of(Languages, VENV, "python3-venv"),
        of(Languages, "node", "nodejs"),
        of(Languages, "npm", "npm"),
        of(Fuzzing, "c++", "g++"),
        of(Counting, "valgrind", "valgrind"),
    ]
};

/// Makes sure that what the tests need is there: all, or those whose name contains `filter`.
pub(crate) fn programs(filter: Option<&str>) -> Result<()> {
    let needed = PROGRAMS.iter().filter(|program| program.purpose.is_of(filter));
    let missing: Vec<&Program> = needed.filter(|program| !program.is_present()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    install(&packages(&missing));
    let lacking = missing.into_iter().filter(|program| !program.is_present());
    let (fatal, spared): (Vec<_>, Vec<_>) = lacking.partition(|program| program.purpose.must_be(filter));
    for Program { name, package, purpose } in spared {
        let without = purpose.without();
        println!("`{name}` could not be installed, {without}; as root: apt-get install -y {package}");
    }
    if fatal.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = fatal.iter().map(|program| program.name).collect();
    bail!(
        "these programs are missing and could not be installed: {}; as root: apt-get install -y {}",
        names.join(", "),
        packages(&fatal).join(" ")
    )
}

impl Purpose {
    /// Whether a run of these tests has such a step.
    fn is_of(self, filter: Option<&str>) -> bool {
        match self {
            Self::Behaviour => true,
            Self::Languages => filter.is_none_or(|filter| filter == super::LANGUAGES),
            Self::Fuzzing | Self::Counting => filter.is_none(),
        }
    }

    fn must_be(self, filter: Option<&str>) -> bool {
        match self {
            Self::Behaviour => filter.is_none(),
            Self::Languages | Self::Fuzzing => true,
            Self::Counting => false,
        }
    }

    fn without(self) -> &'static str {
        match self {
            Self::Counting => "so no instructions are counted",
            _ => "and tests that need it fail",
        }
    }
}

impl Program {
    fn is_present(&self) -> bool {
        if self.name == VENV {
            // The module is there without the package, and pip is not.
            let mut python = Command::new("python3");
            python.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
            return python.status().is_ok_and(|status| status.success());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian keeps some where an ordinary user's PATH does not look.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        folders.into_iter().any(|folder| Path::new(&folder).join(self.name).is_file())
    }
}

/// Each once.
fn packages(programs: &[&Program]) -> Vec<&'static str> {
    let mut packages: Vec<_> = programs.iter().map(|program| program.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// All at once; where that fails, each by itself, since one that is not to be had must not keep the others away.
fn install(packages: &[&str]) {
    println!("==> installing {}", packages.join(" "));
    let install = |packages: &[&str]| apt(&[&["install", "-y", "-qq"], packages].concat());
    if !(apt(&["update", "-qq"]) && install(packages)) && packages.len() > 1 {
        for package in packages {
            install(&[package]);
        }
    }
}

fn apt(arguments: &[&str]) -> bool {
    let mut apt = Command::new("apt-get");
    apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    apt.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, a missing nginx or valgrind ended `cargo xtask test languages`.
    #[test]
    fn a_run_of_some_tests_asks_only_for_what_they_need() {
        let asked = |filter: Option<&str>| -> Vec<&str> {
            PROGRAMS.iter().filter(|it| it.purpose.is_of(filter)).map(|it| it.name).collect()
        };
        for name in ["valgrind", "c++"] {
            assert!(asked(None).contains(&name) && !asked(Some("languages")).contains(&name), "{name}");
        }
        for name in [VENV, "node", "npm"] {
            assert!(
                asked(Some("languages")).contains(&name) && !asked(Some("hostile")).contains(&name),
                "{name}"
            );
        }
        assert!(!Purpose::Counting.must_be(None) && Purpose::Behaviour.must_be(None));
    }
}
