//! `handfast policy bench`: what one policy costs, on this machine.
//!
//! Calls follow one another on one thread, each with the whole way from the gateway into the guest and back. A fresh
//! instance is what every call gets unless the operator writes `instances = "reuse"`; both are measured, since which to
//! choose is what the figures are for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use handfast_plugin_host::{Instances, Plugin, Policy, PolicySettings};
use serde::Serialize;

use super::super::output::{Output, printable, printable_json};
use super::super::{Failure, RUNTIME, USAGE};
use super::answer::Answered;
use super::cases::{Cases, Subject};
use super::{host, inspect, read, runtime};
use crate::config::file::File as Configuration;
use crate::policy::slot::settings;
use crate::telemetry::error_chain;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A WebAssembly component, binary or text
    file: PathBuf,
    /// Take settings, and what the policy is shown, from this file of cases
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// The case to show; by default the first that is for the policy's hooks
    #[arg(long, value_name = "NAME", requires = "cases")]
    case: Option<String>,
    /// Calls of each kind, unless they take more than five seconds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Measures, and prints a table or JSON.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let bytes = read(&args.file)?;
    let mut cases = args.cases.as_deref().map(|cases| Cases::load(cases, &args.file)).transpose()?;
    if let (Some(cases), Some(only)) = (&mut cases, &args.case) {
        cases.keep(only)?;
    }
    let scratch = Scratch::new();
    let host = host(Some(scratch.0.clone()))?;
    let load = || {
        let begun = Instant::now();
        let plugin = host.load("policy", &bytes).map_err(|error| inspect::no_policy(&args.file, &error));
        plugin.map(|plugin| (plugin, milliseconds(begun.elapsed())))
    };
    let (_, compile_ms) = load()?;
    let is_cached = host.is_cached(&bytes);
    let (plugin, load_ms) = load()?;

    let shown = Shown::choose(args, cases, &plugin)?;
    let runtime = runtime()?;
    let measure = |instances| runtime.block_on(measure(&plugin, &shown, instances, args.calls));
    let (fresh, _) = measure(Instances::Fresh)?;
    let (reused, memory_bytes) = measure(Instances::Reuse { max_idle: 1, calls: u32::MAX })?;
    let report = Report {
        component: args.file.display().to_string(),
        size_bytes: plugin.size(),
        sha256: plugin.digest().to_owned(),
        hook: shown.subject.hook(),
        case: shown.case,
        optimised: !cfg!(debug_assertions),
        compile_ms,
        cached_load_ms: is_cached.then_some(load_ms),
        fresh,
        reused,
        memory_bytes,
    };
    let mut out = Output::new();
    match args.json {
        true => {
            let json = serde_json::to_string_pretty(&report).map_err(Failure::runtime)?;
            out.line(format_args!("{}", printable_json(&json)))?;
        }
        false => report.print(&mut out)?,
    }
    out.finish()
}

/// What the calls are: settings, and the arguments of a hook.
struct Shown {
    settings: PolicySettings,
    subject: Subject,
    case: Option<String>,
    /// What to do where it does not start with these settings.
    remedy: String,
}

impl Shown {
    fn choose(args: &Args, cases: Option<Cases>, plugin: &Plugin) -> Result<Self, Failure> {
        let Some(cases) = cases else {
            let nothing = toml::Spanned::new(0..0, toml::de::DeTable::new());
            let policy = Configuration::policy_alone(Path::new("policy"), "", nothing, "policy", &args.file)?;
            let subject = Subject::usual(plugin.hooks()).map_err(Failure::runtime)?;
            // Where `handfast policy new` puts one. Not taken unasked: what is measured would depend on what lies there.
            let beside = args.file.with_file_name("cases.toml");
            let remedy = match beside.is_file() {
                true => format!("it has no settings here; `--cases {}` gives it those of that file", beside.display()),
                false => "it has no settings here; `--cases FILE` gives it those of a file of cases, the `config` of its `[policy]`".to_owned(),
            };
            return Ok(Self { settings: settings(&policy), subject, case: None, remedy });
        };
        let fits = |case: &super::cases::Case| {
            args.case.is_some() || case.subject.is_for(plugin.hooks()) && case.expected.is_a_verdict()
        };
        let Some(case) = cases.cases.into_iter().find(fits) else {
            let text = "there is no case for a hook of this policy, with a verdict\n  = hint: without --cases it is shown a usual client";
            return Err(Failure { text: text.to_owned(), code: USAGE });
        };
        let settings = settings(case.policy.as_ref().unwrap_or(&cases.policy));
        let remedy = "its settings are the `config` of `[policy]` in the file of cases, or that of the case"
            .to_owned();
        Ok(Self { settings, subject: case.subject, case: Some(case.name), remedy })
    }
}

