//! What a policy answered, what it was expected to answer, and how the two differ in words.

use std::collections::BTreeMap;
use std::fmt;

use handfast_plugin_host::{CallError, Decision, LoadError, Validation, Verdict};
use handfast_wire::AlertDescription;

use crate::telemetry::error_chain;

/// The answer of a hook, or what there was in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Answered,
    pub(super) reason: Option<String>,
}

/// Verdicts of all hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    Pass,
    Certificate(String),
    Reject(u8),
    Drop,
    Passthrough(String),
    Accept(BTreeMap<String, String>),
    Refuse,
    /// The call ended without an answer: the word that metrics have for why.
    NoVerdict(String),
    /// The policy did not start, since it refused its configuration.
    RefuseConfig,
}

impl Answer {
    /// A call that ended without an answer.
    pub(super) fn none(error: CallError) -> Self {
        Self { verdict: Answered::NoVerdict(error.kind().to_owned()), reason: Some(error_chain(&error)) }
    }

    /// The answer of `admit`.
    pub(super) fn admitted(answer: Result<(), String>) -> Self {
        match answer {
            Ok(()) => Self { verdict: Answered::Accept(BTreeMap::new()), reason: None },
            Err(reason) => Self { verdict: Answered::Refuse, reason: Some(reason) },
        }
    }

    /// A policy that did not start, where that is the policy's own doing. Else the error comes back.
    pub(super) fn unstarted(error: LoadError) -> Result<Self, LoadError> {
        match error {
            LoadError::Configuration(reason) => {
                Ok(Self { verdict: Answered::RefuseConfig, reason: Some(reason) })
            }
            LoadError::Start(error) => Ok(Self::none(error)),
            error => Err(error),
        }
    }
}

impl From<Decision> for Answer {
    fn from(decision: Decision) -> Self {
        let verdict = match decision.verdict {
            Verdict::Pass => Answered::Pass,
            Verdict::Certificate(id) => Answered::Certificate(id),
            Verdict::Reject(alert) => Answered::Reject(alert),
            Verdict::Drop => Answered::Drop,
            Verdict::Passthrough(upstream) => Answered::Passthrough(upstream),
        };
        Self { verdict, reason: decision.reason }
    }
}

impl From<Validation> for Answer {
    fn from(validation: Validation) -> Self {
        match validation {
            Validation::Accept(attributes) => {
                let attributes = attributes.into_iter().map(|it| (it.name, it.value));
                Self { verdict: Answered::Accept(attributes.collect()), reason: None }
            }
            Validation::Reject { alert, reason } => Self { verdict: Answered::Reject(alert), reason },
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(formatter)?;
        match &self.reason {
            Some(reason) => write!(formatter, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => formatter.write_str("pass"),
            Self::Certificate(id) => write!(formatter, "certificate {id}"),
            Self::Reject(alert) => write!(formatter, "reject {}", alert_name(*alert)),
            Self::Drop => formatter.write_str("drop"),
            Self::Passthrough(upstream) => write!(formatter, "passthrough {upstream}"),
            Self::Accept(attributes) => {
                formatter.write_str("accept")?;
                attributes.iter().try_for_each(|(name, value)| write!(formatter, " {name}={value:?}"))
            }
            Self::Refuse => formatter.write_str("refuse"),
            Self::NoVerdict(why) => write!(formatter, "no verdict ({why})"),
            Self::RefuseConfig => formatter.write_str("refuse-config"),
        }
    }
}

/// What a case wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) verdict: Wanted,
    /// A pattern. `None`: any reason, or none.
    pub(super) reason: Option<String>,
    /// Patterns of lines in the log, in their order; other lines may stand between them, unless there are none here.
    pub(super) log: Option<Vec<String>>,
}

/// A verdict that is wanted. Where a part of it is `None`, any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Pass,
    Certificate(Option<String>),
    Reject(Option<u8>),
    Drop,
    Passthrough(Option<String>),
    Accept(Option<BTreeMap<String, String>>),
    Refuse,
    NoVerdict(Option<String>),
    RefuseConfig,
}

impl Expected {
    /// Whether the policy is to answer at all.
    pub(super) fn is_a_verdict(&self) -> bool {
        !matches!(self.verdict, Wanted::NoVerdict(_) | Wanted::RefuseConfig)
    }

