//! The gateway, with its policy and without.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::{Server, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::population::{Pair, Population};
use crate::bench::scale::Contender;
use crate::plugins;

/// No policy is configured, so the embedded one chooses: in the sandbox, in a fresh instance for each handshake.
pub(in crate::bench) const HANDFAST: Subject = Subject {
    name: "handfast",
    title: "handfast, embedded policy",
    start: |ground, setting| start(ground, setting.folder, setting.upstream, "", &[]),
};

/// The same choice in native code: the difference is what the sandbox costs.
pub(in crate::bench) const HANDFAST_NO_POLICY: Subject = Subject {
    name: "handfast-no-policy",
    title: "handfast, no policy",
    start: |ground, setting| start(ground, setting.folder, setting.upstream, "", &["--bench-native-choice"]),
};

/// The policy of examples/custom-policy, which parses JSON in each instance, passes, and leaves the choice to the
/// embedded one: two instances for each handshake.
pub(in crate::bench) const HANDFAST_CUSTOM: Subject = Subject {
    name: "handfast",
    title: "handfast, custom-policy and embedded policy",
    start: |ground, setting| {
        let built = plugins::build_all(&["custom-policy"])?;
        let plugin = built.first().context("cargo built nothing")?;
        let policy = format!(
            "[[policy]]\nname = \"custom\"\nplugin = \"{}\"\n\
             config = {{ tls13-only = [\"pay.bench.example\"], canary-percent = 0 }}\n",
            plugin.display()
        );
        start(ground, setting.folder, setting.upstream, &policy, &[])
    },
};

/// A folder of pairs, with all defaults: the strict check in every handshake.
pub(in crate::bench) const HANDFAST_SCALE: Contender = Contender {
    name: "handfast",
    title: "handfast",
    start: |ground, population| start(ground, &population.separate(), None, "", &[]),
    replace,
};

/// Two renames.
pub(super) fn replace(_: &Ground, population: &Population, name: &str, pair: &Pair) -> Result<SystemTime> {
    pair.write_separate(&population.separate().join(name))?;
    Ok(SystemTime::now())
}

fn start(
    ground: &Ground,
    certificates: &Path,
    upstream: Option<SocketAddr>,
    policy: &str,
    options: &[&str],
) -> Result<Server> {
    let folder = ground.folder.join("handfast");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let config = folder.join("handfast.toml");
    let policies = if policy.is_empty() { "" } else { "policies = [\"custom\"]\n" };
    let routes = upstream.map(|upstream| {
        format!(
            "[[upstream]]\nname = \"origin\"\nendpoints = [\"{upstream}\"]\n\
             [[route]]\nhosts = [\"*\"]\nupstream = \"origin\"\n\
             [http]\nidle-timeout = \"10m\"\n"
        )
    });
    fs::write(
        &config,
        format!(
            r#"[gateway]
workers = 1
state-directory = "state"

[[listener]]
name = "bench"
address = "{address}"
{policies}
[[certificate-source]]
kind = "directory"
path = "{certificates}"

[log]
filter = "error"

{policy}{routes}"#,
            certificates = certificates.display(),
            routes = routes.unwrap_or_default(),
        ),
    )?;
    let mut command = Command::new(&ground.gateway);
    command.arg("run").arg("--config").arg(config).args(options);
    Server::start(ground, "handfast", &command, address)
}
