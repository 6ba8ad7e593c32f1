//! Each page of `examples/` is a script: this runs its `sh` blocks as they stand, one after the other in one shell, and
//! looks in what a block prints for the lines of the `text` block behind it.
//!
//! The pages use fixed ports, so each runs in a network of its own; and they leave files, so each runs in a copy. Their
//! `cargo build` is answered by a stub, since what it would build is under test already.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use handfast_tests::gateway::{binary, finish};
use handfast_tests::{plugin, repository, require_tool};
use tempfile::TempDir;

#[test]
fn the_quick_start_prints_what_it_says() {
    run_page("quickstart");
}

#[test]
fn the_example_of_mutual_tls_prints_what_it_says() {
    plugin("client-units");
    run_page("mutual-tls");
}

#[test]
fn the_example_of_a_policy_of_ones_own_prints_what_it_says() {
    plugin("custom-policy");
    run_page("custom-policy");
}

#[test]
fn every_example_has_a_test() {
    let folders = fs::read_dir(repository().join("examples")).expect("a folder is read");
    let folders = folders.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    let mut names: Vec<_> = folders.map(|path| path.file_name().expect("a name").to_owned()).collect();
    names.sort();
    // Of `first-party`, `first_party.rs` takes care, and of `policies`, `languages.rs`.
    assert_eq!(names, ["custom-policy", "first-party", "mutual-tls", "policies", "quickstart"]);
}

#[test]
fn a_page_is_read_as_blocks_and_what_they_print() {
    let page = "prose\n```sh\necho a\necho b\n```\n\n```text\nb\n```\nprose\n```text\nnot output\n```\n```sh\ntrue\n```\n";
    assert_eq!(
        blocks(page),
        [
            Block { script: "echo a\necho b\n".into(), prints: "b\n".into() },
            Block { script: "true\n".into(), prints: String::new() }
        ]
    );
    assert!(contains_in_order("x\na\ny\nb\n", "a\nb\n").is_ok());
    assert_eq!(contains_in_order("b\na\n", "a\nb\n"), Err("b"));
}

/// A `sh` block, and the `text` block that directly follows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) script: String,
    pub(crate) prints: String,
}

#[track_caller]
fn run_page(example: &str) {
    for (tool, package) in
        [("bash", "bash"), ("curl", "curl"), ("git", "git"), ("ip", "iproute2"), ("openssl", "openssl")]
    {
        require_tool(tool, package);
    }
    require_tool("python3", "python3");
    require_tool("unshare", "util-linux");
    let root = copy_of_the_repository();
    let page =
        fs::read_to_string(repository().join("examples").join(example).join("README.md")).expect("a page");
    let blocks = blocks(&page);
    assert!(blocks.len() > 3, "the page has no script");

    run_blocks(root.path(), "PATH=$PWD/stubs:$PATH\n", blocks);
}

/// Runs blocks in one shell, in a network of its own, and compares what each prints.
#[track_caller]
pub(crate) fn run_blocks(folder: &Path, before: &str, blocks: Vec<Block>) {
    let mut script = format!("ip link set lo up\n{before}");
    for block in &blocks {
        script += &block.script;
        // On stderr too, so that a failure shows which command complained.
        script += "echo '=== end of block' | tee /dev/stderr\n";
    }
    let mut command = Command::new("unshare");
    if !is_root() {
        command.arg("--map-root-user");
    }
    // The end of `unshare` is the end of all that the page has started.
    command.args(["--net", "--pid", "--fork", "--kill-child", "bash", "-c", &script]).current_dir(folder);
    let finished = finish(command);
    let mut outputs = finished.stdout.split("=== end of block\n");
    for block in blocks {
        let output = outputs.next().unwrap_or_default();
        if let Err(missing) = contains_in_order(output, &block.prints) {
            panic!(
                "{missing:?} is not printed, in this place, by\n\n{}\nbut\n\n{output}\n{}",
                block.script, finished.stderr
            );
        }
    }
}

/// The examples and what they reach for, in a folder of their own.
fn copy_of_the_repository() -> TempDir {
    let root = TempDir::new().expect("a scratch folder");
    // Not what an earlier try by hand left there.
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "examples"])
        .current_dir(repository());
    let list = finish(list);
    assert_eq!(list.code, Some(0), "{}", list.stderr);
    for file in list.stdout.lines() {
        let copy = root.path().join(file);
        fs::create_dir_all(copy.parent().expect("a file lies in a folder")).expect("a folder is made");
        fs::copy(repository().join(file), copy).expect("a file is copied");
    }
    let link = |target: &Path, name: &str| {
        let name = root.path().join(name);
        fs::create_dir_all(name.parent().expect("a link lies in a folder")).expect("a folder is made");
        symlink(target, name).expect("a symlink is made");
    };
    link(&binary(), "target/release/handfast");
    link(plugin("custom-policy").parent().expect("plugins lie in a folder"), "target/plugins");
    link(&repository().join("gateway"), "gateway");
    let stub = root.path().join("stubs/cargo");
    fs::create_dir(root.path().join("stubs")).expect("a folder is made");
    fs::write(&stub, "#!/bin/sh\n").expect("a file is written");
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).expect("a mode is set");
    root
}

pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    // Whether nothing but empty lines came since the last `sh` block.
    let mut directly = false;
    while let Some(line) = lines.next() {
        let mut inside =
            || lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        match (line, blocks.last_mut()) {
            ("```sh", _) => {
                blocks.push(Block { script: inside(), prints: String::new() });
                directly = true;
            }
            ("```text", Some(block)) if directly => {
                block.prints = inside();
                directly = false;
            }
            ("", _) => {}
            (line, _) => {
                if line.starts_with("```") {
                    let _: String = inside();
                }
                directly = false;
            }
        }
    }
    blocks
}

/// Whether all lines of `expected` are lines of `output`, in their order; else the first that is missing.
fn contains_in_order<'a>(output: &str, expected: &'a str) -> Result<(), &'a str> {
    let mut lines = output.lines();
    match expected.lines().find(|expected| !lines.any(|line| line == *expected)) {
        Some(missing) => Err(missing),
        None => Ok(()),
    }
}

fn is_root() -> bool {
    // SAFETY: always succeeds and touches no memory.
    unsafe { libc::geteuid() == 0 }
}
