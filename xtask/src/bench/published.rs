//! The tables of docs/performance.md, from the results in docs/performance.
//!
//! A table stands between `<!-- figure FILE NAME -->` and `<!-- end -->`, and what is there is replaced by what the file says of
//! the figure. A test fails when they differ, so no figure is in the page that the rig did not print.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::report::Document;
use crate::root;

const PAGE: &str = "docs/performance.md";
const RESULTS: &str = "docs/performance";

const BEGIN: &str = "<!-- figure ";
const END: &str = "<!-- end -->";

/// Fills the page anew.
pub(super) fn update() -> Result<()> {
    let path = root().join(PAGE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let filled = filled(&text)?;
    if filled != text {
        fs::write(&path, filled).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}

/// Every table of a file of results.
pub(super) fn tables(path: &Path) -> Result<String> {
    let document = document(path)?;
    let machine = &document.machine;
    let mut text = format!(
        "{} cores of {}, {}, {}; commit {}; load {} before\n",
        machine.cores, machine.cpu, machine.kernel, machine.system, machine.commit, machine.load_average
    );
    for figure in &document.figures {
        text.push('\n');
        text.push_str(&figure.table()?);
    }
    Ok(text)
}

fn document(path: &Path) -> Result<Document> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no file of results", path.display()))
}

fn filled(page: &str) -> Result<String> {
    let mut documents: BTreeMap<String, Document> = BTreeMap::new();
    let (mut text, mut skipping) = (String::new(), false);
    for line in page.lines() {
        if let Some(named) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) {
            let (file, figure) = named.split_once(' ').context("a mark names no figure")?;
            if !documents.contains_key(file) {
                documents.insert(file.to_owned(), document(&root().join(RESULTS).join(file))?);
            }
            let figures = documents.get(file).map(|document| document.figures.as_slice()).unwrap_or_default();
            let Some(found) = figures.iter().find(|line| line.name == figure) else {
                bail!("{RESULTS}/{file} has no figure `{figure}`");
            };
            text.push_str(&format!("{line}\n{}", found.table()?));
            skipping = true;
        }
        if line == END {
            skipping = false;
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
    }
    if skipping {
        bail!("the last table of {PAGE} has no `{END}`");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_page_is_what_the_results_say() {
        let page = fs::read_to_string(root().join(PAGE)).unwrap();
        assert!(filled(&page).unwrap() == page, "`cargo xtask bench --docs` fills {PAGE} anew");
    }
}
