//! Programs that the measurements need and that are not built here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// Where the program is; root installs Debian's package of it if it is missing.
pub(super) fn ensure(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(path) = find(program) {
        return Ok(path);
    }
    install(package);
    match find(program) {
        Some(path) => Ok(path),
        None => bail!("`{program}` is not installed: as root, `apt-get install -y {package}`"),
    }
}

/// As far as this process may; whether it is there is looked at afterwards.
fn install(package: &str) {
    if find("apt-get").is_none() || !is_root() {
        return;
    }
    eprintln!("bench: installing {package}");
    let install = ["install", "-y", "--no-install-recommends", package];
    if !apt(&install) && apt(&["update"]) {
        apt(&install);
    }
}

/// Makes sure of a file that Debian's package has.
pub(super) fn ensure_file(path: &str, package: &str) -> Result<()> {
    if Path::new(path).is_file() {
        return Ok(());
    }
    install(package);
    match Path::new(path).is_file() {
        true => Ok(()),
        false => bail!("`{path}` is missing: as root, `apt-get install -y {package}`"),
    }
}

/// In the search path, or where Debian keeps servers.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = [Path::new("/usr/sbin"), Path::new("/sbin")].map(Path::to_owned);
    env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(arguments: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .arg("-q")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr())
        .status();
    status.is_ok_and(|status| status.success())
}
