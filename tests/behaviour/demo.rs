//! `handfast demo`: every command that it prints works as printed, and it takes other ports where its own are taken.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use handfast_tests::gateway::{binary, finish, signal};
use handfast_tests::wait::Watched;
use handfast_tests::{Finished, eventually, require_tool};
use tempfile::TempDir;

#[test]
fn every_printed_command_exits_0() {
    let demo = Demo::start(None);
    let commands = demo.commands();
    assert!(commands.len() >= 8, "{commands:#?}");
    for command in commands {
        let Finished { code, stdout, stderr } = bash(&command);
        assert_eq!(code, Some(0), "{command}\n{stdout}\n{stderr}");
    }
}

#[test]
fn the_printed_commands_show_what_they_are_said_to_show() {
    let demo = Demo::start(None);
    let output = |part: &str| {
        let command = demo.commands().into_iter().find(|command| command.contains(part));
        bash(&command.unwrap_or_else(|| panic!("no command with {part:?}"))).stdout
    };
    assert!(output("-sigalgs RSA-PSS+SHA256").contains("Peer signature type: RSA-PSS"));
    assert!(
        output("-servername shop.localhost </dev/null 2>/dev/null").contains("Peer signature type: ECDSA")
    );
    assert!(output("-servername nobody.localhost").contains("unrecognized name"));
    assert!(output("/metrics").contains("handfast_handshakes_total"));
}

#[test]
fn two_demos_run_side_by_side() {
    let demos = [Demo::start(None), Demo::start(None)];
    for demo in &demos {
        let command = demo.commands().swap_remove(0);
        assert_eq!(bash(&command).code, Some(0), "{command}");
    }
}

#[test]
fn a_folder_with_a_space_and_a_quote_in_its_name_is_printed_ready_to_paste() {
    let folder = TempDir::new().expect("a scratch folder");
    let demo = Demo::start(Some(&folder.path().join("it's mine")));
    for command in demo.commands() {
        let Finished { code, stdout, stderr } = bash(&command);
        assert_eq!(code, Some(0), "{command}\n{stdout}\n{stderr}");
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let parent = TempDir::new().expect("a scratch folder");
    let mut demo = Demo::start_in(parent.path(), None);
    let left = || fs::read_dir(parent.path()).expect("a folder is read").count();
    assert_eq!(left(), 1, "the scratch folder is a folder of the temporary one");
    signal(&demo.child, libc::SIGINT);
    let status = eventually("the demo to end", || demo.child.try_wait().expect("the demo is our child"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(left(), 0);
}

/// A running demo and what it has printed.
struct Demo {
    child: Child,
    printed: Watched<Printed>,
    /// Removed with the demo, which a kill does not let clean up.
    temporary: Option<TempDir>,
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Demo {
    #[track_caller]
    fn start(folder: Option<&Path>) -> Self {
        let temporary = TempDir::new().expect("a scratch folder");
        let mut demo = Self::start_in(temporary.path(), folder);
        demo.temporary = Some(temporary);
        demo
    }

    /// Starts a demo whose temporary folder is this one, and waits for the last of what it prints.
    #[track_caller]
    fn start_in(temporary: &Path, folder: Option<&Path>) -> Self {
        for tool in ["bash", "curl", "openssl"] {
            require_tool(tool, tool);
        }
        let mut command = Command::new(binary());
        // The test's own stderr: a failing test shows why a demo did not start.
        command.arg("demo").env("TMPDIR", temporary).stdin(Stdio::null());
        if let Some(folder) = folder {
            command.arg("--folder").arg(folder);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the demo starts");
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let printed = Watched::new(Printed::default());
        std::thread::spawn({
            let printed = printed.clone();
            move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    printed.change(|printed| printed.lines.push(line));
                }
                printed.change(|printed| printed.ended = true);
            }
        });
        let demo = Self { child, printed, temporary: None };
        let complete = |printed: &Printed| printed.lines.iter().any(|line| line.contains("/metrics"));
        let done =
            demo.printed.wait(|printed| (printed.ended || complete(printed)).then(|| complete(printed)));
        assert_eq!(done, Some(true), "the demo printed only {:#?}", demo.printed.lock().lines);
        demo
    }

    /// The lines to paste: those that are indented.
    fn commands(&self) -> Vec<String> {
        self.printed
            .lock()
            .lines
            .iter()
            .filter_map(|line| line.strip_prefix("  "))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn bash(line: &str) -> Finished {
    let mut command = Command::new("bash");
    command.args(["-c", line]).stdin(Stdio::null());
    finish(command)
}
