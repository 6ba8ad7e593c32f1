//! The toolchains: what is installed, where, and how each is called. Called by `languages` only.
//!
//! Versions are pinned in `handfast-policy-builder` and in the SDKs' own manifests, because a policy is as good as the
//! compiler and runtime that are inside it. A toolchain is installed into a folder that carries its version and is marked when
//! complete, so an interrupted installation is begun again and a new version does not disturb the old.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use handfast_policy_builder::{GO, Language, Tool, ZIG};

use crate::plugins;

/// Installs a toolchain, unless it is there, and says how it is run: with the lowest priority, since a compiler must not
/// hold up what else the machine does.
pub(super) fn install(root: &Path, language: Language) -> Result<Tool> {
    let folder = folder(root, language);
    let nice = |program: PathBuf| Tool::new("nice").argument(program);
    let tool = match language {
        Language::Rust => {
            plugins::write_programs(&folder.join("bin"))?;
            nice(folder.join("bin/cargo")).variable("CARGO_TARGET_DIR", folder.join("target"))
        }
        // 438 MB unpacked, 5 s. Its libc is compiled once, 30 s, and kept.
        Language::C => {
            python_environment(&folder, ZIG, &[ZIG])?;
            let zig = nice(folder.join("bin/python")).argument("-m").argument("ziglang").argument("cc");
            let cache = root.join("target/languages/c-cache");
            zig.variable("ZIG_GLOBAL_CACHE_DIR", &cache).variable("ZIG_LOCAL_CACHE_DIR", &cache)
        }
        // 280 MB unpacked, 5 s.
        Language::Go => {
            python_environment(&folder, GO, &[GO])?;
            let cache = root.join("target/languages/go-cache");
            let go = nice(folder.join("bin/go")).variable("GOCACHE", cache);
            go.variable("GOTOOLCHAIN", "local").variable("GOPROXY", "off")
        }
        Language::Python => {
            let sdk = root.join("plugins/sdk/python");
            python_environment(&folder, &digest_of(&sdk)?, &[&sdk.to_string_lossy()])?;
            nice(folder.join("bin/python")).argument("-m").argument("handfast_policy.build")
        }
        Language::Javascript => {
            let sdk = root.join("plugins/sdk/javascript");
            node_environment(&folder, &digest_of(&sdk)?, &sdk)?;
            nice("node".into()).argument(folder.join("node_modules/handfast-policy/build.mjs"))
        }
    };
    Ok(FOREIGN.iter().fold(tool, |tool, variable| tool.without(*variable)))
}

/// Where a toolchain is.
pub(super) fn folder(root: &Path, language: Language) -> PathBuf {
    root.join("target/languages").join(language.name())
}

/// Settings of the machine for its own compilers.
const FOREIGN: &[&str] = &["CFLAGS", "CPPFLAGS", "LDFLAGS", "GOFLAGS", "GOROOT", "GOPATH", "VIRTUAL_ENV"];

/// A virtual environment with these packages.
fn python_environment(folder: &Path, version: &str, packages: &[&str]) -> Result<()> {
    fresh(folder, version, || {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))
            .context("Python's venv is needed: apt-get install -y python3-venv")?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip).context("PyPI does not answer, or does not have this version for this machine")
    })
}

/// A folder with the JavaScript SDK and what it depends on.
fn node_environment(folder: &Path, version: &str, sdk: &Path) -> Result<()> {
    fresh(folder, version, || {
        fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--install-links", "--prefix"]);
        npm.arg(folder).arg(sdk).current_dir(folder);
        run(&mut npm).context("npm is needed, with a registry that answers: apt-get install -y npm")
    })
}

/// Fills a folder anew, unless it is complete and of this version.
fn fresh(folder: &Path, version: &str, fill: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = folder.join("complete");
    if fs::read_to_string(&mark).is_ok_and(|complete| complete == version) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    println!("installing {}", folder.display());
    fill()?;
    fs::write(&mark, version).with_context(|| format!("cannot write {}", mark.display()))
}

/// What changes when a file of the SDK does.
fn digest_of(sdk: &Path) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut files = Vec::new();
    let mut folders = vec![sdk.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            match path.is_dir() {
                // What a new policy begins with, which is not installed, and what installing leaves behind.
                true if path.ends_with("template") || is_left_by_pip(&path) => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    let mut digest = Sha256::new();
    for file in files {
        digest.update(file.as_os_str().as_encoded_bytes());
        digest.update(fs::read(&file)?);
    }
    Ok(format!("{:x}", digest.finalize()))
}

fn is_left_by_pip(folder: &Path) -> bool {
    folder.ends_with("build") || folder.extension().is_some_and(|extension| extension == "egg-info")
}

fn run(command: &mut Command) -> Result<()> {
    let shown = [command.get_program()].into_iter().chain(command.get_args().take(4));
    let shown = shown.collect::<Vec<_>>().join(OsStr::new(" ")).to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown} …` failed, {status}");
    }
    Ok(())
}
