//! What the page shows and names of policies that are there: a whole one, and for a hook or an import those that use it.
//!
//! Nothing is written for the page: what it shows is a template of `handfast policy new`, which tests build and run, and
//! what it names are files of the repository. One that is not there is an error.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The shortest of the templates.
const WHOLE: &str = "plugins/sdk/python/template/policy.py";

/// Hooks and imports, and policies that use them: what they do, and where they are.
const USES: &[(&str, &[(&str, &str)])] = &[
    (
        "select",
        &[
            ("a canary in Rust", "examples/policies/rust/src/lib.rs"),
            ("clients by JA4 in C", "examples/policies/c/refuse-ja4.c"),
            ("tenants in TypeScript", "examples/policies/javascript/tenants.ts"),
        ],
    ),
    (
        "validate",
        &[
            ("SPIFFE ids in Python", "examples/policies/python/client_headers.py"),
            ("rules on client certificates in Rust", "plugins/client-certificate/src/lib.rs"),
        ],
    ),
    (
        "admit",
        &[
            ("days left and issuers in Go", "examples/policies/go/main.go"),
            ("hygiene in Rust", "plugins/hygiene/src/lib.rs"),
        ],
    ),
    ("certificates", &[("tenants in TypeScript", "examples/policies/javascript/tenants.ts")]),
    ("key-value", &[("rate limits in Rust", "plugins/rate-limit/src/lib.rs")]),
];

/// A section with a whole policy.
pub(super) fn whole(root: &Path) -> Result<String> {
    let source = fs::read_to_string(root.join(WHOLE)).with_context(|| format!("cannot read {WHOLE}"))?;
    for (_, path) in USES.iter().flat_map(|(_, uses)| *uses) {
        ensure!(root.join(path).is_file(), "there is no {path}, which the page is to name");
    }
    Ok(format!(
        "## A whole policy\n\n\
         With two hooks, `configure` and `select`, and one import, `log`: [what `handfast policy new --language python` begins \
         with](../../{WHOLE}).\nThe SDKs write names as their language does; the pages on [Rust](rust.md), [C](c.md), \
         [Go](go.md), [TypeScript](javascript.md)\nand [Python](python.md) have the same policy.\n\n\
         ```python\n{}\n```\n\n",
        source.trim_end()
    ))
}

/// A line that names policies with this hook or import.
pub(super) fn uses(name: &str) -> Option<String> {
    let (_, uses) = USES.iter().find(|(used, _)| *used == name)?;
    let links: Vec<_> = uses.iter().map(|(what, path)| format!("[{what}](../../{path})")).collect();
    Some(format!("Examples: {}.\n\n", links.join(", ")))
}
