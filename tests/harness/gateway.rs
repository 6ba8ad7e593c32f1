//! The real binary as a child process: started with a configuration, known by its log, driven by signals.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::http1;
use crate::config::Config;
use crate::log::Line;
use crate::tool::profile_folder;
use crate::wait::{Watched, eventually};
use crate::{DEADLINE, Response};

/// A running gateway. Dropping it kills the process, prints its log if the test has failed, and fails the test if the
/// gateway has panicked.
pub struct Gateway {
    child: Child,
    folder: TempDir,
    log: Watched<Log>,
    /// Whether its standard error is left unread.
    unread: Watched<bool>,
}

/// What the gateway has said.
#[derive(Debug, Default)]
struct Log {
    lines: Vec<Line>,
    /// stderr is closed: nothing will follow.
    ended: bool,
}

impl Gateway {
    /// Starts a gateway and waits until it is ready.
    #[track_caller]
    pub fn start(config: &Config) -> Self {
        let gateway = Self::spawn(config);
        gateway.wait_for("the gateway to be ready", |line| line.is("ready"));
        gateway
    }

    /// Starts a gateway that may have at most this many files open, and waits until it is ready.
    #[track_caller]
    pub fn start_with_descriptors(config: &Config, descriptors: u64) -> Self {
        let gateway = Self::spawn_with(config, |command| {
            let limit = libc::rlimit { rlim_cur: descriptors, rlim_max: descriptors };
            let lower = move || {
                // SAFETY: setrlimit is async-signal-safe and reads the value that the closure owns.
                match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: as the closure says.
            unsafe { command.pre_exec(lower) };
        });
        gateway.wait_for("the gateway to be ready", |line| line.is("ready"));
        gateway
    }

    /// Starts a gateway without waiting for anything.
    #[track_caller]
    pub fn spawn(config: &Config) -> Self {
        Self::spawn_with(config, |_| ())
    }

    #[track_caller]
    fn spawn_with(config: &Config, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = TempDir::new().expect("a scratch folder");
        let path = folder.path().join("handfast.toml");
        fs::write(&path, config.text()).expect("the configuration is written");
        let mut command = Command::new(binary());
        command
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and touches no memory of ours.
        unsafe { command.pre_exec(end_with_the_test) };
        prepare(&mut command);
        let mut child = command.spawn().expect("the gateway starts");
        let log = Watched::new(Log::default());
        let unread = Watched::new(false);
        let stderr = child.stderr.take().expect("stderr is a pipe");
        std::thread::spawn({
            let (log, unread) = (log.clone(), unread.clone());
            move || {
                for raw in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.change(|log| log.lines.push(Line::parse(raw)));
                    unread.wait(|unread| (!unread).then_some(()));
                }
                log.change(|log| log.ended = true);
            }
        });
        Self { child, folder, log, unread }
    }

    /// Leaves the log unread from now on, so that its pipe fills up, or reads on.
    pub fn leave_unread(&self, unread: bool) {
        self.unread.change(|current| *current = unread);
    }

