//! What the figures were measured on.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::processor;
use crate::root;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) system: String,
    /// Of the last minute, before anything was measured: above 1, somebody else was busy.
    pub(super) load_average: f64,
    /// Of this repository; `-dirty` where files differed from it.
    pub(super) commit: String,
    pub(super) versions: BTreeMap<String, String>,
}

/// Of the last minute; to be asked before anything is measured.
pub(super) fn load_average() -> f64 {
    let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    average.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// After the measurements: the peers are installed then.
pub(super) fn describe(load_average: f64) -> Result<Machine> {
    let cpu = field("/proc/cpuinfo", "model name", ':');
    let system = field("/etc/os-release", "PRETTY_NAME", '=').trim_matches('"').to_owned();
    Ok(Machine {
        cpu,
        cores: processor::allowed_cores()?.len(),
        kernel: said("uname", &["-sr"]),
        system,
        load_average,
        commit: said("git", &["describe", "--always", "--dirty", "--exclude=*"]),
        versions: [
            ("caddy", said("caddy", &["version"])),
            ("h2load", said("h2load", &["--version"])),
            ("handfast", env!("CARGO_PKG_VERSION").to_owned()),
            ("haproxy", said("haproxy", &["-v"])),
            ("hitch", said("hitch", &["--version"])),
            ("nginx", said("nginx", &["-v"]).replace("nginx version: ", "")),
            ("openssl", said("openssl", &["version"])),
            ("rustc", said("rustc", &["--version"])),
            ("wrk", said("wrk", &["--version"])),
        ]
        .map(|(program, version)| (program.to_owned(), version))
        .into(),
    })
}

/// The first value of a key in a file of such lines; empty where there is none.
fn field(path: &str, key: &str, separator: char) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_owned())
    });
    value.unwrap_or_default()
}

/// The first line a program prints; empty where it can not be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).current_dir(root()).output() else {
        return String::new();
    };
    // nginx tells its version on standard error.
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
}
