//! `handfast policy inspect`.

use std::path::Path;

use handfast_plugin_host::{Inspection, LoadError};

use super::super::output::{Output, printable};
use super::super::{Failure, RUNTIME};
use super::{host, read, user_cache};
use crate::telemetry::error_chain;

/// Prints what a component is, and fails if no gateway would load it.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let bytes = read(path)?;
    let component = host(user_cache())?.inspect(&bytes).map_err(|error| no_policy(path, &error))?;
    let mut out = Output::new();
    print(&component, &mut out)?;
    out.finish()?;
    component.refused.map_or(Ok(()), |refused| Err(no_policy(path, &refused)))
}

/// One fact a line.
pub(super) fn print(component: &Inspection, out: &mut Output) -> Result<(), Failure> {
    let hooks = [
        ("select", component.hooks.select),
        ("validate", component.hooks.validate),
        ("admit", component.hooks.admit),
        ("configure", component.hooks.configure),
    ];
    let hooks: Vec<_> = hooks.iter().filter(|(_, exported)| *exported).map(|(hook, _)| *hook).collect();
    let version = component.interface_version.as_deref().unwrap_or("none");
    let grants: Vec<_> = component.grants.iter().map(|grant| grant.name()).collect();
    for (name, value) in [
        ("interface", format!("handfast:policy {version}")),
        ("hooks", list(&hooks)),
        ("imports", list(&component.imports)),
        ("grants", list(&grants)),
        ("size", format!("{} bytes", component.size)),
        ("sha-256", component.digest.clone()),
    ] {
        out.line(format_args!("{name:<11}{}", printable(&value)))?;
    }
    Ok(())
}

/// What a file is that is no policy.
pub(super) fn no_policy(path: &Path, error: &LoadError) -> Failure {
    Failure { text: format!("{} is not a policy: {}", path.display(), error_chain(error)), code: RUNTIME }
}

fn list<T: AsRef<str>>(words: &[T]) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}
