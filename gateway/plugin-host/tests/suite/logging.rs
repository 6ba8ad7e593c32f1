//! What a guest writes reaches the log under its name, bounded, and cannot forge a line.

use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use handfast_plugin_host::{Limits, PolicySettings};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::guest::{component, data, pass, select_module};
use crate::views::{policy, select, settings};

#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// What is logged on this thread from here on.
    pub(crate) fn of_this_thread() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What is logged while this runs, on this thread.
pub(crate) async fn logged<E: std::fmt::Debug>(run: impl Future<Output = Result<(), E>>) -> String {
    let (lines, _guard) = Lines::of_this_thread();
    run.await.unwrap();
    lines.text()
}

#[tokio::test(flavor = "current_thread")]
async fn messages_are_escaped_cut_and_counted() {
    let body = r#"(local $count i32)
        (loop $more
            (call $log (i32.const 3) (i32.const 3072) (i32.const 2000))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $count) (i32.const 20))))"#;
    let mut message = b"first\nforged".to_vec();
    message.resize(2_000, b'x');
    let module = select_module(body, &[pass(), data(3_072, &message)].concat());
    let policy = policy(&component(&["select"], &module), settings()).await.unwrap();

    let text = logged(async { select(&policy).await.map(drop) }).await;
    assert_eq!((text.lines().count(), policy.counted().dropped_messages), (16, 4));
    for line in text.lines() {
        assert!(line.contains(" WARN handfast::policy: "), "{line}");
        assert!(line.contains(r"first\nforgedxxx") && line.contains("policy=\"under-test\""), "{line}");
        assert_eq!(line.matches('x').count(), 1_024 - r"first\nforged".len());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn beyond_its_rate_the_lines_of_a_policy_are_counted_and_told_of_once() {
    let body = r#"(local $count i32)
        (loop $more
            (call $log (i32.const 2) (i32.const 3072) (i32.const 4))
            (call $log (i32.const 0) (i32.const 3072) (i32.const 4))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $count) (i32.const 8))))"#;
    let module = select_module(body, &[pass(), data(3_072, b"line")].concat());
    // One line a second, and ten at once.
    let limits = Limits { log_rate: 1, ..settings().limits };
    let settings = PolicySettings { limits, ..settings() };
    let policy = policy(&component(&["select"], &module), settings).await.unwrap();
    let begun = std::time::Instant::now();
    let text = logged(async {
        for _ in 0..4 {
            select(&policy).await?;
        }
        Ok::<_, handfast_plugin_host::CallError>(())
    })
    .await;
    let lines = text.lines().filter(|line| line.contains("line policy=")).count();
    // 32 at the level `info`; the others, which nobody listens to, take no place.
    let late = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!((10..=10 + late).contains(&lines), "{text}");
    let counted = policy.counted();
    assert_eq!((counted.dropped_messages, counted.limited_messages), (0, 32 - lines as u64));
    assert_eq!(text.matches("policy logs more than its log-rate").count(), 1, "{text}");
}