    /// Where a listener is bound.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let line = self.wait_for("the listener to be bound", |line| {
            line.is("listening") && line.text("listener") == listener
        });
        line.text("address").parse().expect("an address in the log")
    }

    #[track_caller]
    pub fn admin_address(&self) -> SocketAddr {
        let line = self.wait_for("the admin listener to be bound", |line| line.is("admin listening"));
        line.text("address").parse().expect("an address in the log")
    }

    /// GET of the admin listener.
    #[track_caller]
    pub fn admin(&self, path: &str) -> Response {
        let mut stream = TcpStream::connect(self.admin_address()).expect("the admin listener accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline is set");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("the admin listener reads");
        http1::read_response(&mut stream).expect("the admin listener answers")
    }

    /// The sum of a metric's series whose labels include all of `labels`; zero when there is none.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin("/metrics").text();
        let series = text.lines().filter(|line| {
            let (series, _) = line.split_once([' ', '{']).unwrap_or_default();
            series == name && labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits for a line of the log, past or to come.
    #[track_caller]
    pub fn wait_for(&self, what: &str, matches: impl Fn(&Line) -> bool) -> Line {
        self.wait_for_nth(1, what, matches)
    }

    /// Waits for the `count`th line that matches, counted from the start of the gateway.
    #[track_caller]
    pub fn wait_for_nth(&self, count: usize, what: &str, matches: impl Fn(&Line) -> bool) -> Line {
        let found = self.log.wait(|log| {
            let line = log.lines.iter().filter(|line| matches(line)).nth(count - 1).cloned();
            match (line, log.ended) {
                (Some(line), _) => Some(Some(line)),
                (None, true) => Some(None),
                (None, false) => None,
            }
        });
        match found {
            Some(Some(line)) => line,
            Some(None) => panic!("the gateway ended before {what}"),
            None => panic!("waited {DEADLINE:?} in vain for {what}"),
        }
    }

    /// The lines so far that match.
    pub fn lines(&self, matches: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.log.lock().lines.iter().filter(|line| matches(line)).cloned().collect()
    }

    pub fn log_text(&self) -> String {
        self.log.lock().lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The folder of the configuration file, which relative paths count from.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes another configuration; nothing happens until [`Gateway::sighup`].
    pub fn write_config(&self, config: &Config) {
        fs::write(self.folder.path().join("handfast.toml"), config.text())
            .expect("the configuration is written");
    }

    /// Writes another configuration and waits until the gateway runs on it.
    #[track_caller]
    pub fn reload(&self, config: &Config) -> Line {
        let before = self.lines(|line| line.is("configuration reloaded")).len();
        self.write_config(config);
        self.sighup();
        self.wait_for_nth(before + 1, "the reload", |line| line.is("configuration reloaded"))
    }

    pub fn sighup(&self) {
        signal(&self.child, libc::SIGHUP);
    }

    pub fn sigterm(&self) {
        signal(&self.child, libc::SIGTERM);
    }

    /// Stops the process where it is (SIGSTOP); what clients do meanwhile is up to the kernel.
    pub fn pause(&self) {
        signal(&self.child, libc::SIGSTOP);
    }

    pub fn resume(&self) {
        signal(&self.child, libc::SIGCONT);
    }

    /// Files and sockets that the process has open.
    #[track_caller]
    pub fn descriptors(&self) -> u64 {
        let folder = format!("/proc/{}/fd", self.process_id());
        fs::read_dir(folder).expect("the gateway is alive").count() as u64
    }

    /// How many of them it may have from now on: its soft limit, at most the hard one.
    #[track_caller]
    pub fn limit_descriptors(&self, descriptors: u64) {
        let id = self.child.id().cast_signed();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: nothing to read, and a live value to write the current limit to.
        let read = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limit) };
        limit.rlim_cur = descriptors.min(limit.rlim_max);
        // SAFETY: a live value to read, and nowhere to write the old one to.
        let set = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
        assert_eq!((read, set), (0, 0), "the limit of a child is ours to set");
    }

    /// Memory of the process that is not swapped out, in KiB.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("the gateway is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of proc(5)");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The processor time that the process has used.
    #[track_caller]
    pub fn processor_time(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.process_id())).expect("the gateway is alive");
        // Behind the program's name in parentheses, fields 14 and 15 of proc(5), in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(10 * ticks)
    }

    /// Waits for the process to end by itself, and for the rest of its log.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status =
            eventually("the gateway to exit", || child.try_wait().expect("the gateway is our child"));
        self.leave_unread(false);
        self.log.wait(|log| log.ended.then_some(()));
        status
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.leave_unread(false);
        self.log.wait(|log| log.ended.then_some(()));
        let log = self.log_text();
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{log}");
        } else {
            // Policies that panic say so in the log as well, but not in these words, which are the standard library's.
            let panicked =
                log.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
            assert!(!panicked, "the gateway panicked; its log:\n{log}");
        }
    }
}

/// A command of the binary that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `handfast` with these arguments in `folder` and waits for its end.
#[track_caller]
pub fn handfast(folder: &Path, arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    finish(command)
}

/// Runs a command to its end and kills it at [`DEADLINE`].
#[track_caller]
pub fn finish(mut command: Command) -> Finished {
    // SAFETY: as in `Gateway::spawn`.
    unsafe { command.pre_exec(end_with_the_test) };
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("a command to end", || child.try_wait().expect("the command is our child"))
    }));
    let _ = child.kill();
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    match status {
        Ok(status) => Finished { code: status.code(), stdout, stderr },
        Err(_) => panic!("{command:?} did not end; it wrote:\n{stdout}\n{stderr}"),
    }
}

/// Sends a signal to a process that has not been waited for.
#[track_caller]
pub fn signal(child: &Child, signal: i32) {
    let id = child.id().cast_signed();
    // SAFETY: a system call without pointers; a child that was not waited for keeps its id.
    let result = unsafe { libc::kill(id, signal) };
    assert_eq!(result, 0, "the process is gone");
}

/// The binary under test: `HANDFAST_BIN`, or the one built beside the tests.
#[track_caller]
pub fn binary() -> PathBuf {
    let path = match std::env::var_os("HANDFAST_BIN") {
        Some(path) => PathBuf::from(path),
        None => profile_folder().join("handfast"),
    };
    assert!(path.is_file(), "{} is missing: cargo build -p handfast, or set HANDFAST_BIN", path.display());
    path
}

fn collect(stream: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// In the child, before it becomes the gateway: the kernel kills it when the thread of its test is gone, so that an
/// aborted run leaves nothing behind.
fn end_with_the_test() -> std::io::Result<()> {
    // SAFETY: a plain system call with constant arguments.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
