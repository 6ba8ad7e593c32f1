//! The gateway, with its policy and without.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;

use super::{Server, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::population::{Pair, Population};
use crate::bench::scale::Contender;

/// No policy is configured, so the embedded one chooses: in the sandbox, in a fresh instance for each handshake.
pub(in crate::bench) const HANDFAST: Subject =
    Subject { name: "handfast", title: "handfast, embedded policy", start: |ground| own(ground, &[]) };

/// The same choice in native code: the difference is what the sandbox costs.
pub(in crate::bench) const HANDFAST_NO_POLICY: Subject = Subject {
    name: "handfast-no-policy",
    title: "handfast, no policy",
    start: |ground| own(ground, &["--bench-native-choice"]),
};

/// A folder of pairs, with all defaults: the strict check in every handshake.
pub(in crate::bench) const HANDFAST_SCALE: Contender = Contender {
    name: "handfast",
    title: "handfast",
    start: |ground, population| start(ground, &population.separate(), &[]),
    replace,
};

/// Two renames.
pub(super) fn replace(_: &Ground, population: &Population, name: &str, pair: &Pair) -> Result<SystemTime> {
    pair.write_separate(&population.separate().join(name))?;
    Ok(SystemTime::now())
}

fn own(ground: &Ground, options: &[&str]) -> Result<Server> {
    start(ground, &ground.folder.join("certificates"), options)
}

fn start(ground: &Ground, certificates: &Path, options: &[&str]) -> Result<Server> {
    let folder = ground.folder.join("handfast");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let config = folder.join("handfast.toml");
    fs::write(
        &config,
        format!(
            r#"[gateway]
workers = 1
state-directory = "state"

[[listener]]
name = "bench"
address = "{address}"

[[certificate-source]]
kind = "directory"
path = "{certificates}"

[log]
filter = "error"
"#,
            certificates = certificates.display(),
        ),
    )?;
    let mut command = Command::new(&ground.gateway);
    command.arg("run").arg("--config").arg(config).args(options);
    Server::start(ground, "handfast", &command, address)
}
