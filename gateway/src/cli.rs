//! The command line: what is asked for, in clap's words, and how errors are shown. No logic of its own.
//!
//! Exit codes: 0 done, 1 the gateway or a check failed, 2 wrong usage or a configuration that does not read.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, ConfigError, Log};
use crate::demo;
use crate::policy::Last;
use crate::policy::slot::COMPILE_COMMAND;
use crate::reload::BuildError;
use crate::server::{self, ServerError, Start};
use crate::telemetry;

mod certificate;
mod check;
mod output;
mod policy;
mod strict_check;

use certificate::CertificateCommand;
use output::printable_lines;
use policy::PolicyCommand;

/// An edge gateway whose TLS handshake you program.
#[derive(Debug, Parser)]
#[command(name = "handfast", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a scratch folder, development certificates, a built-in upstream, and commands to paste
    Demo {
        /// The scratch folder: new or empty, and kept; without it, a temporary one that is removed at the end
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    /// Run the gateway; SIGHUP reloads the configuration, SIGTERM drains and ends
    Run {
        /// The configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Choose certificates in native code instead of the embedded policy: only to measure the sandbox
        #[arg(long, hide = true)]
        bench_native_choice: bool,
    },
    /// Check a configuration and everything it names, without listening
    ///
    /// Exits with 2 if the configuration does not read, and with 1 if a gateway would not start with it, or would start and
    /// leave out anything that it should serve. Warnings and notes are printed and leave the exit code at 0.
    Check {
        /// The configuration file (TOML)
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Work with certificates: list them, show one, check files before they go live
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Work with policies: begin one, build it, see what it is, test and measure it
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print the version
    Version,
    /// Compile the component on standard input to standard output, within bounds: the gateway's own child
    #[command(name = COMPILE_COMMAND, hide = true)]
    CompilePlugin {
        /// Bytes of address space
        memory: u64,
        /// Seconds of processor time
        seconds: u64,
    },
    /// Print what the strict check of a certificate in a folder of pairs costs
    #[command(hide = true)]
    BenchStrictCheck { folder: PathBuf },
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo { folder } => demo::run(folder).map_err(Failure::from),
        Command::Run { config, bench_native_choice } => run(config, bench_native_choice),
        Command::Check { config } => check::run(config),
        Command::Certificate(command) => certificate::run(command),
        Command::Policy(command) => policy::run(command),
        Command::CompilePlugin { memory, seconds } => {
            return handfast_plugin_host::run_child(memory, seconds);
        }
        Command::BenchStrictCheck { folder } => strict_check::run(folder),
        Command::Version => say(format_args!("handfast {}", env!("CARGO_PKG_VERSION"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain("error", &failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn run(path: PathBuf, native: bool) -> Result<(), Failure> {
    let config = Config::load(&path)?;
    let guard = start_log(&path, &config.log)?;
    let last = if native { Last::Native } else { Last::Embedded };
    let done = server::run(Start { config, path, last }, |_| ());
    drop(guard);
    Ok(done?)
}

fn start_log(
    path: &std::path::Path,
    log: &Log,
) -> Result<tracing_appender::non_blocking::WorkerGuard, Failure> {
    telemetry::start(log).map_err(|error| Failure {
        text: format!(
            "the log filter `{}` does not parse: {error}\n  --> {}\n  = hint: write a level (`info`) or levels by target (`handfast=debug,warn`)",
            log.filter,
            path.display()
        ),
        code: USAGE,
    })
}

/// Exit code of wrong usage, as clap has it.
const USAGE: u8 = 2;
const RUNTIME: u8 = 1;

/// What is printed, and the exit code.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn runtime(error: impl Error) -> Self {
        Self { text: telemetry::error_chain(&error), code: RUNTIME }
    }

    fn hinted(text: String, hint: &str) -> Self {
        Self { text: format!("{text}\n  = hint: {hint}"), code: RUNTIME }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { text: error.to_string(), code: USAGE }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let code = match &error {
            ServerError::Build(BuildError::Config(_)) => USAGE,
            _ => RUNTIME,
        };
        let mut text = telemetry::error_chain(&error);
        if let ServerError::Build(BuildError::Policy(error)) = &error
            && let Some(plugin) = error.plugin()
        {
            let plugin = plugin.display();
            text.push_str(&format!("\n  = hint: `handfast policy inspect {plugin}` says what a file is"));
        }
        Self { text, code }
    }
}

/// Prints a line. `println!` would panic where nobody reads on.
fn say(line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}")
        .map_err(|error| Failure { text: format!("cannot write to standard output: {error}"), code: RUNTIME })
}

/// Tells whoever watches something on standard error. `eprintln!` would panic where that is closed.
fn complain(kind: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{kind}: {}", printable_lines(text));
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl From<demo::DemoError> for Failure {
    fn from(error: demo::DemoError) -> Self {
        match error {
            demo::DemoError::Server(error) => error.into(),
            error => Self::runtime(error),
        }
    }
}
