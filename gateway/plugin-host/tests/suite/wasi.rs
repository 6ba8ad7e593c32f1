//! Guests of language runtimes, which import WASI: they start, see no more than the time, and talk to the log.

use std::time::{Duration, Instant};

use handfast_plugin_host::{CallError, Limits, PolicySettings};
use wasi_preview1_component_adapter_provider as adapters;
use wit_component::ComponentEncoder;

use crate::guest::{self, component_with, data, pass, select_module};
use crate::logging::{Lines, logged};
use crate::views::{policy, select, settings};

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory "#;

/// A component whose `select` runs `body` with the functions of WASI preview 1, and passes. A vector of the text at
/// 3072 lies at 3584.
fn of_preview1(body: &str, text: &[u8]) -> Vec<u8> {
    let vector = [3_072_u32, text.len() as u32].map(u32::to_le_bytes).concat();
    let module = select_module(body, &[pass(), data(3_072, text), data(3_584, &vector)].concat());
    // Room for the adapter, which takes 64 KiB of the guest's memory for itself.
    let module = module.replacen("(memory ", IMPORTS, 1).replacen("\"memory\") 1)", "\"memory\") 8)", 1);
    let module = guest::embedded(guest::WIT, "1.0.0", "imports", "", &["select"], &module);
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).unwrap();
    // The adapter that compilers' users give it.
    let adapter = adapters::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    encoder.adapter(adapters::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).unwrap();
    encoder.encode().unwrap()
}

#[tokio::test]
async fn a_runtime_finds_time_and_randomness_and_else_nothing() {
    let body = r#"
        (if (call $environ_sizes_get (i32.const 128) (i32.const 132)) (then unreachable))
        (if (i32.load (i32.const 128)) (then unreachable))
        (if (call $args_sizes_get (i32.const 128) (i32.const 132)) (then unreachable))
        (if (i32.load (i32.const 128)) (then unreachable))
        ;; 8 is EBADF: no folder was opened for it.
        (if (i32.ne (call $fd_prestat_get (i32.const 3) (i32.const 128)) (i32.const 8)) (then unreachable))
        (if (call $fd_read (i32.const 0) (i32.const 3584) (i32.const 1) (i32.const 128)) (then unreachable))
        (if (i32.load (i32.const 128)) (then unreachable))
        (if (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 128)) (then unreachable))
        ;; 2020-01-01
        (if (i64.lt_u (i64.load (i32.const 128)) (i64.const 1577836800000000000)) (then unreachable))
        (if (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 128)) (then unreachable))
        (if (call $random_get (i32.const 128) (i32.const 16)) (then unreachable))
        (if (i64.eq (i64.load (i32.const 128)) (i64.load (i32.const 136))) (then unreachable))"#;
    let policy = policy(&of_preview1(body, b"buffer"), settings()).await.unwrap();
    select(&policy).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn what_it_prints_are_lines_of_the_log() {
    let body = r#"
        (drop (call $fd_write (i32.const 1) (i32.const 3584) (i32.const 1) (i32.const 128)))
        (drop (call $fd_write (i32.const 2) (i32.const 3584) (i32.const 1) (i32.const 128)))"#;
    let policy = policy(&of_preview1(body, b"one\n\ntwo"), settings()).await.unwrap();
    let text = logged(async { select(&policy).await.map(drop) }).await;
    let lines = text.lines().map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            "INFO handfast::policy: one policy=\"under-test\"",
            "WARN handfast::policy: one policy=\"under-test\"",
            "INFO handfast::policy: two policy=\"under-test\"",
            "WARN handfast::policy: two policy=\"under-test\"",
        ]
    );
}

#[tokio::test]
async fn printing_counts_as_logging_does() {
    let body = "(drop (call $fd_write (i32.const 1) (i32.const 3584) (i32.const 1) (i32.const 128)))";
    let policy = policy(&of_preview1(body, "line\n".repeat(100).as_bytes()), settings()).await.unwrap();
    select(&policy).await.unwrap();
    assert_eq!(policy.counted().dropped_messages, 84);
}

