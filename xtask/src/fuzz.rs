//! `cargo xtask fuzz`: runs the fuzz targets of `gateway/wire` for a while.
//!
//! With cargo-fuzz this would need a nightly compiler and the installation of a tool. What cargo-fuzz adds to a build
//! is a handful of flags, and those that count coverage are stable: `-Cpasses` and `-Cllvm-args`. Only the address
//! sanitizer is not, and in a crate that forbids `unsafe` it would find nothing that a panic does not show. So this
//! builds libFuzzer (C++, from the `libfuzzer-sys` crate) and the targets with the toolchain at hand, in a target
//! directory of its own since the flags differ from every other build's.
//!
//! By hand, the same is:
//!
//! ```sh
//! RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
//!   -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
//!   -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing" \
//!   cargo build --release --locked --manifest-path gateway/wire/fuzz/Cargo.toml \
//!   --target x86_64-unknown-linux-gnu --target-dir target/fuzz
//! target/fuzz/x86_64-unknown-linux-gnu/release/client_hello -max_total_time=10
//! ```

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
};

use anyhow::{Context, Result, bail, ensure};

const TARGETS: [&str; 2] = ["client_hello", "proxy_header"];

const RUSTFLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Fuzzes all targets at once, each for this long, from the committed seeds and what earlier runs have found.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    let fuzz = root.join("gateway/wire/fuzz");
    let output = root.join("target/fuzz");
    let binaries = build(&fuzz, &output)?;

    let mut running = Vec::new();
    for target in TARGETS {
        running.push(Run::start(target, seconds, &fuzz, &output, &binaries)?);
    }
    // All are waited for before the first failure is reported, so that none is left running.
    let outcomes: Vec<Result<()>> = running.into_iter().map(Run::finish).collect();
    outcomes.into_iter().collect()
}

/// Builds the targets and returns the directory they are in.
fn build(fuzz: &Path, output: &Path) -> Result<PathBuf> {
    let host = host_triple()?;
    // With `--target`, even where it is the host, the flags leave build scripts and procedural macros alone.
    let status = Command::new(cargo())
        .args(["build", "--quiet", "--release", "--locked", "--target", &host])
        .arg("--manifest-path")
        .arg(fuzz.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(output)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the fuzz targets do not build; libFuzzer needs a C++ compiler (Debian: g++)");
    Ok(output.join(host).join("release"))
}

fn host_triple() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV")?;
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// One target at work.
struct Run {
    target: &'static str,
    process: Child,
    log: PathBuf,
    artifacts: PathBuf,
}

impl Run {
    fn start(
        target: &'static str,
        seconds: u64,
        fuzz: &Path,
        output: &Path,
        binaries: &Path,
    ) -> Result<Self> {
        let corpus = output.join("corpus").join(target);
        let artifacts = output.join("artifacts").join(target);
        fs::create_dir_all(&artifacts)?;
        unpack_seeds(&fuzz.join("seeds").join(target), &corpus)?;

        let log = output.join(format!("{target}.log"));
        let process = Command::new(binaries.join(target))
            .arg(format!("-max_total_time={seconds}"))
            // Twice the size of a hello with post-quantum key shares. The bounds far beyond have tests of their own.
            .args(["-max_len=4096", "-timeout=5", "-rss_limit_mb=1024"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot run the fuzz target {target}"))?;
        Ok(Self { target, process, log, artifacts })
    }

    fn finish(mut self) -> Result<()> {
        let status: ExitStatus = self.process.wait()?;
        let log = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        let summary = log.lines().rev().find(|line| line.starts_with("Done ")).unwrap_or_default();
        if !status.success() || summary.is_empty() {
            eprintln!("{log}");
            bail!(
                "the fuzz target {} failed ({status}). The input is in {}; run the binary that the log names with \
                 that file as its argument to repeat it, and keep it as a test once it is understood",
                self.target,
                self.artifacts.display(),
            );
        }
        println!("fuzz {}: {}", self.target, summary);
        Ok(())
    }
}

/// Seeds are committed as hexadecimal text, which a reviewer can read; libFuzzer wants bytes.
fn unpack_seeds(seeds: &Path, corpus: &Path) -> Result<()> {
    fs::create_dir_all(corpus)?;
    for entry in fs::read_dir(seeds).with_context(|| format!("cannot list {}", seeds.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let bytes = decode(&text).with_context(|| format!("{} is not hexadecimal", path.display()))?;
        let name = path.file_stem().context("a seed has a name")?;
        fs::write(corpus.join(name), bytes)?;
    }
    Ok(())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}
