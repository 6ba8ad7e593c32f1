//! `cargo xtask plugins`: guest crates to WebAssembly components, the embedded policy among them.
//!
//! Called by `cargo xtask plugins` and, with `--check`, by `cargo xtask test`, whose tests load what it leaves in
//! `target/plugins`. It never touches the machine's own Rust and never builds the gateway.
//!
//! The goal is a gateway that builds with a plain Rust toolchain and still has a policy in the sandbox from the first
//! second. A build script that compiles the policy would need a wasm target, which rustup cannot fetch everywhere; a
//! policy written in native code would not be the thing it stands for. So the component is committed, the one binary in
//! the repository, and what keeps it honest is `--check`: the same source, compiled by the same compiler, is the same
//! bytes wherever the clone lies, so any other bytes are an error.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use handfast_policy_builder as builder;
use sha2::{Digest, Sha256};

use self::toolchain::Toolchain;

mod toolchain;

/// The package of the embedded policy.
const EMBEDDED: &str = "handfast-plugin-server-name";

/// The other guests of the repository: further policies, those of the examples, and those that the tests load.
pub(crate) const GUESTS: &[&str] = &[
    "client-certificate",
    "client-units",
    "conformance-rust",
    "custom-policy",
    "guest-caller",
    "guest-hog",
    "guest-keeper",
    "guest-loop",
    "guest-probe",
    "guest-trap",
    "guest-wrong-world",
    "hygiene",
    "rate-limit",
    "tenant",
];

/// Builds every guest of the repository. The embedded policy replaces the committed component; with `check` it is
/// compared with it instead.
pub(crate) fn run(check: bool) -> Result<()> {
    let toolchain = toolchain::install(&root())?;
    ensure!(
        toolchain.is_pinned(),
        "the embedded policy is built with Debian's rustc-web {} only, so that everybody gets the same bytes",
        toolchain::RUST,
    );
    let packages: Vec<&str> = [EMBEDDED].iter().chain(GUESTS).copied().collect();
    let built = build_with(&toolchain, &packages)?;
    let embedded = built.first().context("cargo built nothing")?;

    let bytes = fs::read(embedded)?;
    let imports = builder::imports(&bytes)?;
    ensure!(
        imports.iter().all(|import| import.starts_with("handfast:policy/")),
        "the embedded policy runs without any grant, and imports {}",
        imports.join(", "),
    );
    let committed = root().join("plugins/server-name/dist/server-name.wasm");
    let before = fs::read(&committed).unwrap_or_default();
    if before == bytes {
        println!("{}: {}, up to date", shown(&committed), described(&bytes));
    } else if check {
        bail!(
            "{} is not what its source gives:\n  committed {}\n  built     {}\nrun `cargo xtask plugins` and commit the file",
            shown(&committed),
            described(&before),
            described(&bytes),
        );
    } else {
        builder::replace(&committed, &bytes)
            .with_context(|| format!("cannot replace {}", shown(&committed)))?;
        println!("{}: {}, was {}", shown(&committed), described(&bytes), described(&before));
    }
    Ok(())
}

/// Builds guest crates, with one run of cargo, to `target/plugins/<package>.wasm` each.
pub(crate) fn build_all(packages: &[&str]) -> Result<Vec<PathBuf>> {
    build_with(&toolchain::install(&root())?, packages)
}

/// Leaves `cargo` and `rustc` in a folder, which run the toolchain that guests are compiled with: for what is built as policy
/// authors build it.
pub(crate) fn write_programs(folder: &Path) -> Result<()> {
    toolchain::install(&root())?.write_programs(folder)
}

fn build_with(toolchain: &Toolchain, packages: &[&str]) -> Result<Vec<PathBuf>> {
    let root = root();
    let modules = toolchain.compile(&root, packages)?;
    let mut components = Vec::with_capacity(packages.len());
    for (package, module) in packages.iter().zip(modules) {
        let module = fs::read(&module).with_context(|| format!("cargo left no {}", module.display()))?;
        // Names cost nothing at run time and explain traps, but may hold what differs from clone to clone.
        let module = if *package == EMBEDDED { builder::without_names(&module)? } else { module };
        let bytes = builder::from_module(&module).with_context(|| format!("{package} is no component"))?;
        let path = root.join(format!("target/plugins/{package}.wasm"));
        builder::replace(&path, &bytes).with_context(|| format!("cannot replace {}", shown(&path)))?;
        components.push(path);
    }
    Ok(components)
}

fn described(bytes: &[u8]) -> String {
    match bytes {
        [] => "absent".to_owned(),
        _ => format!("{} bytes, sha256 {:x}", bytes.len(), Sha256::digest(bytes)),
    }
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}
