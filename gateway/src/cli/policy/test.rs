//! `handfast policy test`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use handfast_plugin_host::{LoadError, Plugin, Policy};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::super::output::{Output, printable};
use super::super::{Failure, counted};
use super::answer::Answer;
use super::cases::{Case, Cases};
use super::{host, inspect, read, runtime, user_cache};
use crate::config;
use crate::policy::slot::settings;
use crate::telemetry::error_chain;

/// Runs every case in order and prints what became of each. What a policy keeps by `key-value` is there for the next case,
/// as it is for the next handshake. With `only` the others are not shown.
pub(super) fn run(path: &Path, file: &Path, only: Option<&str>) -> Result<(), Failure> {
    // First, since without it the cases are of no use.
    let bytes = read(path)?;
    let mut cases = Cases::load(file, path)?;
    if let Some(only) = only {
        cases.keep(only)?;
    }
    let log = Log::default();
    // The process has no other subscriber yet; were there one, lines would only be missing from the comparison.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log.clone()));
    let host = host(user_cache())?;
    let plugin = host.load("policy", &bytes).map_err(|error| inspect::no_policy(path, &error))?;

    let mut out = Output::new();
    let (failed, is_unstarted) = runtime()?.block_on(async {
        let mut desk = Desk { plugin: &plugin, log, usual: None, is_told: false };
        let mut failed = 0;
        for case in &cases.cases {
            if !desk.show(case, &cases, path, &mut out).await? {
                failed += 1;
            }
        }
        Ok::<_, Failure>((failed, desk.is_told))
    })?;
    out.line(format_args!("{} passed, {failed} failed", cases.cases.len() - failed))?;
    out.finish()?;
    match failed {
        0 => Ok(()),
        failed => {
            let text = format!("{} of {} failed", failed, counted(cases.cases.len(), "case", "cases"));
            let table = format!("`[policy]` in {}", file.display());
            let hint = match (is_unstarted, cases.policy.config.as_str()) {
                (false, _) => {
                    "`expected` is what the file of cases says, `found` what the policy did".to_owned()
                }
                (true, "{}") => format!(
                    "without settings the policy does not start, and {table} has none: write the `config` of its [[policy]] table there"
                ),
                (true, _) => format!("with the `config` of {table} the policy does not start"),
            };
            Err(Failure::hinted(text, &hint))
        }
    }
}

/// Where cases are shown to the policy.
struct Desk<'a> {
    plugin: &'a Plugin,
    log: Log,
    /// The policy under the file's own settings, once a case asked for it; or why it does not start.
    usual: Option<Result<Arc<Policy>, Answer>>,
    /// Whether a case has failed for that. It is said once, however many cases there are.
    is_told: bool,
}

impl Desk<'_> {
    /// Shows one case and prints a line, with what is not as expected below it. Whether it passed.
    async fn show(
        &mut self,
        case: &Case,
        cases: &Cases,
        path: &Path,
        out: &mut Output,
    ) -> Result<bool, Failure> {
        let hook = case.subject.hook();
        let answer = match case.subject.is_for(self.plugin.hooks()) {
            true => self.answer(case, cases, path).await?,
            false => {
                let name = printable(&case.name);
                out.line(format_args!("FAIL  {name}\n      the policy does not export `{hook}`"))?;
                return Ok(false);
            }
        };
        let log = self.log.lines();
        let mut differences = case.expected.differences(&answer, &log);
        if !differences.is_empty() && case.policy.is_none() && matches!(self.usual, Some(Err(_))) {
            if self.is_told {
                let (whole, short) = (answer.to_string(), format!("{}, as above", answer.verdict));
                differences
                    .iter_mut()
                    .filter(|(_, found)| *found == whole)
                    .for_each(|it| it.1.clone_from(&short));
            }
            self.is_told = true;
        }
        let word = if differences.is_empty() { "pass" } else { "FAIL" };
        out.line(format_args!("{word}  {}", printable(&case.name)))?;
        for (expected, found) in &differences {
            out.line(format_args!("      expected  {}", printable(expected)))?;
            out.line(format_args!("      found     {}", printable(found)))?;
        }
        Ok(differences.is_empty())
    }

    /// The last answer. The log holds what was written in that call.
    async fn answer(&mut self, case: &Case, cases: &Cases, path: &Path) -> Result<Answer, Failure> {
        self.log.clear();
        let started = match (&case.policy, &self.usual) {
            (None, Some(usual)) => usual.clone(),
            (own, _) => match start(self.plugin, own.as_ref().unwrap_or(&cases.policy)).await {
                Ok(policy) => Ok(Arc::new(policy)),
                Err(error) => Err(Answer::unstarted(error).map_err(|error| {
                    let text = format!("{} does not load: {}", path.display(), error_chain(&error));
                    Failure::hinted(text, "its [[policy]] table is `[policy]` in the file of cases")
                })?),
            },
        };
        if case.policy.is_none() {
            self.usual = Some(started.clone());
        }
        let policy = match started {
            Ok(policy) => policy,
            Err(answer) => return Ok(answer),
        };
        for _ in 1..case.times {
            case.subject.show(&policy).await;
        }
        self.log.clear();
        Ok(case.subject.show(&policy).await)
    }
}

async fn start(plugin: &Plugin, config: &config::Policy) -> Result<Policy, LoadError> {
    Policy::new(plugin, settings(config)).await
}

/// The lines that policies write, in the place of the gateway's log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the sandbox logs a guest's messages under.
const TARGET: &str = "handfast::policy";

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.0);
    }
}

#[derive(Debug, Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
