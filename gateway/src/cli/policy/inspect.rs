//! `handfast policy inspect`.

use std::collections::BTreeSet;
use std::path::Path;

use handfast_plugin_host::{Inspection, LoadError};
use serde::Serialize;

use super::super::output::{Output, printable, printable_json};
use super::super::{Failure, RUNTIME};
use super::{host, read, user_cache};
use crate::telemetry::error_chain;

/// Prints what a component is, and fails if no gateway would load it.
pub(super) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let bytes = read(path)?;
    let component = host(user_cache())?.inspect(&bytes).map_err(|error| no_policy(path, &error))?;
    let mut out = Output::new();
    match json {
        true => {
            let json = serde_json::to_string_pretty(&Report::of(&component)).map_err(Failure::runtime)?;
            out.line(format_args!("{}", printable_json(&json)))?;
        }
        false => print(&component, &mut out)?,
    }
    out.finish()?;
    component.refused.map_or(Ok(()), |refused| Err(no_policy(path, &refused)))
}

/// One fact a line.
pub(super) fn print(component: &Inspection, out: &mut Output) -> Result<(), Failure> {
    let Report { interface_version, hooks, imports, stubs, grants, size_bytes, sha256, refused: _ } =
        Report::of(component);
    let fact =
        |out: &mut Output, name: &str, value: &str| out.line(format_args!("{name:<11}{}", printable(value)));
    let interface = match interface_version {
        Some(version) => format!("handfast:policy {version}"),
        None if names_ours(component) => "handfast:policy, without a version".to_owned(),
        None => "none".to_owned(),
    };
    fact(out, "interface", &interface)?;
    fact(out, "hooks", &list(&hooks))?;
    fact(out, "imports", &list(&imports))?;
    if !stubs.is_empty() {
        let packages: BTreeSet<_> = stubs.iter().filter_map(|name| name.split('/').next()).collect();
        let packages = packages.into_iter().collect::<Vec<_>>().join(", ");
        fact(out, "stubs", &format!("{packages}: for the runtime, without files, sockets or environment"))?;
    }
    fact(out, "grants", &list(&grants))?;
    fact(out, "size", &format!("{size_bytes} bytes"))?;
    fact(out, "sha-256", sha256)
}

/// What is printed, as JSON has it.
#[derive(Debug, Serialize)]
struct Report<'a> {
    interface_version: Option<&'a str>,
    hooks: Vec<&'a str>,
    /// What the policy asks of the gateway.
    imports: Vec<&'a str>,
    /// What a language's runtime wants of WASI, and the gateway answers by itself.
    stubs: Vec<&'a str>,
    grants: Vec<&'a str>,
    size_bytes: usize,
    sha256: &'a str,
    /// Why this gateway would not load it.
    refused: Option<String>,
}

impl<'a> Report<'a> {
    fn of(component: &'a Inspection) -> Self {
        let hooks = [
            ("select", component.hooks.select),
            ("validate", component.hooks.validate),
            ("admit", component.hooks.admit),
            ("configure", component.hooks.configure),
        ];
        let is_stub = |name: &&str| Inspection::is_stub(name);
        let (stubs, imports) = component.imports.iter().map(String::as_str).partition(is_stub);
        Self {
            interface_version: component.interface_version.as_deref(),
            hooks: hooks.iter().filter(|(_, exported)| *exported).map(|(hook, _)| *hook).collect(),
            imports,
            stubs,
            grants: component.grants.iter().map(|grant| grant.name()).collect(),
            size_bytes: component.size,
            sha256: &component.digest,
            refused: component.refused.as_ref().map(|refused| error_chain(refused)),
        }
    }
}

/// Whether it imports or exports anything of the interface.
fn names_ours(component: &Inspection) -> bool {
    component.imports.iter().chain(&component.exports).any(|name| name.starts_with("handfast:policy/"))
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
