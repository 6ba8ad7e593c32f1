//! A policy's folder, and the run of the toolchain that makes a component of it.
//!
//! The commands here are the ones that the pages in `docs/policies` explain. Compilers write into a scratch folder, so
//! what a gateway may be watching is replaced in one step, by the caller and only with what it has looked at.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::component::{self, ComponentError};
use crate::language::Language;
use crate::tool::{self, Lack, Tool};

const TARGET: &str = "wasm32-unknown-unknown";

/// Why a folder is no policy's.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("{} is not a folder", folder.display())]
    NoFolder { folder: PathBuf },
    #[error("{} has no policy: none of {}", folder.display(), entries.join(", "))]
    NoPolicy { folder: PathBuf, entries: Vec<&'static str> },
    #[error("{} may be a policy in {one} or in {other}", folder.display())]
    Several { folder: PathBuf, one: Language, other: Language },
}

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("cannot run `{tool}`")]
    Start { tool: String, source: io::Error },
    #[error("`{tool}` failed ({status}); what it says is above")]
    Failed { tool: String, status: ExitStatus },
    #[error("this Rust has no standard library for {TARGET}")]
    NoTarget { remedy: String },
    #[error("`{tool}` failed ({status}); what it says is above, and for WebAssembly it has {lack}")]
    Lacking { tool: String, status: ExitStatus, lack: Lack, remedy: String },
    #[error("`{tool}` reports success, and {}", missing(*.language))]
    Nothing { tool: String, language: Language },
    #[error("`{tool}` left no module: the package is no cdylib")]
    NoLibrary { tool: String },
    #[error("cannot keep what the compiler leaves in {}", folder.display())]
    Scratch { folder: PathBuf, source: io::Error },
    #[error("what the compiler left becomes no component")]
    Component(#[from] ComponentError),
}

impl BuildError {
    /// What to do, in a line, where that is known.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoTarget { remedy } | Self::Lacking { remedy, .. } => Some(remedy.clone()),
            Self::Nothing { language, .. } => Some(format!(
                "a policy in {language} is built with {}: name that with --tool, or leave the option out",
                tool::program(*language)
            )),
            Self::NoLibrary { .. } => {
                Some("the package needs `crate-type = [\"cdylib\"]` in its `[lib]`".to_owned())
            }
            _ => None,
        }
    }
}

/// What a toolchain was to leave.
fn missing(language: Language) -> &'static str {
    match language {
        Language::Rust => "names no module in the messages that cargo prints with --message-format=json",
        _ => "there is no file where `-o` told it to leave the module",
    }
}

/// What is built, and with what beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub language: Language,
    /// The toolchain runs here.
    pub folder: PathBuf,
    /// The file that the toolchain begins with.
    pub entry: PathBuf,
    /// The SDK, as a copy of `plugins/sdk/<language>`.
    pub sdk: PathBuf,
    /// Where npm has put packages.
    pub modules: PathBuf,
}

