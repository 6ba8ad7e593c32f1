//! `cargo xtask languages`: the example and the conformance policy of every language but Rust, from source to components.
//!
//! Called by `cargo xtask languages` and by `cargo xtask test`, whose tests load what it leaves in `target/policies`. The
//! toolchains come from PyPI and npm, with pinned versions, and lie under `target/languages`: nothing is installed on the
//! machine, `cargo clean` takes them away again. What the machine must have is Python 3.10 with `venv` and Node 18 with
//! npm; what is missing is said in one line, with the package to install.
//!
//! A language is built the way its tutorial in `docs/policies` says, with the same tools and options, so that what the
//! tests load is what authors get.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::root;

mod component;
mod toolchain;

/// What policies can be written in, besides Rust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    C,
    Javascript,
    Python,
    Go,
}

/// A policy's source, and what it becomes.
struct Source {
    language: Language,
    /// The folder of the policy, in the repository.
    folder: String,
    /// The file without extension, and the component's name.
    name: &'static str,
}

/// Builds the policies of these languages, or of all.
pub(crate) fn build(languages: &[Language]) -> Result<()> {
    let all = Language::value_variants();
    let wanted = if languages.is_empty() { all } else { languages };
    for language in all.iter().filter(|language| wanted.contains(language)) {
        let name = language.name();
        toolchain::install(&root(), *language)
            .with_context(|| format!("policies in {name} cannot be built: its toolchain cannot be had"))?;
        for source in language.sources() {
            let begun = Instant::now();
            let component = root().join(format!("target/policies/{}.wasm", source.component()));
            source
                .build(&component)
                .with_context(|| format!("{} cannot be built", source.path().display()))?;
            let size = fs::metadata(&component)?.len();
            println!(
                "{}: {size} bytes, {:.1} s",
                component.strip_prefix(root()).unwrap_or(&component).display(),
                begun.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}

/// Makes a component of a core module.
pub(crate) fn componentize(module: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let bytes = component::from_module(&bytes)
        .with_context(|| format!("{} becomes no component", module.display()))?;
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

impl Language {
    /// As folders and files are called.
    fn name(self) -> &'static str {
        match self {
            Self::C => "c",
            Self::Javascript => "javascript",
            Self::Python => "python",
            Self::Go => "go",
        }
    }

    fn sources(self) -> [Source; 2] {
        let language = self.name();
        let example = match self {
            Self::C => "refuse-ja4",
            Self::Javascript => "tenants",
            Self::Python => "client-headers",
            Self::Go => "hygiene",
        };
        [
            (format!("examples/policies/{language}"), example),
            (format!("tests/conformance/{language}"), "policy"),
        ]
        .map(|(folder, name)| Source { language: self, folder, name })
    }
}

impl Source {
    /// The name of its component: the example's own, or `conformance-<language>`.
    fn component(&self) -> String {
        match self.folder.strip_prefix("tests/conformance/") {
            Some(language) => format!("conformance-{language}"),
            None => self.name.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        let file = match self.language {
            Language::C => format!("{}.c", self.name),
            Language::Javascript => format!("{}.ts", self.name),
            Language::Python => format!("{}.py", self.name.replace('-', "_")),
            Language::Go => "main.go".to_owned(),
        };
        root().join(&self.folder).join(file)
    }

    /// By a rename in the end, as the SDKs' own builders do: a gateway may be watching the component.
    fn build(&self, component: &Path) -> Result<()> {
        let root = root();
        let folder = component.parent().context("a component lies in a folder")?;
        fs::create_dir_all(folder)?;
        let module = component.with_extension("core");
        match self.language {
            Language::Javascript => return toolchain::build_javascript(&root, &self.path(), component),
            Language::Python => return toolchain::build_python(&root, &self.path(), component),
            Language::C => toolchain::compile_c(&root, &self.path(), &module)?,
            Language::Go => toolchain::compile_go(&root, &root.join(&self.folder), &module)?,
        }
        let new = component.with_extension(format!("{}.new", std::process::id()));
        componentize(&module, &new)?;
        fs::remove_file(&module).with_context(|| format!("cannot remove {}", module.display()))?;
        fs::rename(&new, component).with_context(|| format!("cannot replace {}", component.display()))
    }
}
