//! Compiling in a process of its own, whose memory and time are bounded.
//!
//! What a guest does is bounded where it runs; what the compiler does with it is not: 250 KB with 50,000 empty functions
//! took 0.4 s and 247 MiB, and wasmtime does not count such bombs as its faults. So the gateway starts itself anew with a
//! hidden subcommand, writes the component to that child's standard input and reads the image from its standard output.
//! The child bounds itself before it reads ([`run_child`]): a component that needs more ends it, and costs one error.
//! What it did is known by how it ended:
//!
//! | the child's end | what it means |
//! |---|---|
//! | exit code 0 | the image is complete |
//! | exit code [`INVALID`] | the component is invalid, for the reason on standard error |
//! | SIGXCPU, or SIGKILL | its processor time is used up |
//! | SIGABRT, or a panic | it got no more memory, most likely |
//! | it does not end | it is killed at [`CompileBounds::patience`] |
//!
//! The image is native code that the gateway will run, as it would if it had compiled it itself: the child is the same
//! program, reached through a pipe that nobody else has, and no privilege is gained by being asked to compile.
//!
//! # Why no child stands by
//!
//! A handshake that waits for a small policy in Rust waits 17 to 18 ms on one core, of which 10 to 14 are the child's. One
//! that was started before, and had compiled another component to warm up, took 7, and the handshake waited 14.6 ms: 7 ms are
//! Cranelift's for 64 small functions, cold or warm. For a fifth of a wait that comes with a new policy only, the process that
//! stands by would have had 20 MiB resident all the time.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use wasmtime::Engine;

use crate::error::LoadError;
use crate::priority::step_back;
use crate::text::printable;

/// The program that compiles, and how it is asked to: two more arguments follow, the bytes of memory and the seconds of
/// processor time that [`run_child`] is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
}

impl Compiler {
    /// The running program, with a subcommand that calls [`run_child`].
    pub fn this_program(subcommand: &str) -> Self {
        // What runs, though another file may have taken its name since.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_default()
        };
        Self { program, arguments: vec![subcommand.into()] }
    }

    /// The image of a component in binary form. Blocks until the child has ended.
    pub(crate) fn compile(&self, component: &[u8]) -> Result<Vec<u8>, LoadError> {
        let bounds = CompileBounds::of(component.len());
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args([bounds.memory.to_string(), bounds.seconds.to_string()])
            .arg0("handfast")
            .env_clear()
            // Each thread takes memory of its own, so on a large machine the same component would need more.
            .env("RAYON_NUM_THREADS", threads().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.broken(source))?;
        let talked = talk(&mut child, component, &bounds);
        // Ended already, or to be ended: there is nothing left to say to it.
        let _ = child.kill();
        let status = child.wait().map_err(|source| self.broken(source))?;
        match talked.map_err(|source| self.broken(source))? {
            Talk::Ended { image, said } => outcome(status, image, &said, &bounds),
            Talk::Endless { spent } => Err(LoadError::CompileBound { spent }),
        }
    }

    fn broken(&self, source: io::Error) -> LoadError {
        LoadError::Compiler { program: self.program.clone(), source }
    }
}

/// What the compiler may use for a component of some size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CompileBounds {
    /// Bytes of address space. A policy in Rust needs less than 96 MiB, CPython's 18 MB less than 768 MiB.
    memory: u64,
    /// Of processor time. CPython took 12 s, on all threads and without optimisations.
    seconds: u64,
    patience: Duration,
    /// Bytes of the image, which this process holds for a moment. CPython's has 35 MB, small ones three times their size.
    image: u64,
}

impl CompileBounds {
    fn of(size: usize) -> Self {
        let size = size as u64;
        let mebibytes = size >> 20;
        let seconds = 10 + 5 * mebibytes;
        Self {
            memory: ((384 << 20) + 64 * size).min(4 << 30),
            seconds,
            // The machine may be busy; a component that uses its time up ends sooner, by that.
            patience: Duration::from_secs(6 * seconds),
            // What this process holds of one component for a moment, however large that is.
            image: ((16 << 20) + 4 * size).min(160 << 20),
        }
    }
}

/// Threads that compile.
fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// What the child wrote, or how it exceeded what it may.
enum Talk {
    Ended { image: Vec<u8>, said: Vec<u8> },
    Endless { spent: String },
}

/// The exit code for a component that does not compile.
const INVALID: u8 = 3;
/// Bytes of the child's standard error that are kept.
const SAID_BYTES: u64 = 2_048;