impl Project {
    /// What a folder is that was made from a template, or looks like one.
    pub fn find(folder: &Path, language: Option<Language>) -> Result<Self, ProjectError> {
        let at = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let folder = folder.to_owned();
        if !at.is_dir() {
            return Err(ProjectError::NoFolder { folder });
        }
        let wanted: Vec<_> =
            Language::ALL.iter().copied().filter(|it| language.is_none_or(|one| one == *it)).collect();
        let mut found = wanted.iter().filter_map(|language| Some((*language, language.entry(&at)?)));
        let Some((language, entry)) = found.next() else {
            let entries = wanted.iter().flat_map(|language| language.entries()).copied().collect();
            return Err(ProjectError::NoPolicy { folder, entries });
        };
        if let Some((other, _)) = found.next() {
            return Err(ProjectError::Several { folder, one: language, other });
        }
        // A folder of the repository has the SDK above itself, and not within. What is in the SDK is run: so not from, or
        // from beyond, a folder that everybody may write to, as /tmp is.
        let is_closed = |folder: &&Path| {
            fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 == 0)
        };
        let above = at.ancestors().take_while(is_closed);
        let above = above.map(|above| above.join("plugins/sdk").join(language.name()));
        let sdk = Some(at.join("sdk")).into_iter().chain(above).find(|sdk| sdk.is_dir());
        Ok(Self {
            language,
            entry: at.join(entry),
            sdk: sdk.unwrap_or_else(|| at.join("sdk")),
            modules: at.join("node_modules"),
            folder: at,
        })
    }

    /// Runs the toolchain, whose complaints go to standard error, and makes a component of what it leaves.
    pub fn build(&self, tool: &Tool) -> Result<Vec<u8>, BuildError> {
        let scratch = scratch()?;
        let left = match self.language {
            Language::Rust => self.cargo(tool)?,
            language => {
                let left = scratch.path().join("policy.wasm");
                let mut command = tool.command();
                match language {
                    Language::C => self.clang(tool, &mut command)?,
                    Language::Go => self.go(&mut command),
                    Language::Rust | Language::Javascript | Language::Python => self.builder(&mut command),
                }
                run(tool, command.arg("-o").arg(&left), &self.last_argument())
                    .map_err(|error| self.explained(error, tool))?;
                if !left.is_file() {
                    return Err(BuildError::Nothing { tool: tool.shown(), language });
                }
                left
            }
        };
        let bytes = fs::read(&left).map_err(|source| BuildError::Scratch { folder: left.clone(), source })?;
        // The preamble: magic, then version 1 of a core module (WebAssembly core specification, section 5.5.16).
        match bytes.starts_with(b"\0asm\x01\0\0\0") {
            true => Ok(component::from_module(&component::stripped(&bytes)?)?),
            false => Ok(bytes),
        }
    }

    /// As `docs/policies/c.md` says: what is in the SDK and in the folder, together.
    fn clang(&self, tool: &Tool, command: &mut Command) -> Result<(), BuildError> {
        let in_folder = |folder: &Path| -> io::Result<Vec<PathBuf>> {
            let files =
                fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?.into_iter().map(|it| it.path());
            let mut files: Vec<_> =
                files.filter(|path| path.extension().is_some_and(|it| it == "c")).collect();
            files.sort();
            Ok(files)
        };
        let mut flags = std::ffi::OsString::from("@");
        flags.push(self.sdk.join("flags"));
        command.current_dir(&self.folder).arg(flags).args(tool.target()).arg("-I").arg(&self.sdk);
        for folder in [self.sdk.as_path(), self.entry.parent().unwrap_or(&self.folder)] {
            let files = in_folder(folder)
                .map_err(|source| BuildError::Scratch { folder: folder.to_owned(), source })?;
            command.args(files);
        }
        Ok(())
    }

    /// The same error, with what a compiler for C does not have, if it is that.
    fn explained(&self, error: BuildError, tool: &Tool) -> BuildError {
        match error {
            BuildError::Failed { tool: shown, status } => match tool.lack() {
                Some(lack) => {
                    let remedy = tool::remedy_for_c(&self.folder);
                    BuildError::Lacking { tool: shown, status, lack, remedy }
                }
                None => BuildError::Failed { tool: shown, status },
            },
            error => error,
        }
    }

    /// As `docs/policies/go.md` says. The names of functions stay, which traps are explained with: 2 % of the size (87 KB
    /// of the template's 4.5 MB), and never mapped.
    fn go(&self, command: &mut Command) {
        command.current_dir(&self.folder).envs([("GOOS", "wasip1"), ("GOARCH", "wasm")]);
        command.args(["build", "-buildmode=c-shared", "-ldflags=-w", "-trimpath"]);
    }

    /// The SDK's own builder, of JavaScript and of Python.
    fn builder(&self, command: &mut Command) {
        command.current_dir(&self.folder).arg("build").arg(&self.entry);
        // Where the SDK and its packages are found by a source that lies elsewhere.
        command
            .env("NODE_PATH", &self.modules)
            .env("PYTHONPATH", &self.sdk)
            .env("PYTHONDONTWRITEBYTECODE", "1");
    }

    /// What comes after the name of the output.
    fn last_argument(&self) -> Option<&'static str> {
        (self.language == Language::Go).then_some(".")
    }

    /// As `docs/policies/rust.md` says; cargo tells where it has put the module.
    fn cargo(&self, tool: &Tool) -> Result<PathBuf, BuildError> {
        // Before anything is compiled: what runs on this machine comes first, for half a minute.
        if has_target(tool, &self.folder) == Some(false) && !builds_std(tool, &self.folder) {
            let rustup = format!("rustup target add {TARGET}");
            let remedy = match tool::has_rustup(self) {
                true => rustup,
                false => format!("with rustup (https://rustup.rs): {rustup}; or {}", tool::DEBIAN_RUST),
            };
            return Err(BuildError::NoTarget { remedy });
        }
        let mut command = tool.command();
        command.current_dir(&self.folder).args(["build", "--release", "--target", TARGET]);
        command.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().map_err(|source| BuildError::Start { tool: tool.shown(), source })?;
        if !output.status.success() {
            return Err(BuildError::Failed { tool: tool.shown(), status: output.status });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let own: Vec<_> = text.lines().filter_map(|line| artifact_of(line, &self.entry)).collect();
        match own.iter().rev().find_map(module_of) {
            Some(module) => Ok(module),
            None if own.is_empty() => {
                Err(BuildError::Nothing { tool: tool.shown(), language: self.language })
            }
            None => Err(BuildError::NoLibrary { tool: tool.shown() }),
        }
    }
}

