//! The log: where it goes, in which form, and how floods of one message are thinned.
//!
//! `cli` sets it up once; every other module only writes `tracing` events. Lines go through a bounded queue to a
//! thread of their own, so a full pipe never holds up a worker; what does not fit is dropped and counted on exit.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// Lines that may wait to be written. With [`Excerpt`]s in place of what clients chose, about 2 KiB each: 16 MiB.
const QUEUED_LINES: usize = 8 << 10;

/// Starts logging to standard error. Lines are written until the guard is dropped.
pub fn start(log: &Log) -> Result<WorkerGuard, ParseError> {
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES).finish(io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match log.format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init()
        }
        LogFormat::Text => {
            builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).with_target(false).init()
        }
    }
    Ok(guard)
}

/// An error and everything behind it, on one line. A source whose text the error already ends with is left out.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

/// A message for a terminal, with its place, excerpt and hint below each other, as one line of a log: without the
/// excerpt, which the place leads to.
pub fn one_line(text: &str) -> String {
    let excerpt = |line: &&str| {
        let behind = line.trim_start_matches(|character: char| character.is_ascii_digit());
        behind.trim_start().starts_with('|')
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !excerpt(line));
    lines.collect::<Vec<_>>().join(" ")
}

/// The beginning of a text that a client chose: what a log line needs of it, and no more than that.
#[derive(Debug, Clone, Copy)]
pub struct Excerpt<'a>(pub &'a str);

impl Excerpt<'_> {
    /// Bytes that are kept.
    const KEPT: usize = 256;
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = *self;
        match text.get(..text.floor_char_boundary(Self::KEPT)) {
            Some(kept) if kept.len() < text.len() => write!(formatter, "{kept}…"),
            _ => formatter.write_str(text),
        }
    }
}

/// Lets one message a second through and counts the rest.
#[derive(Debug)]
pub struct Throttle {
    begun: Instant,
    /// Milliseconds since `begun` from which the next message may pass.
    next: AtomicU64,
    suppressed: AtomicU64,
}

impl Throttle {
    pub fn new() -> Self {
        Self { begun: Instant::now(), next: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// `Some(n)` when a message may be written now, with the number held back since the last.
    pub fn pass(&self) -> Option<u64> {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let turn = now >= next
            && self.next.compare_exchange(next, now + 1000, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if turn {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(Excerpt("short").to_string(), "short");
        let long = "ä".repeat(1000);
        assert_eq!(Excerpt(&long).to_string(), format!("{}…", "ä".repeat(128)));
    }

    #[test]
    fn an_error_with_its_place_and_hint_fits_on_one_line() {
        let text = "unknown key `adress`\n --> h.toml:3:1\n  |\n3 | adress = 1\n  | ^^^^^^\n  = hint: did you mean `address`?";
        assert_eq!(one_line(text), "unknown key `adress` --> h.toml:3:1 = hint: did you mean `address`?");
        assert_eq!(one_line("plain: 12 files"), "plain: 12 files");
    }

    #[test]
    fn the_first_message_passes_and_the_next_are_counted() {
        let throttle = Throttle::new();
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
        assert_eq!(throttle.pass(), None);
        throttle.next.store(0, Ordering::Relaxed);
        assert_eq!(throttle.pass(), Some(2));
    }
}
