//! Imports of the gateway point downward only. The table below is the architecture; a module that is not in it has no
//! place yet, and the test says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use handfast_tests::repository;

/// From the bottom up. A module may use its own layer and those below.
const LAYERS: &[&[&str]] = &[
    &["metrics", "drain", "freshness", "generation", "transport"],
    &["config", "telemetry", "certificate", "trust", "route", "upstream", "policy"],
    &["snapshot"],
    &["listener", "tls", "http"],
    &["connection", "request_log"],
    &["reload", "admin"],
    &["server", "demo", "cli", "main", "lib"],
];

/// The stages of a connection, which know nothing of each other: `connection` joins them.
const STAGES: &[&str] = &["listener", "tls", "http"];

#[test]
fn imports_point_downward() {
    let source = repository().join("gateway/src");
    let mut offences = Vec::new();
    for file in rust_files(&source) {
        let own = module_of(&source, &file);
        let text = fs::read_to_string(&file).expect("a source file is read");
        let text = without_comments_and_strings(&text);
        let depth =
            file.strip_prefix(&source).expect("the file lies in the source folder").components().count();
        for used in imported_modules(&text).into_iter().chain(climbed_to(&text, depth)) {
            if let Some(offence) = judge(&own, &used) {
                offences.push(format!("{}: {offence}", file.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn only_the_plugin_host_names_wasmtime() {
    for manifest in [
        "gateway/Cargo.toml",
        "gateway/wire/Cargo.toml",
        "gateway/policy-builder/Cargo.toml",
        "tests/Cargo.toml",
        "tests/conformance/Cargo.toml",
        "xtask/Cargo.toml",
        "xtask/load/Cargo.toml",
    ] {
        let text = fs::read_to_string(repository().join(manifest)).expect("a manifest is read");
        assert!(!text.lines().any(|line| line.starts_with("wasmtime")), "{manifest}");
    }
}

#[test]
fn an_upward_import_is_an_offence_and_a_downward_one_is_not() {
    let imports = |text: &str| imported_modules(&without_comments_and_strings(text));
    let text = "use crate::{config::Config, tls::{self, alert}};\n// crate::server\nlet s = \"crate::cli\";\ncrate::metrics::count();";
    assert_eq!(imports(text), ["config", "metrics", "tls"].map(str::to_owned).into());
    assert_eq!(
        imports("pub(crate) use crate::http;\nuse handfast::cli;"),
        ["cli", "http"].map(str::to_owned).into()
    );
    let climbing = "use super::http;\nuse super::alert;\nuse super::super::route;";
    assert_eq!(climbed_to(climbing, 1), ["http"].map(str::to_owned).into());
    assert_eq!(climbed_to(climbing, 2), ["route"].map(str::to_owned).into());
    assert!(judge("config", "server").is_some());
    assert!(judge("server", "config").is_none());
    assert!(judge("policy", "certificate").is_none());
    assert!(judge("tls", "http").is_some_and(|offence| offence.contains("stages")));
    assert!(judge("tls", "tls").is_none());
    assert!(judge("surprise", "config").is_some_and(|offence| offence.contains("no layer")));
}

fn judge(own: &str, used: &str) -> Option<String> {
    if own == used {
        return None;
    }
    let layer = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    match (layer(own), layer(used)) {
        (None, _) => Some(format!("`{own}` has no layer: give it one in tests/behaviour/layering.rs")),
        (_, None) => Some(format!("`{used}` has no layer: give it one in tests/behaviour/layering.rs")),
        (Some(_), Some(_)) if STAGES.contains(&own) && STAGES.contains(&used) => {
            Some(format!("`{own}` uses `{used}`: the stages know nothing of each other"))
        }
        (Some(from), Some(to)) if to > from => {
            Some(format!("`{own}` (layer {from}) uses `{used}` (layer {to})"))
        }
        _ => None,
    }
}

/// The top-level module that a file belongs to: `tls` for `tls.rs` and `tls/alert.rs`.
fn module_of(source: &Path, file: &Path) -> String {
    let inner = file.strip_prefix(source).expect("the file lies in the source folder");
    let first = inner.components().next().expect("a relative path has a component");
    Path::new(first.as_os_str()).with_extension("").to_string_lossy().into_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("a folder is read").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| rust_files(folder))).collect()
}

/// The modules that follow `crate::`, and `handfast::` in the binary, singly or in braces. An item of the crate's root
/// would show up as a module without a layer; there are to be none.
fn imported_modules(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for root in ["crate::", "handfast::"] {
        for (start, _) in text.match_indices(root) {
            if text[..start]
                .chars()
                .next_back()
                .is_some_and(|before| before.is_alphanumeric() || before == '_')
            {
                continue;
            }
            let rest = text[start + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => modules.extend(first_names(group)),
                None => modules.extend(name_at_start(rest)),
            }
        }
    }
    modules
}

/// The modules of the crate's root that a file so deep below it reaches by `super::`. Other names that follow it are those
/// of its own submodules, which `mod tests` reaches so too.
fn climbed_to(text: &str, depth: usize) -> BTreeSet<String> {
    let root = "super::".repeat(depth);
    let below = |start: usize| text[..start].ends_with(':');
    let climbs = text.match_indices(&root).filter(|(start, _)| !below(*start));
    let names = climbs.filter_map(|(start, _)| name_at_start(&text[start + root.len()..]));
    names.filter(|name| LAYERS.concat().contains(&name.as_str())).collect()
}

/// The first name of each path in a brace group, up to its closing brace.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut expecting) = (0, Vec::new(), true);
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            _ if expecting && !character.is_whitespace() => {
                names.extend(name_at_start(&group[index..]));
                expecting = false;
            }
            _ => {}
        }
    }
    names
}

fn name_at_start(text: &str) -> Option<String> {
    let end =
        text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Comments and the insides of string literals removed: documentation may speak of what code may not use.
fn without_comments_and_strings(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(character) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else if character == '"' {
            end_of_string(rest)
        } else {
            0
        };
        if skipped == 0 {
            kept.push(character);
            rest = &rest[character.len_utf8()..];
        } else {
            rest = &rest[skipped..];
        }
    }
    kept
}

/// Bytes of a string literal, both quotes included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return index + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}