/// Writes and reads at once, so that neither side waits for the other. A child that closes one of its outputs and goes on
/// is as endless as one that says nothing: it has until both are at their end.
fn talk(child: &mut Child, component: &[u8], bounds: &CompileBounds) -> io::Result<Talk> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let spawn = || thread::Builder::new().name("policy-compiler".into());
        let write = spawn().spawn_scoped(scope, move || {
            // A child that ended early says why by how it ended.
            let _ = stdin.map(|mut stdin| stdin.write_all(component));
        });
        let at_end = sender.clone();
        let said = spawn().spawn_scoped(scope, move || {
            let said = beginning(stderr, SAID_BYTES);
            let _ = at_end.send(());
            said
        });
        let read = spawn().spawn_scoped(scope, move || {
            let image = beginning(stdout, bounds.image.saturating_add(1));
            let _ = sender.send(());
            image
        });
        let ended = match (&write, &said, &read) {
            (Ok(_), Ok(_), Ok(_)) => {
                let end = Instant::now() + bounds.patience;
                let next = || receiver.recv_timeout(end.saturating_duration_since(Instant::now()));
                next().and_then(|()| next())
            }
            // The pipes of the threads that were not made are closed, so the others end when the child is killed.
            _ => Ok(()),
        };
        if ended == Err(RecvTimeoutError::Timeout) || read.is_err() || said.is_err() || write.is_err() {
            let _ = child.kill();
        }
        write?;
        let (Ok(image), Ok(said)) = (read?.join(), said?.join()) else {
            return Err(io::Error::other("a thread that talks to it panicked"));
        };
        Ok(match ended {
            Err(RecvTimeoutError::Timeout) => {
                Talk::Endless { spent: format!("{} s", bounds.patience.as_secs()) }
            }
            _ if image.len() as u64 > bounds.image => {
                Talk::Endless { spent: format!("{} MiB of compiled code", bounds.image >> 20) }
            }
            _ => Talk::Ended { image, said },
        })
    })
}

/// The first bytes of a stream, which is closed then: who writes more has nobody to write to.
fn beginning(stream: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(stream) = stream {
        // What was read counts; a stream that breaks belongs to a child that did.
        let _ = stream.take(most).read_to_end(&mut kept);
    }
    kept
}

fn outcome(
    status: ExitStatus,
    image: Vec<u8>,
    said: &[u8],
    bounds: &CompileBounds,
) -> Result<Vec<u8>, LoadError> {
    let said = String::from_utf8_lossy(said);
    let said = printable(said.trim(), said.len());
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(image),
        (Some(code), _) if code == i32::from(INVALID) => Err(LoadError::Invalid(said.into())),
        (_, Some(libc::SIGXCPU | libc::SIGKILL)) => {
            Err(bound(format!("{} s of processor time", bounds.seconds)))
        }
        (_, Some(libc::SIGABRT)) if said.contains("memory allocation") => {
            Err(bound(format!("{} MiB of memory", bounds.memory >> 20)))
        }
        _ => Err(LoadError::CompilerFailed { status: status.to_string(), said }),
    }
}

fn bound(spent: String) -> LoadError {
    LoadError::CompileBound { spent }
}

/// The child: bounds itself, reads a component, writes its image, and says by its exit code how it went. To be called
/// first of all in a process that does nothing else.
pub fn run_child(memory: u64, seconds: u64) -> ExitCode {
    match bound_this_process(memory, seconds).and_then(|()| compile_to_stdout()) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(invalid)) => {
            let _ = write!(io::stderr(), "{invalid:#}");
            ExitCode::from(INVALID)
        }
        Err(error) => {
            let _ = write!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The inner error is about the component.
fn compile_to_stdout() -> io::Result<wasmtime::Result<()>> {
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let compiled =
        Engine::new(&crate::host::config()).map_err(io::Error::other)?.precompile_component(&component);
    match compiled {
        Ok(image) => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&image)?;
            stdout.flush()?;
            Ok(Ok(()))
        }
        Err(error) => Ok(Err(error)),
    }
}

fn bound_this_process(memory: u64, seconds: u64) -> io::Result<()> {
    limit(libc::RLIMIT_AS, memory, memory)?;
    // SIGXCPU at the soft limit, SIGKILL at the hard one.
    limit(libc::RLIMIT_CPU, seconds, seconds.saturating_add(1))?;
    limit(libc::RLIMIT_CORE, 0, 0)?;
    step_back();
    // SAFETY: a plain system call without pointers. To end with the gateway; nothing that is relied on changes where it fails.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    // Where memory runs out for all, this process goes before the gateway does.
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    #[cfg(target_os = "linux")]
    forgo_privileges();
    Ok(())
}