/// A message of cargo about an artifact, if it is the package's own.
fn artifact_of(message: &str, manifest: &Path) -> Option<serde_json::Value> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_own = message.get("reason")?.as_str()? == "compiler-artifact"
        && Path::new(message.get("manifest_path")?.as_str()?) == manifest.canonicalize().ok()?;
    is_own.then_some(message)
}

/// The module that an artifact is.
fn module_of(artifact: &serde_json::Value) -> Option<PathBuf> {
    let files = artifact.get("filenames")?.as_array()?;
    files
        .iter()
        .filter_map(serde_json::Value::as_str)
        .map(PathBuf::from)
        .find(|file| file.extension().is_some_and(|it| it == "wasm"))
}

/// Whether a `rustc` that cargo may run has the target: the one that it is told to, or finds, and the one beside it, since
/// a cargo that is a script may set all that anew. `None`: there is none to ask.
fn has_target(tool: &Tool, folder: &Path) -> Option<bool> {
    let told = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let beside = Path::new(tool.program()).with_file_name("rustc");
    let answers = [PathBuf::from(told), beside].into_iter().filter_map(|rustc| {
        let mut rustc = Command::new(rustc);
        rustc.current_dir(folder).args(["--print", "target-libdir", "--target", TARGET]);
        let output = rustc.output().ok().filter(|output| output.status.success())?;
        Some(Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
    });
    answers.reduce(|one, other| one || other)
}

/// Whether cargo compiles the standard library along, which its configuration, its environment or a script around it may
/// ask for. Where it does not know that option, it has no such thing.
fn builds_std(tool: &Tool, folder: &Path) -> bool {
    let mut cargo = tool.command();
    cargo.current_dir(folder).args(["-Zunstable-options", "config", "get", "unstable.build-std"]);
    let status = cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn run(tool: &Tool, command: &mut Command, last: &Option<&'static str>) -> Result<(), BuildError> {
    let status = command
        .args(last)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|source| BuildError::Start { tool: tool.shown(), source })?;
    match status.success() {
        true => Ok(()),
        false => Err(BuildError::Failed { tool: tool.shown(), status }),
    }
}

/// Where a compiler leaves what it makes. Removed when dropped. Its name is nobody else's: process ids repeat, in containers
/// above all.
fn scratch() -> Result<TempDir, BuildError> {
    let made = tempfile::Builder::new().prefix("handfast-build-").tempdir();
    made.map_err(|source| BuildError::Scratch { folder: std::env::temp_dir(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_the_package_itself_is_found_among_what_cargo_says() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let line = |manifest: &Path, file: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"manifest_path\":{manifest:?},\"filenames\":[{file:?}]}}"
            )
        };
        let module = |line: &str| artifact_of(line, &manifest).as_ref().and_then(module_of);
        assert_eq!(module(&line(&manifest, "/t/my_policy.wasm")), Some("/t/my_policy.wasm".into()));
        assert_eq!(module(&line(Path::new("/other/Cargo.toml"), "/t/other.wasm")), None);
        let library = line(&manifest, "/t/libmy_policy.rlib");
        assert!(artifact_of(&library, &manifest).is_some() && module(&library).is_none());
        assert_eq!(module("warning: not JSON"), None);
    }

    /// Once, whoever put `plugins/sdk/python` into /tmp had it run by those who built a policy there.
    #[test]
    fn an_sdk_is_not_taken_from_a_folder_that_everybody_may_write_to() {
        let scratch = scratch().unwrap();
        let (shared, mine) = (scratch.path(), scratch.path().join("mine"));
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("policy.py"), "").unwrap();
        let above = shared.join("plugins/sdk/python");
        fs::create_dir_all(&above).unwrap();
        for (mode, sdk) in [(0o755, &above), (0o1777, &mine.join("sdk"))] {
            fs::set_permissions(shared, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Project::find(&mine, None).unwrap().sdk, *sdk, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_is_known_by_its_files() {
        let scratch = scratch().unwrap();
        let folder = scratch.path();
        assert!(matches!(Project::find(folder, None), Err(ProjectError::NoPolicy { .. })));
        fs::write(folder.join("policy.js"), "").unwrap();
        assert_eq!(Project::find(folder, None).unwrap().language, Language::Javascript);
        fs::write(folder.join("policy.py"), "").unwrap();
        assert!(matches!(Project::find(folder, None), Err(ProjectError::Several { .. })));
        assert_eq!(Project::find(folder, Some(Language::Python)).unwrap().entry, folder.join("policy.py"));
        assert!(matches!(Project::find(&folder.join("policy.js"), None), Err(ProjectError::NoFolder { .. })));
    }
}
