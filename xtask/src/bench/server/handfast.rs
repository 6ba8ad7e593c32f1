//! The gateway, with its policy and without, and with policies in every language.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use handfast_policy_builder::Language;

use super::{Server, Setting, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::population::{Pair, Population};
use crate::bench::scale::Contender;
use crate::{plugins, root};

/// No policy is configured, so the embedded one chooses: in the sandbox, in a fresh instance for each handshake.
pub(in crate::bench) const HANDFAST: Subject = Subject {
    name: "handfast",
    title: "handfast, embedded policy",
    start: |ground, setting| with_policies(ground, setting, &[]),
};

/// The same choice in native code: the difference is what the sandbox costs.
pub(in crate::bench) const HANDFAST_NO_POLICY: Subject = Subject {
    name: "handfast-no-policy",
    title: "handfast, no policy",
    start: |ground, setting| {
        let options = &["--bench-native-choice"];
        Gateway { options, ..Gateway::with(setting) }.start(ground)
    },
};

/// The embedded policy's component, as a file: what is configured is compared with its file in each handshake.
pub(in crate::bench) const HANDFAST_RUST: Subject = Subject {
    name: "handfast",
    title: "handfast, the choice in Rust, fresh instances",
    start: |ground, setting| with_policies(ground, setting, &[Configured::fresh(rust())]),
};

pub(in crate::bench) const HANDFAST_RUST_REUSED: Subject = Subject {
    name: "handfast-reused",
    title: "handfast, the choice in Rust, reused instances",
    start: |ground, setting| with_policies(ground, setting, &[Configured::reused(rust())]),
};

/// The policy of examples/custom-policy, which parses JSON in each instance.
pub(in crate::bench) const HANDFAST_CUSTOM: Subject = Subject {
    name: "handfast-custom-policy",
    title: "handfast, examples/custom-policy, fresh instances",
    start: |ground, setting| {
        let built = plugins::build_all(&["custom-policy"])?;
        let plugin = built.first().context("cargo built nothing")?.clone();
        let keys = "config = { tls13-only = [\"pay.bench.example\"], canary-percent = 0 }\n";
        with_policies(ground, setting, &[Configured { plugin, keys }])
    },
};

pub(in crate::bench) const HANDFAST_C: Subject = Subject {
    name: "handfast",
    title: "handfast, the choice in C, fresh instances",
    start: |ground, setting| in_language(ground, setting, Language::C, Configured::fresh),
};

pub(in crate::bench) const HANDFAST_C_REUSED: Subject = Subject {
    name: "handfast-reused",
    title: "handfast, the choice in C, reused instances",
    start: |ground, setting| in_language(ground, setting, Language::C, Configured::reused),
};

/// Reused, as the docs advise for the languages that bring a runtime.
pub(in crate::bench) const HANDFAST_JAVASCRIPT: Subject = Subject {
    name: "handfast",
    title: "handfast, the choice in JavaScript, reused instances",
    start: |ground, setting| in_language(ground, setting, Language::Javascript, Configured::reused),
};

pub(in crate::bench) const HANDFAST_JAVASCRIPT_FRESH: Subject = Subject {
    name: "handfast-fresh",
    title: "handfast, the choice in JavaScript, fresh instances",
    start: |ground, setting| in_language(ground, setting, Language::Javascript, Configured::fresh),
};

pub(in crate::bench) const HANDFAST_GO: Subject = Subject {
    name: "handfast",
    title: "handfast, the choice in Go, reused instances",
    start: |ground, setting| in_language(ground, setting, Language::Go, Configured::reused),
};

pub(in crate::bench) const HANDFAST_GO_FRESH: Subject = Subject {
    name: "handfast-fresh",
    title: "handfast, the choice in Go, fresh instances",
    start: |ground, setting| in_language(ground, setting, Language::Go, Configured::fresh),
};

pub(in crate::bench) const HANDFAST_PYTHON: Subject = Subject {
    name: "handfast",
    title: "handfast, the choice in Python, reused instances",
    start: |ground, setting| in_language(ground, setting, Language::Python, Configured::reused),
};

pub(in crate::bench) const HANDFAST_PYTHON_FRESH: Subject = Subject {
    name: "handfast-fresh",
    title: "handfast, the choice in Python, fresh instances",
    start: |ground, setting| in_language(ground, setting, Language::Python, Configured::fresh),
};

/// Two that have no opinion, then the embedded one: three fresh instances for each handshake.
pub(in crate::bench) const HANDFAST_CHAIN: Subject = Subject {
    name: "handfast",
    title: "handfast, three policies, fresh instances",
    start: |ground, setting| {
        let plugin = ground.policy(Language::C, "loop")?;
        let passes = || Configured::fresh(plugin.clone());
        with_policies(ground, setting, &[passes(), passes()])
    },
};

/// A folder of pairs, with all defaults: the strict check in every handshake.
pub(in crate::bench) const HANDFAST_SCALE: Contender = Contender {
    name: "handfast",
    title: "handfast",
    start: |ground, population| {
        let certificates = &population.separate();
        Gateway { certificates, upstream: None, policies: &[], options: &[] }.start(ground)
    },
    replace,
};

/// Two renames.
pub(super) fn replace(_: &Ground, population: &Population, name: &str, pair: &Pair) -> Result<SystemTime> {
    pair.write_separate(&population.separate().join(name))?;
    Ok(SystemTime::now())
}

/// As [`HANDFAST`], but with so many workers, on these cores.
pub(in crate::bench) fn start_workers(
    ground: &Ground,
    setting: &Setting<'_>,
    workers: usize,
    cores: &str,
) -> Result<Server> {
    Gateway::with(setting).start_on(ground, workers, cores)
}

/// With the plugin as the only policy before the embedded one. `keys` are further lines of its configuration.
pub(in crate::bench) fn start_plugin(
    ground: &Ground,
    setting: &Setting<'_>,
    plugin: PathBuf,
    keys: &'static str,
) -> Result<Server> {
    with_policies(ground, setting, &[Configured { plugin, keys }])
}

/// The embedded policy's component.
pub(in crate::bench) fn rust() -> PathBuf {
    root().join("plugins/server-name/dist/server-name.wasm")
}

/// A policy's plugin, and its further keys in the configuration.
#[derive(Debug)]
struct Configured {
    plugin: PathBuf,
    keys: &'static str,
}

impl Configured {
    fn fresh(plugin: PathBuf) -> Self {
        Self { plugin, keys: "" }
    }

    fn reused(plugin: PathBuf) -> Self {
        Self { plugin, keys: "instances = \"reuse\"\n" }
    }
}

fn in_language(
    ground: &Ground,
    setting: &Setting<'_>,
    language: Language,
    configured: fn(PathBuf) -> Configured,
) -> Result<Server> {
    let plugin = ground.policy(language, "choose")?;
    with_policies(ground, setting, &[configured(plugin)])
}

fn with_policies(ground: &Ground, setting: &Setting<'_>, policies: &[Configured]) -> Result<Server> {
    Gateway { policies, ..Gateway::with(setting) }.start(ground)
}

/// One configuration of the gateway.
struct Gateway<'a> {
    certificates: &'a Path,
    upstream: Option<SocketAddr>,
    policies: &'a [Configured],
    options: &'a [&'a str],
}

