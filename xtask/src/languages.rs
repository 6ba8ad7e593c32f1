//! `cargo xtask languages`: the example and the conformance policy of every language but Rust, from source to components.
//!
//! Called by `cargo xtask languages` and by `cargo xtask test`, whose tests load what it leaves in `target/policies`. The
//! toolchains come from PyPI and npm, with pinned versions, and lie under `target/languages`: nothing is installed on the
//! machine, `cargo clean` takes them away again. What the machine must have is Python 3.10 with `venv` and Node 18 with
//! npm; what is missing is said in one line, with the package to install.
//!
//! What is newer than its source is not built again. A policy is built by the code behind `handfast policy build`, so that
//! what the tests load is what authors get. The guests in Rust are `plugins`' work; here the template in Rust is built, which
//! leaves its dependencies compiled for the tests that build it again.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};
use handfast_policy_builder::{self as builder, Dialect, Language, Project, Tool};

use crate::root;

mod toolchain;

/// A policy's source, and what it becomes.
struct Source {
    project: Project,
    /// The file name of its component, without extension.
    component: String,
}

/// Builds the policies of these languages, or of all.
pub(crate) fn build(languages: &[Language]) -> Result<()> {
    let is_wanted = |language: &&Language| languages.is_empty() || languages.contains(language);
    for language in Language::ALL.iter().filter(is_wanted) {
        let tool = toolchain::install(&root(), *language).with_context(|| {
            format!("policies in {language} cannot be built: its toolchain cannot be had")
        })?;
        for source in sources(*language)? {
            source
                .build(&tool)
                .with_context(|| format!("{} cannot be built", source.project.entry.display()))?;
        }
    }
    Ok(())
}

/// Builds one of the policies of the benchmarks, `xtask/policies`, and says where it lies.
pub(crate) fn build_for_bench(language: Language, stem: &str) -> Result<PathBuf> {
    let tool = toolchain::install(&root(), language)
        .with_context(|| format!("policies in {language} cannot be built: its toolchain cannot be had"))?;
    let name = language.name();
    let source =
        source(language, &format!("xtask/policies/{stem}/{name}"), stem, format!("bench-{stem}-{name}"));
    source.build(&tool).with_context(|| format!("{} cannot be built", source.project.entry.display()))?;
    Ok(source.path())
}

fn sources(language: Language) -> Result<Vec<Source>> {
    let example = match language {
        Language::Rust => {
            return Ok(vec![Source { project: template()?, component: "template-rust".to_owned() }]);
        }
        Language::C => "refuse-ja4",
        Language::Javascript => "tenants",
        Language::Python => "client-headers",
        Language::Go => "hygiene",
    };
    let name = language.name();
    let mut sources = vec![
        source(language, &format!("examples/policies/{name}"), example, example.to_owned()),
        source(language, &format!("tests/conformance/{name}"), "policy", format!("conformance-{name}")),
    ];
    if matches!(language, Language::Javascript | Language::Python) {
        // Where a world with `wasi:http` is made by the SDK.
        let folder = format!("examples/policies/outgoing-http/{name}");
        sources.push(source(language, &folder, "policy", format!("outgoing-http-{name}")));
    }
    if language == Language::C {
        // Of the policies in `plugins`, the one that is not in Rust.
        sources.push(source(language, "plugins/allow-list", "policy", "allow-list".to_owned()));
    }
    Ok(sources)
}

/// The policy of this name in a folder of the repository.
fn source(language: Language, folder: &str, stem: &str, component: String) -> Source {
    let entry = match language {
        Language::Rust => "Cargo.toml".to_owned(),
        Language::C => format!("{stem}.c"),
        Language::Javascript => format!("{stem}.ts"),
        Language::Python => format!("{}.py", stem.replace('-', "_")),
        Language::Go => "main.go".to_owned(),
    };
    let folder = root().join(folder);
    let project = Project {
        language,
        entry: folder.join(entry),
        folder,
        sdk: root().join("plugins/sdk").join(language.name()),
        modules: toolchain::folder(&root(), language).join("node_modules"),
    };
    Source { project, component }
}

/// The folder that `handfast policy new --language rust` makes, made anew.
fn template() -> Result<Project> {
    let folder = toolchain::folder(&root(), Language::Rust).join("template");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    builder::create(Dialect::Rust, &folder)?;
    Ok(Project::find(&folder, None)?)
}

impl Source {
    fn path(&self) -> PathBuf {
        root().join(format!("target/policies/{}.wasm", self.component))
    }

    fn build(&self, tool: &Tool) -> Result<()> {
        let begun = Instant::now();
        let component = self.path();
        if self.is_built(&component)? {
            println!("{}: up to date", shown(&component));
            return Ok(());
        }
        let bytes = self.project.build(tool)?;
        builder::replace(&component, &bytes)
            .with_context(|| format!("cannot replace {}", component.display()))?;
        println!("{}: {} bytes, {:.1} s", shown(&component), bytes.len(), begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Whether the component is newer than all it is made of: source, SDK, and this program, which builds it and in which
    /// the toolchains' versions are. The template in Rust is always built, for what that leaves behind.
    fn is_built(&self, component: &Path) -> Result<bool> {
        let Ok(built) = fs::metadata(component).and_then(|metadata| metadata.modified()) else {
            return Ok(false);
        };
        let builder = env::current_exe().context("this program does not know where it is")?;
        Ok(self.project.language != Language::Rust
            && !any_changed_since(built, &[&self.project.folder, &self.project.sdk, &builder])?)
    }
}

/// Whether one of these, or what lies below them, was changed after `then`. Folders count too, whose files come and go.
fn any_changed_since(then: SystemTime, paths: &[&Path]) -> Result<bool> {
    let mut paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    while let Some(path) = paths.pop() {
        let looked = || format!("cannot look at {}", path.display());
        let metadata = fs::metadata(&path).with_context(looked)?;
        if metadata.modified().with_context(looked)? > then {
            return Ok(true);
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).with_context(looked)? {
                paths.push(entry.with_context(looked)?.path());
            }
        }
    }
    Ok(false)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).map_or_else(|_| path.to_owned(), PathBuf::from).display().to_string()
}
