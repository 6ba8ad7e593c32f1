//! The programs that tests run beside the gateway: present, or installed by package name, or named in one line.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// A program and the Debian package that has it.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("nginx", "nginx-light"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("git", "git"),
    ("python3", "python3"),
    ("c++", "g++"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("valgrind", "valgrind"),
];

/// Makes sure that every program is there.
pub(crate) fn programs() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !is_present(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    println!("==> installing {}", packages.join(" "));
    let installed =
        apt(&["update", "-qq"]) && apt(&[&["install", "-y", "-qq"], packages.as_slice()].concat());
    if installed && missing.iter().all(|(program, _)| is_present(program)) {
        return Ok(());
    }
    bail!(
        "these programs are missing and could not be installed; as root: apt-get install {}",
        packages.join(" ")
    )
}

fn is_present(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| Path::new(&folder).join(program).is_file())
}

fn apt(arguments: &[&str]) -> bool {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .is_ok_and(|status| status.success())
}
