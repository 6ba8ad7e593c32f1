//! What a policy may import by the operator's leave only: refused without it, bounded with it, kept over replacements.

use handfast_plugin_host::{
    Counted, Grant, Host, KeyValueBounds, KeyValueUse, LoadError, Policy, PolicySettings, Verdict,
};

use crate::guest::{component_for, data, decision, pass, select_module};
use crate::views::{host, select, settings};

/// By the names that a body calls them by.
const IMPORTS: [(&str, &str); 6] = [
    ("$add", r#""handfast:policy/counter@1.0.0" "add" (func $add (param i32 i32 i64))"#),
    ("$get", r#""handfast:policy/key-value@1.0.0" "get" (func $get (param i32 i32 i32))"#),
    ("$set", r#""handfast:policy/key-value@1.0.0" "set" (func $set (param i32 i32 i32 i32 i64 i32))"#),
    ("$delete", r#""handfast:policy/key-value@1.0.0" "delete" (func $delete (param i32 i32))"#),
    (
        "$increment",
        r#""handfast:policy/key-value@1.0.0" "increment" (func $increment (param i32 i32 i64 i64 i32))"#,
    ),
    (
        "$compare_and_set",
        r#""handfast:policy/key-value@1.0.0" "compare-and-set"
            (func $compare_and_set (param i32 i32 i32 i32 i32 i32 i32 i64 i32))"#,
    ),
];

/// A component whose `select` runs `body`, imports what that calls, and answers what `answer` holds at 16.
fn granted(body: &str, answer: &str) -> Vec<u8> {
    let called = IMPORTS.iter().filter(|(name, _)| body.contains(&format!("(call {name} ")));
    let imports = called.map(|(_, import)| format!("(import {import}) ")).collect::<String>();
    let module = select_module(body, answer).replacen("(memory ", &format!("{imports}(memory "), 1);
    component_for("1.0.0", "granted-imports", &["select"], &module)
}

/// Counts its calls in the store under `key` (at 3072), and rejects with the sum as the alert.
fn counting_calls(padding: &str) -> Vec<u8> {
    let body = format!(
        "{padding}
        (call $increment (i32.const 3072) (i32.const 3) (i64.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.load8_u (i32.const 128)) (then unreachable))
        (i32.store8 (i32.const 21) (i32.load8_u (i32.const 136)))"
    );
    granted(&body, &[decision(2, (24, 0), "", None), data(3_072, b"key")].concat())
}

fn allowed(grants: &[Grant]) -> PolicySettings {
    PolicySettings { grants: grants.to_vec(), ..settings() }
}

async fn loaded(host: &Host, bytes: &[u8], settings: PolicySettings) -> Policy {
    Policy::new(&host.load("under-test", bytes).unwrap(), settings).await.unwrap()
}

#[tokio::test]
async fn an_import_without_its_grant_is_refused_with_the_line_to_add() {
    let counting = granted("(call $add (i32.const 3072) (i32.const 3) (i64.const 1))", &pass());
    let both = granted(
        "(call $add (i32.const 3072) (i32.const 3) (i64.const 1)) (call $delete (i32.const 3072) (i32.const 3))",
        &pass(),
    );
    let host = host();
    for (bytes, grants, line) in [
        (&counting, &[][..], r#"grants = ["counter"]"#),
        (&counting, &[Grant::KeyValue][..], r#"grants = ["key-value", "counter"]"#),
        (&both, &[][..], r#"grants = ["counter", "key-value"]"#),
    ] {
        let plugin = host.load("under-test", bytes).unwrap();
        let Err(error) = Policy::new(&plugin, allowed(grants)).await else { panic!("it was loaded") };
        assert!(matches!(error, LoadError::NotGranted { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("imports `handfast:policy/counter@1.0.0`") && text.contains(line), "{text}");
    }
    assert_eq!(host.inspect(&both).unwrap().grants, [Grant::Counter, Grant::KeyValue]);
}

#[tokio::test]
async fn outgoing_http_of_any_version_of_wasi_0_2_needs_its_grant() {
    let calling = br#"(component
        (import "wasi:http/outgoing-handler@0.2.6" (instance))
        (instance $it) (export "handfast:policy/select@1.0.0" (instance $it)))"#;
    assert_eq!(host().inspect(calling).unwrap().grants, [Grant::Http]);
}

#[tokio::test]
async fn counters_are_summed_over_instances_and_plugins() {
    let count = "(call $add (i32.const 3072) (i32.const 3) (i64.const 2))";
    let twice = format!("{count} (call $add (i32.const 3075) (i32.const 3) (i64.const 1))");
    let data = [pass(), data(3_072, b"oneBAD")].concat();
    let host = host();
    let first = loaded(&host, &granted(count, &data), allowed(&[Grant::Counter])).await;
    select(&first).await.unwrap();
    select(&first).await.unwrap();
    let second = loaded(&host, &granted(&twice, &data), allowed(&[Grant::Counter])).await;
    drop(first);
    select(&second).await.unwrap();
    let expected = Counted { counters: vec![("one".into(), 6)], dropped_additions: 1, ..Counted::default() };
    assert_eq!(second.counted(), expected);
}

#[tokio::test]
async fn a_store_is_shared_by_fresh_instances_and_outlives_their_plugin() {
    let host = host();
    let sum = async |policy: &Policy| match select(policy).await.unwrap().verdict {
        Verdict::Reject(sum) => sum,
        verdict => panic!("{verdict:?}"),
    };
    let first = loaded(&host, &counting_calls(""), allowed(&[Grant::KeyValue])).await;
    assert_eq!((sum(&first).await, sum(&first).await), (1, 2));
    let second = loaded(&host, &counting_calls("nop"), allowed(&[Grant::KeyValue])).await;
    drop(first);
    assert_eq!(sum(&second).await, 3);

    let other = PolicySettings { name: "another".into(), ..allowed(&[Grant::KeyValue]) };
    assert_eq!(sum(&loaded(&host, &counting_calls(""), other).await).await, 1);
    let used = second.counted().key_value.unwrap();
    assert_eq!((used.entries, used.evicted), (1, 0));
}

#[tokio::test]
async fn every_function_of_the_store_works_through_the_sandbox() {
    // `set` a to 1; swap it for 2, not for another; read it; delete it; read nothing.
    let body = r#"
        (call $set (i32.const 3072) (i32.const 1) (i32.const 3073) (i32.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.load8_u (i32.const 128)) (then unreachable))
        (call $compare_and_set (i32.const 3072) (i32.const 1) (i32.const 1) (i32.const 3073) (i32.const 1)
            (i32.const 3074) (i32.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.ne (i32.load16_u (i32.const 128)) (i32.const 0x100)) (then unreachable))
        (call $compare_and_set (i32.const 3072) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 3074) (i32.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.load16_u (i32.const 128)) (then unreachable))
        (call $get (i32.const 3072) (i32.const 1) (i32.const 128))
        (if (i32.ne (i32.load8_u (i32.load (i32.const 132))) (i32.const 0x32)) (then unreachable))
        (call $increment (i32.const 3072) (i32.const 1) (i64.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.ne (i32.load8_u (i32.const 128)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load8_u (i32.const 136)) (i32.const 1)) (then unreachable))
        (call $delete (i32.const 3072) (i32.const 1))
        (call $get (i32.const 3072) (i32.const 1) (i32.const 128))
        (if (i32.load8_u (i32.const 128)) (then unreachable))
        (call $set (i32.const 3072) (i32.const 257) (i32.const 3073) (i32.const 1) (i64.const 60000) (i32.const 128))
        (if (i32.ne (i32.load16_u (i32.const 128)) (i32.const 1)) (then unreachable))"#;
    let bytes = granted(body, &[pass(), data(3_072, b"a12")].concat());
    let policy = loaded(&host(), &bytes, allowed(&[Grant::KeyValue])).await;
    select(&policy).await.unwrap();
    assert_eq!(policy.counted().key_value, Some(KeyValueUse::default()));
}

#[tokio::test]
async fn a_guest_that_floods_its_store_has_what_it_was_given_and_no_more() {
    // Keys are the monotonic clock's readings: new ones in each call.
    let body = r#"(local $count i32)
        (loop $more
            (i64.store (i32.const 3072) (call $monotonic))
            (call $set (i32.const 3072) (i32.const 8) (i32.const 3072) (i32.const 8) (i64.const 60000) (i32.const 128))
            (local.set $count (i32.add (local.get $count) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $count) (i32.const 1000))))"#;
    let bounds = KeyValueBounds { max_entries: 500, max_bytes: 64 << 10 };
    let settings = PolicySettings { key_value: bounds, ..allowed(&[Grant::KeyValue]) };
    let policy = loaded(&host(), &granted(body, &pass()), settings).await;
    for _ in 0..3 {
        select(&policy).await.unwrap();
    }
    let used = policy.counted().key_value.unwrap();
    assert!(used.entries <= bounds.max_entries && used.bytes <= bounds.max_bytes, "{used:?}");
    assert!(used.entries > 250 && used.evicted > 1_000, "{used:?}");
}
