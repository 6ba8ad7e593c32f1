//! `handfast policy`: what the author of a policy needs from an empty folder to a component that does what it should.
//!
//! `new` and `build` run no policy; `inspect`, `test` and `bench` load components exactly as a gateway does: compiled in a
//! child process with bounds, in the same sandbox, under the limits of a `[[policy]]` table. Compiled code is kept in the
//! user's cache folder, since an interpreter takes seconds to compile.

use std::env;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use handfast_plugin_host::{Host, HostSettings};
use handfast_policy_builder::Dialect;

use super::Failure;
use crate::freshness::file::{ReadError, read_alone};
use crate::policy::slot::compiler;

mod answer;
mod bench;
mod build;
mod cases;
mod inspect;
mod new;
mod test;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Make a folder to begin with: a policy that builds, its cases, the SDK, and a page that leads on
    New {
        /// What it is written in
        #[arg(long = "language", value_name = "LANGUAGE", value_parser = dialect())]
        dialect: Dialect,
        /// The folder to make, which has the policy's name
        #[arg(value_name = "NAME")]
        folder: PathBuf,
    },
    /// Compile a policy with the toolchain of its language, and make a component of it
    Build(build::Args),
    /// Show what a component is: interface version, hooks, imports, size, digest
    Inspect {
        /// A WebAssembly component, binary or text
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a policy the cases of a table, under the limits it has in a gateway, and compare its answers
    Test {
        /// A WebAssembly component, binary or text
        file: PathBuf,
        /// What it is shown, and what it is to answer (TOML)
        #[arg(long, value_name = "FILE")]
        cases: PathBuf,
        /// The one case to show; without it, all of them
        #[arg(long, value_name = "NAME")]
        case: Option<String>,
    },
    /// Measure what a policy costs: a call in a fresh and in a reused instance, memory, compiling, loading
    Bench(bench::Args),
}

pub(super) fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::New { dialect, folder } => new::run(dialect, &folder),
        PolicyCommand::Build(args) => build::run(&args),
        PolicyCommand::Inspect { file, json } => inspect::run(&file, json),
        PolicyCommand::Test { file, cases, case } => test::run(&file, &cases, case.as_deref()),
        PolicyCommand::Bench(args) => bench::run(&args),
    }
}

fn dialect() -> impl TypedValueParser<Value = Dialect> {
    let known = Dialect::ALL.iter().map(|dialect| {
        let (word, others) = dialect.words();
        PossibleValue::new(word).aliases(others)
    });
    // Known, so that they are told in their own words what there is for them.
    let near = Dialect::NEAR_C.iter().map(|(word, _)| PossibleValue::new(word).hide(true));
    PossibleValuesParser::new(known.chain(near)).try_map(|name| name.parse::<Dialect>())
}

/// Calls under way at once. Cases and measurements follow one another.
const INSTANCES: u32 = 4;

/// A sandbox as the gateway has one, with compiled code kept in this folder.
fn host(code_cache: Option<PathBuf>) -> Result<Host, Failure> {
    let settings = HostSettings {
        code_cache,
        compiler: Some(compiler()),
        max_instances: INSTANCES,
        ..HostSettings::default()
    };
    Host::new(settings).map_err(Failure::runtime)
}

/// Where compiled code is kept between commands, by the XDG Base Directory Specification. The host uses it only if nobody
/// else can write there.
fn user_cache() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(caches.join("handfast/policies"))
}

/// The bytes of a component, read as a gateway reads them: of a regular file, and no more than it loads.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_alone(path, HostSettings::default().max_component).map_err(|error| match error {
        ReadError::Missing { .. } => Failure::hinted(
            format!("cannot read {}: No such file or directory", path.display()),
            "`handfast policy build` leaves one in the policy's folder",
        ),
        ReadError::NotAFile { .. } if path.is_dir() => folder(path),
        ReadError::TooLarge { size, limit, .. } => Failure::hinted(
            format!("{} has {size} bytes, and a component has at most {limit}", path.display()),
            "no setting raises that: leave debugging information out, or make several policies of it",
        ),
        error => Failure::runtime(error),
    })
}

/// Where a component was to be named.
fn folder(path: &Path) -> Failure {
    let component = path.join("policy.wasm");
    let hint = match component.is_file() {
        true => format!("name the component in it: {}", component.display()),
        false => format!("`handfast policy build {}` makes a component of a policy's folder", path.display()),
    };
    Failure::hinted(format!("{} is a folder, and a component is a file", path.display()), &hint)
}

/// A runtime for calls, which need time and yield to it.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)
}