/// How long calls of one kind may take altogether.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that are not counted: the first ones find cold caches, and a reused policy makes its instance.
const WARM_UP: u32 = 100;

/// The times of calls, and the memory of the instance that is kept, if one is.
async fn measure(
    plugin: &Plugin,
    shown: &Shown,
    instances: Instances,
    calls: u32,
) -> Result<(Times, Option<usize>), Failure> {
    let settings = PolicySettings { instances, ..shown.settings.clone() };
    let policy = Policy::new(plugin, settings).await.map_err(|error| {
        Failure::hinted(format!("the policy does not start: {}", error_chain(&error)), &shown.remedy)
    })?;
    let begun = Instant::now();
    let mut times = Vec::new();
    for call in 0..calls.saturating_add(WARM_UP) {
        let before = Instant::now();
        let answer = shown.subject.show(&policy).await;
        let time = before.elapsed();
        if let Answered::NoVerdict(_) = answer.verdict {
            return Err(Failure { text: format!("a call cannot be measured: {answer}"), code: RUNTIME });
        }
        if call >= WARM_UP || begun.elapsed() > PATIENCE {
            times.push(time);
        }
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    Ok((Times::of(times), policy.idle_memory()))
}

#[derive(Debug, Serialize)]
struct Report {
    component: String,
    size_bytes: usize,
    sha256: String,
    hook: &'static str,
    case: Option<String>,
    /// Whether this program was compiled with optimisations, without which figures say little.
    optimised: bool,
    compile_ms: f64,
    /// `None` where the folder for temporary files cannot hold compiled code.
    cached_load_ms: Option<f64>,
    fresh: Times,
    reused: Times,
    /// Linear memory of a used instance.
    memory_bytes: Option<usize>,
}

/// Percentiles of the time of a call.
#[derive(Debug, Serialize)]
struct Times {
    calls: usize,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let at = |percent: usize| times.get(last * percent / 100).map_or(0.0, |time| microseconds(*time));
        Self { calls: times.len(), p50_us: at(50), p90_us: at(90), p99_us: at(99), max_us: at(100) }
    }
}

impl Report {
    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        let mut fact = |name: &str, value: String| out.line(format_args!("{name:<11}{}", printable(&value)));
        fact("component", format!("{}, {} bytes", self.component, self.size_bytes))?;
        if !self.optimised {
            fact(
                "note",
                "this handfast is a build without optimisations: its figures say little".to_owned(),
            )?;
        }
        fact("compile", format!("{:.1} ms", self.compile_ms))?;
        let load = self
            .cached_load_ms
            .map_or("not cached".to_owned(), |time| format!("{time:.2} ms, compiled before"));
        fact("load", load)?;
        let memory = self
            .memory_bytes
            .map_or("unknown".to_owned(), |bytes| format!("{} KiB an instance", bytes >> 10));
        fact("memory", memory)?;
        let case = self.case.as_ref().map_or("a usual client".to_owned(), |case| format!("case `{case}`"));
        fact("hook", format!("{}, {case}", self.hook))?;
        fact("µs a call", format!("{:>10}{:>10}{:>10}{:>10}{:>10}", "p50", "p90", "p99", "max", "calls"))?;
        for (name, times) in [("fresh", &self.fresh), ("reused", &self.reused)] {
            let Times { calls, p50_us, p90_us, p99_us, max_us } = times;
            fact(name, format!("{p50_us:>10.1}{p90_us:>10.1}{p99_us:>10.1}{max_us:>10.1}{calls:>10}"))?;
        }
        Ok(())
    }
}

fn milliseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

fn microseconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e6)
}

/// To hundredths: what is beyond is noise.
fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// A folder for compiled code, so that compiling is measured whatever was compiled before. Removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("handfast-bench-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder of temporary files that stays is none that anybody misses.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
