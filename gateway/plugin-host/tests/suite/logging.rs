//! What a guest writes reaches the log under its name, bounded, and cannot forge a line.

use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use crate::guest::{component, data, pass, select_module};
use crate::views::{policy, select, settings};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

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

/// What is logged while this runs, on this thread.
pub(crate) async fn logged<E: std::fmt::Debug>(run: impl Future<Output = Result<(), E>>) -> String {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    run.await.unwrap();
    drop(guard);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
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
