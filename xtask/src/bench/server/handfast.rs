//! The gateway, with its policy and without.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Server, Subject, free_address};
use crate::bench::ground::Ground;

/// No policy is configured, so the embedded one chooses: in the sandbox, in a fresh instance for each handshake.
pub(in crate::bench) const HANDFAST: Subject =
    Subject { name: "handfast", title: "handfast, embedded policy", start: |ground| start(ground, &[]) };

/// The same choice in native code: the difference is what the sandbox costs.
pub(in crate::bench) const HANDFAST_NO_POLICY: Subject = Subject {
    name: "handfast-no-policy",
    title: "handfast, no policy",
    start: |ground| start(ground, &["--bench-native-choice"]),
};

fn start(ground: &Ground, options: &[&str]) -> Result<Server> {
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
path = "../certificates"

[log]
filter = "error"
"#
        ),
    )?;
    let mut command = Command::new(&ground.gateway);
    command.arg("run").arg("--config").arg(config).args(options);
    Server::start(ground, "handfast", &command, address)
}
