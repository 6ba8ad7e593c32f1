//! `handfast policy inspect`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use handfast_plugin_host::{Host, HostError, HostSettings, LoadError};

use crate::policy::slot::compiler;

/// Why a component cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the sandbox for policies does not start")]
    Host(#[from] HostError),
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    #[error("{} is not a policy", path.display())]
    Load { path: PathBuf, source: LoadError },
}

/// Prints what a component is, one fact a line.
pub(super) fn run(path: &Path) -> Result<(), InspectError> {
    let settings = HostSettings { compiler: Some(compiler()), max_instances: 1, ..HostSettings::default() };
    let bytes = read(path, settings.max_component)
        .map_err(|source| InspectError::Read { path: path.to_owned(), source })?;
    let host = Host::new(settings)?;
    let component =
        host.inspect(&bytes).map_err(|source| InspectError::Load { path: path.to_owned(), source })?;
    let hooks = [
        ("select", component.hooks.select),
        ("validate", component.hooks.validate),
        ("admit", component.hooks.admit),
        ("configure", component.hooks.configure),
    ];
    let hooks: Vec<_> = hooks.iter().filter(|(_, exported)| *exported).map(|(hook, _)| *hook).collect();
    let version = component.interface_version.as_deref().unwrap_or("none");
    let mut out = io::stdout().lock();
    let mut line = |name: &str, value: &str| writeln!(out, "{name:<11}{value}").map_err(InspectError::Write);
    line("interface", &format!("handfast:policy {version}"))?;
    line("hooks", &list(&hooks))?;
    line("imports", &list(&component.imports))?;
    line("grants", &list(&component.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>()))?;
    line("size", &format!("{} bytes", component.size))?;
    line("sha-256", &component.digest)?;
    match component.refused {
        None => Ok(()),
        Some(source) => Err(InspectError::Load { path: path.to_owned(), source }),
    }
}

/// One byte more than is loaded, if there is as much: the host says that it is too much.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn list<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}
