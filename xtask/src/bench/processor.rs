//! Processor time, memory and cores, as `/proc` tells them (proc(5)).

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

/// Length of the unit that `/proc/PID/stat` counts in: `USER_HZ` is 100 on every architecture we build for.
const TICK: Duration = Duration::from_millis(10);

/// Ten thousand clients, and their upstreams: the soft limit; only root could raise the hard one.
const DESCRIPTORS: &str = "--nofile=20000:";

/// The beginning of a command line for a program that takes part in a measurement: on these cores, as taskset(1) lists
/// them. It becomes the program itself, so its process is the program's.
pub(super) fn placed(cores: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.args([DESCRIPTORS, "taskset", "--cpu-list", cores]);
    command
}

/// User and system time of a process and everything below it so far, ended children included.
pub(super) fn time_of_tree(root: u32) -> Result<Duration> {
    Ok(TICK * tree(root)?.iter().map(|process| process.ticks).sum::<u32>())
}

/// Bytes that a process and everything below it have in memory; a page that several share counts once among them.
pub(super) fn memory_of_tree(root: u32) -> Result<u64> {
    let mut kibibytes = 0;
    for process in tree(root)? {
        let path = format!("/proc/{}/smaps_rollup", process.id);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let own = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes += own.with_context(|| format!("{path} is not as proc(5) says"))?;
    }
    Ok(kibibytes << 10)
}

fn tree(root: u32) -> Result<Vec<Process>> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    let mut below = vec![process(root)?];
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // Any other process may end while we look.
        if let Ok(process) = process(id) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut tree = Vec::new();
    while let Some(process) = below.pop() {
        below.extend(children.remove(&process.id).unwrap_or_default());
        tree.push(process);
    }
    Ok(tree)
}

/// The cores this process may run on.
pub(super) fn allowed_cores() -> Result<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(cores).context("/proc/self/status names no cores")
}

/// `0-2,5` is 0, 1, 2 and 5.
fn cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[derive(Debug, PartialEq)]
struct Process {
    id: u32,
    parent: u32,
    ticks: u32,
}

fn process(id: u32) -> Result<Process> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse(id, &text).with_context(|| format!("{path} is not as proc(5) says"))
}

fn parse(id: u32, stat: &str) -> Option<Process> {
    // The name, in parentheses, may hold anything; after it come field 3 (state), 4 (parent), 14 to 17 (times).
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let times = fields.get(11..15)?.iter().map(|field| field.parse::<u32>());
    Some(Process { id, parent, ticks: times.sum::<Result<u32, _>>().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 1 20 0 1 0 9 8 7";
        assert_eq!(parse(42, stat), Some(Process { id: 42, parent: 7, ticks: 124 }));
    }

    #[test]
    fn a_list_of_cores_has_ranges_and_single_ones() {
        assert_eq!(cores("\t0-2,5\n"), Some(vec![0, 1, 2, 5]));
    }
}
