//! `cargo xtask interface`: the reference of the policy interface, `docs/policies/interface.md`, from `wit/v1`.
//!
//! What a hook is given and may answer is said once, in the comments of the WIT, where bindings carry it to authors. The
//! page is the same text for people who read before they write: [`described`] finds what there is, [`page`] lays it out,
//! [`prose`] makes Markdown of comments, [`signature`] writes types, [`example`] names policies that are there. It is committed, since it is read where nothing runs;
//! a test here, and so `cargo xtask test`, fails when it is not what the WIT says, or something in the WIT has no comment.
//!
//! `wit-bindgen markdown` was not taken: it knows neither what a grant is nor which interface is a hook, and is one more
//! program to install.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use wit_parser::{PackageId, Resolve};

use crate::root;

mod described;
mod example;
mod page;
mod prose;
mod signature;

const SOURCE: &str = "wit/v1";
const PAGE: &str = "docs/policies/interface.md";

/// Writes the page; with `check` it is compared instead.
pub(crate) fn run(check: bool) -> Result<()> {
    let page = page()?;
    let path = root().join(PAGE);
    let before = fs::read_to_string(&path).unwrap_or_default();
    if before == page {
        println!("{PAGE}: up to date");
        return Ok(());
    }
    if check {
        bail!("{PAGE} is not what {SOURCE} says\nrun `cargo xtask interface` and commit the page");
    }
    fs::write(&path, page).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{PAGE}: written from {SOURCE}");
    Ok(())
}

fn page() -> Result<String> {
    let (resolve, package) = parse(&root().join(SOURCE))?;
    let uncommented = described::uncommented(&resolve, package)?;
    ensure!(uncommented.is_empty(), "{SOURCE} has no comment on {}", uncommented.join(", "));
    page::write(&resolve, package, &example::whole(&root())?)
}

fn parse(folder: &Path) -> Result<(Resolve, PackageId)> {
    let mut resolve = Resolve::default();
    let (package, _) =
        resolve.push_dir(folder).with_context(|| format!("{} does not parse", folder.display()))?;
    Ok((resolve, package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_says_what_the_interface_says() {
        let committed = fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(committed == page().unwrap(), "`cargo xtask interface` writes {PAGE} anew");
    }

    #[test]
    fn what_has_no_comment_is_named() {
        let mut resolve = Resolve::default();
        let text = "package a:b@1.0.0;
            /// An import.
            interface log {
                enum level { /// Low.
                    low, high }
                /// Writes.
                write: func(level: level);
            }
            interface select { /// Selects.
                select: func(); }
            world imports { import log; }
            world policy { include imports; export select; }";
        let package = resolve.push_str("a.wit", text).unwrap();
        let missing = described::uncommented(&resolve, package).unwrap();
        assert_eq!(
            missing,
            ["the package", "select", "log.level", "log.level.high", "world imports", "world policy"]
        );
    }

    #[test]
    fn an_interface_that_no_policy_can_have_is_an_error() {
        let mut resolve = Resolve::default();
        let text = "package a:b@1.0.0; interface lost {} world imports {} world policy {}";
        let package = resolve.push_str("a.wit", text).unwrap();
        assert!(page::write(&resolve, package, "").unwrap_err().to_string().contains("`lost`"));
    }
}