#[tokio::test]
async fn a_runtime_that_gives_up_is_a_trap_with_its_last_words() {
    let body = r#"
        (drop (call $fd_write (i32.const 2) (i32.const 3584) (i32.const 1) (i32.const 128)))
        (call $proc_exit (i32.const 2))"#;
    let bytes = of_preview1(body, b"panic: no such tenant\n\ngoroutine 1");
    let error = select(&policy(&bytes, settings()).await.unwrap()).await.unwrap_err();
    let CallError::Trap(trap) = error else { panic!("{error}") };
    assert!(trap.message.contains("`exit`"), "{trap}");
    assert_eq!(trap.said.as_deref(), Some("panic: no such tenant; goroutine 1"));
}

/// By then nothing of the call runs any more. On a busy machine it may have left the worker before, and ends a little later
/// than its caller is told.
#[tokio::test(flavor = "current_thread")]
async fn a_line_without_an_end_is_logged_when_the_wall_clock_ends_the_call() {
    let body = r#"
        (drop (call $fd_write (i32.const 1) (i32.const 3584) (i32.const 1) (i32.const 128)))
        (i64.store (i32.const 3640) (i64.const -1))
        (i32.store (i32.const 3632) (i32.const 1))
        (drop (call $poll_oneoff (i32.const 3616) (i32.const 3200) (i32.const 1) (i32.const 128)))"#;
    let limits = Limits { timeout: Duration::from_millis(10), ..Limits::default() };
    let settings = PolicySettings { limits, ..settings() };
    let policy = policy(&of_preview1(body, b"asking the"), settings).await.unwrap();
    tokio::time::pause();
    let (lines, _guard) = Lines::of_this_thread();
    let error = select(&policy).await.unwrap_err();
    assert_eq!(error.kind(), "timeout");
    let begin = Instant::now();
    while !lines.text().contains("asking the") {
        assert!(begin.elapsed() < Duration::from_secs(60), "it was never logged: {}", lines.text());
        std::thread::yield_now();
    }
}

/// One subscription to the monotonic clock, at 3072: user data, the tag 0, the clock 1, the time, precision, flags.
fn sleep(nanoseconds: u64) -> Vec<u8> {
    let subscription = [[0; 8], [0; 8], [1, 0, 0, 0, 0, 0, 0, 0], nanoseconds.to_le_bytes(), [0; 8], [0; 8]];
    let body = "(if (call $poll_oneoff (i32.const 3072) (i32.const 3200) (i32.const 1) (i32.const 128)) (then unreachable))";
    of_preview1(body, &subscription.concat())
}

#[tokio::test]
async fn a_runtime_may_sleep_as_long_as_the_call_may_take() {
    let policy_of = async |nanoseconds| {
        let limits = Limits { timeout: Duration::from_millis(200), ..Limits::default() };
        policy(&sleep(nanoseconds), PolicySettings { limits, ..settings() }).await.unwrap()
    };
    let begun = Instant::now();
    select(&policy_of(20_000_000).await).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(20));
    let endless = policy_of(u64::MAX).await;
    tokio::time::pause();
    let error = select(&endless).await.unwrap_err();
    assert_eq!(error.kind(), "timeout");
}

#[tokio::test]
async fn any_other_function_traps_with_its_name() {
    let module = select_module("(drop (call $network))", &pass()).replacen(
        "(memory ",
        r#"(import "wasi:sockets/instance-network@0.2.9" "instance-network" (func $network (result i32))) (memory "#,
        1,
    );
    let package = "package wasi:sockets@0.2.9 { interface instance-network {
        resource network; instance-network: func() -> network; } }";
    let policy = policy(&component_with(package, &module), settings()).await.unwrap();
    let error = select(&policy).await.unwrap_err();
    let called = "`wasi:sockets/instance-network@0.2.9#instance-network`";
    assert!(error.kind() == "trap" && error.to_string().contains(called), "{error}");
}

#[tokio::test]
async fn a_known_function_of_another_type_is_refused_when_loaded() {
    let module = select_module("(drop (call $now))", &pass()).replacen(
        "(memory ",
        r#"(import "wasi:clocks/monotonic-clock@0.2.9" "now" (func $now (result i32))) (memory "#,
        1,
    );
    let package = "package wasi:clocks@0.2.9 { interface monotonic-clock { now: func() -> u32; } }";
    let refused = policy(&component_with(package, &module), settings()).await.map(drop);
    assert!(matches!(refused, Err(handfast_plugin_host::LoadError::ImportType { .. })), "{refused:?}");
}