impl<'a> Gateway<'a> {
    fn with(setting: &Setting<'a>) -> Self {
        Self { certificates: setting.folder, upstream: setting.upstream, policies: &[], options: &[] }
    }

    fn start(&self, ground: &Ground) -> Result<Server> {
        self.start_on(ground, 1, &ground.server_core.to_string())
    }

    fn start_on(&self, ground: &Ground, workers: usize, cores: &str) -> Result<Server> {
        let folder = ground.folder.join("handfast");
        fs::create_dir_all(&folder)?;
        let address = free_address()?;
        let config = folder.join("handfast.toml");
        fs::write(&config, self.config(workers, address))?;
        let mut command = Command::new(&ground.gateway);
        command.arg("run").arg("--config").arg(config).args(self.options);
        Server::start_on(ground, cores, "handfast", &command, address)
    }

    fn config(&self, workers: usize, address: SocketAddr) -> String {
        let names: Vec<String> =
            (1..=self.policies.len()).map(|number| format!("\"policy-{number}\"")).collect();
        let mut text = format!(
            r#"[gateway]
workers = {workers}
state-directory = "state"

[[listener]]
name = "bench"
address = "{address}"
policies = [{names}]

[[certificate-source]]
kind = "directory"
path = "{certificates}"

[log]
filter = "error"
"#,
            names = names.join(", "),
            certificates = self.certificates.display(),
        );
        for (name, Configured { plugin, keys }) in names.iter().zip(self.policies) {
            let plugin = plugin.display();
            text.push_str(&format!("\n[[policy]]\nname = {name}\nplugin = \"{plugin}\"\n{keys}"));
        }
        if let Some(upstream) = self.upstream {
            text.push_str(&format!(
                "\n[[upstream]]\nname = \"origin\"\nendpoints = [\"{upstream}\"]\n\n\
                 [[route]]\nhosts = [\"*\"]\nupstream = \"origin\"\n\n\
                 [http]\nidle-timeout = \"10m\"\n"
            ));
        }
        text
    }
}
