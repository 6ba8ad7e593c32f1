//! The tables of the pages in docs, from the results in docs/performance.
//!
//! What stands between a mark and `<!-- end -->` is replaced by what a file of results says. A test fails when they differ, so
//! no figure is in a page that the rig did not print. The marks:
//!
//! - `<!-- figure FILE NAME -->`: a figure, with its peers;
//! - `<!-- medians FILE BEGINNING ROW… : END… -->`: the gateway's medians of `BEGINNING-ROW-END`, a line for each row and a
//!   column for each end;
//! - `<!-- aims -->`: what the figures are to be, and are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::aims;
use super::report::{Document, medians};
use crate::root;

const PAGES: [&str; 2] = ["docs/performance.md", "docs/policies/README.md"];
const RESULTS: &str = "docs/performance";

const BEGIN: &str = "<!-- ";
const END: &str = "<!-- end -->";

/// Fills the pages anew.
pub(super) fn update() -> Result<()> {
    for page in PAGES {
        let path = root().join(page);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {page}"))?;
        let filled = filled(&text).with_context(|| page.to_owned())?;
        if filled != text {
            fs::write(&path, filled).with_context(|| format!("cannot write {page}"))?;
        }
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
    let documents = documents()?;
    let document =
        |file: &str| documents.get(file).with_context(|| format!("there are no results `{RESULTS}/{file}`"));
    let (mut text, mut skipping) = (String::new(), false);
    for line in page.lines() {
        if let Some(mark) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->"))
            && let Some(table) = table(mark, document).with_context(|| line.to_owned())?
        {
            text.push_str(&format!("{line}\n{table}"));
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
        bail!("the last table has no `{END}`");
    }
    Ok(text)
}

/// What belongs behind a mark; `None` if it is no mark but some other comment.
fn table<'a>(mark: &str, mut document: impl FnMut(&str) -> Result<&'a Document>) -> Result<Option<String>> {
    let words: Vec<&str> = mark.split(' ').collect();
    let table = match words.as_slice() {
        ["figure", file, name] => document(file)?.figure(name)?.table()?,
        ["medians", file, beginning, rest @ ..] => {
            let document = document(file)?;
            let mut halves = rest.split(|word| *word == ":");
            let (rows, ends) = halves.next().zip(halves.next()).context("`:` parts rows from columns")?;
            let row = |row: &&str| {
                ends.iter().map(|end| document.figure(&format!("{beginning}-{row}-{end}"))).collect()
            };
            medians(ends, &rows.iter().map(row).collect::<Result<Vec<_>>>()?)?
        }
        ["aims"] => aims::table(document)?,
        ["figure" | "medians", ..] => bail!("it names too little"),
        _ => return Ok(None),
    };
    Ok(Some(table))
}

/// All files of results, by their names.
fn documents() -> Result<BTreeMap<String, Document>> {
    let entries = fs::read_dir(root().join(RESULTS)).with_context(|| format!("cannot read {RESULTS}"))?;
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.file_name().to_string_lossy().into_owned(), document(&entry.path())?))
    };
    entries.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_pages_is_what_the_results_say() {
        for name in PAGES {
            let page = fs::read_to_string(root().join(name)).unwrap();
            assert!(filled(&page).unwrap() == page, "`cargo xtask bench --docs` fills {name} anew");
        }
    }

    #[test]
    fn a_mark_that_asks_for_what_is_not_there_is_refused() {
        let nothing = |_: &str| bail!("no results");
        for mark in ["figure results.json", "figure results.json a", "medians results.json a b : c", "aims"] {
            assert!(table(mark, nothing).is_err(), "{mark}");
        }
        assert!(table("any other comment", nothing).unwrap().is_none());
    }
}
