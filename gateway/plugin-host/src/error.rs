//! What can go wrong: with the host, with loading a component, with one call.
//!
//! Texts are for the operator who reads the gateway's log and for the author of the policy; both see the whole chain.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};

use crate::limits::HOST_CALL_BYTES;
use crate::text::printable;

type Source = Box<dyn StdError + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(
        "the WebAssembly engine does not start; it reserves address space for {instances} instances of policies: raise \
         `ulimit -v`, or lower `max-policy-instances` in [gateway]"
    )]
    Engine { instances: u32, source: Source },
    #[error("the thread that keeps the policies' time does not start")]
    Clock(#[source] io::Error),
    #[error("the threads for calls that take long do not start")]
    Overtime(#[source] io::Error),
    #[error("this build of the gateway links its policy interface wrongly")]
    Interface(#[source] Source),
}

/// Why a file is not a policy, or not one that may run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the component has {size} bytes; at most {most} are loaded")]
    TooLarge { size: usize, most: usize },
    #[error(
        "the component has {size} bytes of text, and as text at most {most} are loaded, since it is for tests and \
         demonstrations: make the binary of it, with `wasm-tools parse` for example"
    )]
    TextTooLarge { size: usize, most: usize },
    #[error("this is not WebAssembly: it begins with neither `\\0asm` nor text format")]
    NotWasm,
    #[error("the WebAssembly text does not parse")]
    Text(#[source] Source),
    #[error(
        "this is a core WebAssembly module, and a policy is a component: `handfast policy build` makes one, and so does \
         `wasm-tools component new policy.wasm -o policy.component.wasm`"
    )]
    CoreModule,
    #[error(
        "this is WebAssembly of an unknown encoding (version {version}, layer {layer}); components are version 13, layer 1"
    )]
    Encoding { version: u16, layer: u16 },
    #[error("the component has {count} {what}; at most {most} are compiled")]
    TooMany { what: &'static str, count: u64, most: u64 },
    #[error("the process that compiles components does not run; it is started from `{}`", program.display())]
    Compiler { program: PathBuf, source: io::Error },
    #[error(
        "compiling the component takes more than {spent}, the bound for one of its size: it is built to be hard to \
         compile, or is split better into several policies"
    )]
    CompileBound { spent: String },
    #[error("the process that compiles components failed ({status}); it said: {said}")]
    CompilerFailed { status: String, said: String },
    #[error("the component is damaged, cut off, or needs WebAssembly features that policies do not have")]
    Invalid(#[source] Source),
    #[error(
        "the component is larger than an instance of a policy may be: 64 MiB for each memory, and a bound on how many memories, \
         tables and modules it is made of"
    )]
    DoesNotFit(#[source] Source),
    #[error(
        "the component exports no hook: a policy exports one of `handfast:policy/select`, `/validate`, `/admit` \
         (version {supported}); this one exports {}",
        list(.exports)
    )]
    NoHook { exports: Vec<String>, supported: &'static str },
    #[error(
        "the component was built for `{found}`, and this gateway runs version {supported} of `handfast:policy`: \
         build it against the `wit` folder of this gateway, or use a gateway that knows that version"
    )]
    InterfaceVersion { found: String, supported: &'static str },
    #[error("the component imports `{import}`, which this gateway does not provide: {remedy}")]
    Import { import: String, remedy: &'static str },
    #[error(
        "the component imports `{import}`, which this policy was not granted; if it may have it, its [[policy]] \
         table needs the line `{line}`"
    )]
    NotGranted {
        import: String,
        /// The line that grants all that the component imports, beside what is granted already.
        line: String,
    },
    #[error(
        "the component imports a function or type that version {supported} of `handfast:policy` does not have: \
         build it against an unchanged copy of `wit`"
    )]
    ImportType {
        supported: &'static str,
        #[source]
        source: Source,
    },
    #[error(
        "the exported `{interface}` does not have the types of the interface: build it against an unchanged copy of `wit`"
    )]
    ExportType {
        interface: &'static str,
        #[source]
        source: Source,
    },
    #[error("a policy may have at most {most} bytes of memory, not {asked}")]
    MemoryLimit { asked: usize, most: usize },
    #[error("a policy needs a timeout above zero")]
    NoTime,
    #[error("`reuse` needs at least one idle instance and one call for each")]
    NoReuse,
    #[error("the configuration has {size} bytes of JSON; a policy gets at most {most}")]
    ConfigTooLarge { size: usize, most: usize },
    #[error(
        "its [[policy]] table has a `config`, and the component exports no `configure` to be told of it: take `config` out of \
         the table, or name a plugin that reads it"
    )]
    NoConfigure,
    #[error("the policy refuses its configuration: {0}")]
    Configuration(String),
    #[error("the policy does not start")]
    Start(#[source] CallError),
    #[error("the compiled code cannot be written to the cache")]
    Cache(#[source] io::Error),
}

/// Why one call has no verdict. The operator's `on-error` rule decides in its place.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("the policy did not answer within {} ms", .limit.as_millis())]
    Timeout { limit: Duration },
    #[error("the policy trapped: {0}")]
    Trap(Box<Trap>),
    #[error("the policy wanted more than its {limit} bytes of memory")]
    Memory { limit: usize },
    #[error(
        "there is no memory left for the policy's instances: those of all policies have {most} bytes together, and those of one \
         as much as they leave free, so at most half (`max-policy-memory` in [gateway])"
    )]
    NoRoom { most: usize },
    #[error("the policy made more than its {limit} calls of imported functions")]
    HostCalls { limit: u32 },
    #[error("the policy's answer is invalid: {0}")]
    InvalidVerdict(String),
    #[error("no instance is free: {0}")]
    Busy(String),
    #[error("the policy refused its configuration, which it had accepted before: {0}")]
    Configure(String),
}