    /// What is not as expected: in each pair what was, and what there is.
    pub(super) fn differences(&self, answer: &Answer, log: &[String]) -> Vec<(String, String)> {
        let mut differences = Vec::new();
        if !self.verdict.is(&answer.verdict) {
            differences.push((self.verdict.to_string(), answer.to_string()));
        } else if let Some(pattern) = &self.reason
            && !answer.reason.as_deref().is_some_and(|reason| fits(pattern, reason))
        {
            let found = answer
                .reason
                .as_ref()
                .map_or("no reason".to_owned(), |reason| format!("the reason {reason:?}"));
            differences.push((format!("the reason {pattern:?}"), found));
        }
        let Some(patterns) = &self.log else { return differences };
        let mut lines = log.iter();
        let found = || match log {
            [] => "nothing in the log".to_owned(),
            lines => format!(
                "in the log {}",
                lines.iter().map(|line| format!("{line:?}")).collect::<Vec<_>>().join(", ")
            ),
        };
        if patterns.is_empty() && !log.is_empty() {
            differences.push(("nothing in the log".to_owned(), found()));
        }
        if let Some(missing) = patterns.iter().find(|pattern| !lines.any(|line| fits(pattern, line))) {
            differences.push((format!("in the log {missing:?}"), found()));
        }
        differences
    }
}

impl Wanted {
    fn is(&self, answer: &Answered) -> bool {
        fn any<T: PartialEq>(wanted: &Option<T>, found: &T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        }
        match (self, answer) {
            (Self::Pass, Answered::Pass)
            | (Self::Drop, Answered::Drop)
            | (Self::Refuse, Answered::Refuse)
            | (Self::RefuseConfig, Answered::RefuseConfig) => true,
            (Self::Certificate(wanted), Answered::Certificate(found))
            | (Self::Passthrough(wanted), Answered::Passthrough(found))
            | (Self::NoVerdict(wanted), Answered::NoVerdict(found)) => any(wanted, found),
            (Self::Reject(wanted), Answered::Reject(found)) => any(wanted, found),
            (Self::Accept(wanted), Answered::Accept(found)) => any(wanted, found),
            _ => false,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self {
            Self::Certificate(None) => return formatter.write_str("certificate"),
            Self::Reject(None) => return formatter.write_str("reject"),
            Self::Passthrough(None) => return formatter.write_str("passthrough"),
            Self::NoVerdict(None) => return formatter.write_str("no verdict"),
            Self::Pass => Answered::Pass,
            Self::Drop => Answered::Drop,
            Self::Refuse => Answered::Refuse,
            Self::RefuseConfig => Answered::RefuseConfig,
            Self::Certificate(Some(id)) => Answered::Certificate(id.clone()),
            Self::Reject(Some(alert)) => Answered::Reject(*alert),
            Self::Passthrough(Some(upstream)) => Answered::Passthrough(upstream.clone()),
            Self::Accept(attributes) => Answered::Accept(attributes.clone().unwrap_or_default()),
            Self::NoVerdict(Some(why)) => Answered::NoVerdict(why.clone()),
        };
        shown.fmt(formatter)
    }
}

/// As `wit/v1` writes it.
fn alert_name(code: u8) -> String {
    AlertDescription::new(code).to_string().replace('_', "-")
}

/// Whether a text is what a pattern says, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some((_, behind)) = text.split_once(part) else { return false };
        (text, rest) = (behind, after);
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(verdict: Wanted, reason: Option<&str>, log: Option<&[&str]>) -> Expected {
        let log = log.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect());
        Expected { verdict, reason: reason.map(str::to_owned), log }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in [
            ("", ""),
            ("a", "a"),
            ("*", ""),
            ("*", "ä b"),
            ("a*c", "abc"),
            ("*b*", "abc"),
            ("a*b*c", "a1b2bc"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "ab"), ("a*a", "a"), ("*b", "abc"), ("a*b*c", "acb")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn only_what_a_case_says_is_compared() {
        let answer = Answer { verdict: Answered::Reject(70), reason: Some("too old".to_owned()) };
        let log = ["one".to_owned(), "two".to_owned()];
        let good = |expected: Expected| expected.differences(&answer, &log).is_empty();
        assert!(good(expected(Wanted::Reject(None), None, None)));
        assert!(good(expected(Wanted::Reject(Some(70)), Some("*old"), Some(&["two"]))));
        assert!(!good(expected(Wanted::Reject(Some(49)), None, None)));
        assert!(!good(expected(Wanted::Pass, None, None)));
        assert!(!good(expected(Wanted::Reject(None), Some("old"), None)));
        assert!(!good(expected(Wanted::Reject(None), None, Some(&["two", "one"]))));
        assert!(!good(expected(Wanted::Reject(None), None, Some(&[]))));
    }
}