/// The compiler reads what strangers may have written. Should a component ever take it over, it finds the three pipes, no
/// program that would give it more rights, and nobody of the same user may look into it, or it into core dumps. Last of
/// all: the files of a process that nobody may look into belong to root.
#[cfg(target_os = "linux")]
fn forgo_privileges() {
    const FIRST_BESIDE_THE_PIPES: libc::c_uint = 3;
    const NO_FLAGS: libc::c_uint = 0;
    let (yes, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: plain system calls without pointers, in a process that has opened no file yet and has one thread. A kernel
    // that does not know one of them changes nothing, and everything that is opened here is closed at an `exec` anyway.
    unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_BESIDE_THE_PIPES, libc::c_uint::MAX, NO_FLAGS);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, none, none, none);
        libc::prctl(libc::PR_SET_DUMPABLE, none, none, none, none);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
type Resource = libc::c_int;

/// Never raises a limit that is lower already.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable `rlimit`.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_max = limit.rlim_max.min(hard);
    limit.rlim_cur = limit.rlim_cur.min(soft).min(limit.rlim_max);
    // SAFETY: the pointer is to a live `rlimit`.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in the place of the compiler.
    fn shell(script: &str) -> Compiler {
        Compiler { program: "/bin/sh".into(), arguments: ["-c", script, "sh"].map(OsString::from).into() }
    }

    fn failed(script: &str) -> String {
        shell(script).compile(b"component").unwrap_err().to_string()
    }

    #[test]
    fn the_child_reads_the_component_and_writes_the_image() {
        assert_eq!(shell("cat").compile(b"component").unwrap(), b"component");
        let large = vec![7; 4 << 20];
        assert_eq!(shell("cat; echo noise >&2").compile(&large).unwrap(), large);
        let bounds = CompileBounds::of(9);
        let told = format!("{} {}\n", bounds.memory, bounds.seconds);
        assert_eq!(shell("echo $1 $2").compile(b"component").unwrap(), told.as_bytes());
    }

    #[test]
    fn how_it_ended_says_what_was_wrong() {
        let error = shell("echo bad offset >&2; exit 3").compile(b"component").unwrap_err();
        assert!(
            matches!(&error, LoadError::Invalid(source) if source.to_string() == "bad offset"),
            "{error}"
        );
        assert!(failed("kill -XCPU $$").contains("10 s of processor time"));
        assert!(failed("kill -KILL $$").contains("10 s of processor time"));
        assert!(
            failed("echo memory allocation of 7 bytes failed >&2; kill -ABRT $$").contains("MiB of memory")
        );
        let text = failed("echo thread main panicked >&2; exit 101");
        assert!(text.contains("101") && text.contains("thread main panicked"), "{text}");
    }

    #[test]
    fn what_it_writes_is_bounded() {
        assert!(failed("exec cat /dev/zero").contains("MiB of compiled code"));
        let text = failed("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1");
        assert!(text.len() < 4_096, "{}", text.len());
    }

    #[test]
    fn a_compiler_that_is_not_there_is_said_to_be_missing() {
        let missing = Compiler { program: "/no/such/program".into(), arguments: Vec::new() };
        assert!(matches!(missing.compile(b""), Err(LoadError::Compiler { .. })));
    }

    #[test]
    fn a_child_that_never_answers_is_killed_in_the_end() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec sleep 1000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let bounds = CompileBounds { patience: Duration::from_millis(50), ..CompileBounds::of(0) };
        let talked = talk(&mut child, b"", &bounds).unwrap();
        assert!(matches!(talked, Talk::Endless { .. }));
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    /// The parent waited for the end of what it says, without a bound.
    #[test]
    fn a_child_that_closes_one_output_and_goes_on_is_killed_too() {
        for closed in [">&-", "2>&-"] {
            let mut child = Command::new("/bin/sh")
                .args(["-c", &format!("exec sleep 1000 {closed}")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let bounds = CompileBounds { patience: Duration::from_millis(50), ..CompileBounds::of(0) };
            let talked = talk(&mut child, b"", &bounds).unwrap();
            assert!(matches!(talked, Talk::Endless { .. }), "{closed}");
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        }
    }

    #[test]
    fn the_child_is_told_nothing_of_the_gateways_environment() {
        let told = shell("env | sed 's/=.*//' | sort | tr '\\n' ' '").compile(b"").unwrap();
        let told = String::from_utf8(told).unwrap();
        // The shell adds some of its own.
        let own = ["RAYON_NUM_THREADS", "PWD", "OLDPWD", "SHLVL", "_"];
        assert!(told.split_whitespace().all(|name| own.contains(&name)), "{told}");
    }
}