impl CallError {
    /// One word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Trap(_) => "trap",
            Self::Memory { .. } => "memory",
            Self::HostCalls { .. } => "host-calls",
            Self::InvalidVerdict(_) => "invalid-verdict",
            Self::Busy(_) | Self::NoRoom { .. } => "busy",
            Self::Configure(_) => "configure",
        }
    }
}

/// A trap: what happened, where, and the guest's last words. Displayed on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Such as ``wasm `unreachable` instruction executed``.
    pub message: String,
    /// The functions, innermost first, by the names in the component's name section (`strip = true` removes them).
    pub frames: Vec<String>,
    /// The last message the guest logged at level `error` in this call. The SDKs' panic handlers log the panic there.
    pub said: Option<String>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(said) = &self.said {
            write!(f, "; it said: {said}")?;
        }
        for (position, frame) in self.frames.iter().enumerate() {
            f.write_str(if position == 0 { "; in " } else { " < " })?;
            f.write_str(frame)?;
        }
        Ok(())
    }
}

/// Why the host itself ended a call: raised in imports and in the epoch callback, caught in [`call_error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("time is up")]
    Time,
    #[error("too many host calls")]
    HostCalls,
    #[error("{0}")]
    Misuse(&'static str),
    #[error("the handle of the {0} is not valid")]
    Handle(&'static str),
    #[error("`{0}` is not there for policies, which have no files, sockets or programs")]
    Unavailable(Arc<str>),
    #[error("the configuration was refused")]
    Configure(String),
}

/// Bytes of one function name in a backtrace: names are the guest's to choose.
const FRAME_BYTES: usize = 120;
/// Longer names are shown as they are: a mangled name can unfold to a thousand times its length.
const MANGLED_BYTES: usize = 1_024;
/// Frames of a backtrace that are kept; `host` sets the same limit where they are collected.
pub(crate) const FRAMES: usize = 12;

/// Whether the pool has no room for what was to be made.
pub(crate) fn is_pool_full(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<PoolConcurrencyLimitError>().is_some()
}

/// Sorts out how a call into wasmtime failed.
pub(crate) fn call_error(
    error: wasmtime::Error,
    account: &crate::limits::Account,
    said: Option<String>,
) -> CallError {
    let limits = account.limits();
    match error.downcast_ref::<Stop>() {
        Some(Stop::Time) => return CallError::Timeout { limit: limits.timeout },
        Some(Stop::HostCalls) => return CallError::HostCalls { limit: limits.host_calls },
        Some(Stop::Configure(text)) => return CallError::Configure(text.clone()),
        Some(Stop::Misuse(_) | Stop::Handle(_) | Stop::Unavailable(_)) | None => {}
    }
    if let Some(limit) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return CallError::Busy(limit.to_string());
    }
    if let Some(refused) = account.refused_memory() {
        return refused;
    }

    let message = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => in_our_words(error.root_cause().to_string()),
    };
    let message = message.strip_prefix("wasm trap: ").unwrap_or(&message);
    let frames = error.downcast_ref::<WasmBacktrace>().map_or_else(Vec::new, frames);
    CallError::Trap(Box::new(Trap { message: printable(message, 512), frames, said }))
}

/// wasmtime's words for a bound that we set speak of its means, and do not say how much it is. Its error has no public type.
fn in_our_words(message: String) -> String {
    if message.contains("fuel allocated for hostcalls") {
        return format!(
            "more than {HOST_CALL_BYTES} bytes go from the policy to the gateway at once: as the arguments of an imported \
             function, or as a verdict"
        );
    }
    message
}

fn frames(backtrace: &WasmBacktrace) -> Vec<String> {
    let named = backtrace.frames().iter().take(FRAMES).map(|frame| match frame.func_name() {
        Some(name) => printable(&demangled(name), FRAME_BYTES),
        None => format!("function {}", frame.func_index()),
    });
    named.collect()
}

fn demangled(name: &str) -> String {
    if name.len() > MANGLED_BYTES {
        return name.into();
    }
    // Rust's `{:#}` leaves the hash out; a name that is not mangled comes back as it is.
    format!("{:#}", rustc_demangle::demangle(name))
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    let mut shown = names.iter().take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>();
    if names.len() > shown.len() {
        shown.push(format!("and {} more", names.len() - shown.len()));
    }
    shown.join(", ")
}
