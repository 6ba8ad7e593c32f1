//! What a guest can do to the gateway: nothing.

use std::sync::Arc;
use std::time::Duration;

use handfast_plugin_host::{
    CallError, Host, HostSettings, Limits, LoadError, Policy, PolicySettings, Verdict,
};

use crate::calls::FIND;
use crate::guest::{component, pass, select_function, select_module, selecting};
use crate::views::{Hello, Socket, Store, policy, select, select_with, settings};

fn limited(limits: Limits) -> PolicySettings {
    PolicySettings { limits, ..settings() }
}

fn brief() -> PolicySettings {
    limited(Limits { timeout: Duration::from_millis(100), ..Limits::default() })
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_ends_and_other_tasks_of_its_thread_go_on_meanwhile() {
    let policy = policy(&selecting("(loop $forever (br $forever))"), brief()).await.unwrap();
    let ticks = tokio::spawn(async {
        let mut interval = tokio::time::interval(Duration::from_millis(1));
        let mut ticks = 0_u32;
        loop {
            interval.tick().await;
            ticks += 1;
            TICKS.store(ticks, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let error = select(&policy).await.unwrap_err();
    ticks.abort();
    assert!(matches!(error, CallError::Timeout { limit } if limit == Duration::from_millis(100)), "{error}");
    // A starved timer would have ticked once or twice. Ideal is 100.
    let ticks = TICKS.load(std::sync::atomic::Ordering::Relaxed);
    assert!(ticks > 20, "the timer ticked {ticks} times");
}

static TICKS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// By then it runs on a thread that its caller knows nothing of.
#[tokio::test]
async fn a_long_call_that_nobody_waits_for_any_more_ends() {
    let host = Host::new(HostSettings { max_instances: 1, ..HostSettings::default() }).unwrap();
    let with = async |body: &str| {
        let plugin = host.load("under-test", &selecting(body)).unwrap();
        let limits = Limits { timeout: Duration::from_secs(600), ..Limits::default() };
        Policy::new(&plugin, limited(limits)).await.unwrap()
    };
    let (looping, other) = (with("(loop $forever (br $forever))").await, with("").await);
    let mut call = Box::pin(select(&looping));
    tokio::select! {
        biased;
        _ = &mut call => panic!("it came to an end"),
        // The first poll returns when the guest has had a turn, and only then is this one looked at.
        () = std::future::ready(()) => {}
    }
    assert!(matches!(select(&other).await, Err(CallError::Busy(_))), "it has the only instance");
    drop(call);
    while let Err(error) = select(&other).await {
        assert!(matches!(error, CallError::Busy(_)), "{error}");
        tokio::task::yield_now().await;
    }
}

/// A look for a certificate that is not there may wait, and once began a new turn when it did not.
#[tokio::test]
async fn a_guest_cannot_stay_on_its_worker_by_pretending_to_wait() {
    let asking = "(loop $forever (call $find (i32.const 3072) (i32.const 9) (i32.const 128)) (br $forever))";
    let limits = Limits { host_calls: u32::MAX, timeout: Duration::from_millis(500), ..Limits::default() };
    let module = select_module(asking, &[pass(), crate::guest::data(3_072, b"a.example")].concat());
    let policy = policy(&component(&["select"], &module), limited(limits)).await.unwrap();
    let store = Store { empty: true, ..Store::default() };
    let mut call = Box::pin(select_with(&policy, Hello::default(), store));
    tokio::select! {
        biased;
        _ = &mut call => panic!("it had all its time on this thread"),
        () = std::future::ready(()) => {}
    }
    let error = call.await.unwrap_err();
    assert!(matches!(error, CallError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn a_loop_in_the_start_function_is_a_load_error() {
    let module = select_module("", &pass()).replacen(
        "(memory ",
        "(func $spin (loop $forever (br $forever))) (start $spin) (memory ",
        1,
    );
    let Err(error) = policy(&component(&["select"], &module), brief()).await else {
        panic!("it was accepted")
    };
    assert!(matches!(error, LoadError::Start(CallError::Timeout { .. })), "{error}");
}

#[tokio::test]
async fn waiting_for_a_disk_that_never_answers_ends_too() {
    let policy = policy(&selecting(FIND), brief()).await.unwrap();
    tokio::time::pause();
    let error = select_with(&policy, Hello::naming("a.example"), Store { hangs: true, ..Store::default() })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "timeout");
}

#[tokio::test]
async fn memory_is_bounded_and_named_as_the_reason() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let policy = policy(&selecting(grow), settings()).await.unwrap();
    let error = select(&policy).await.unwrap_err();
    assert!(matches!(error, CallError::Memory { limit } if limit == 16 << 20), "{error}");
}

#[tokio::test]
async fn memory_of_all_policies_is_bounded_and_named_as_the_reason() {
    let host =
        Host::new(HostSettings { max_instances: 1, max_memory: 16 << 20, ..Default::default() }).unwrap();
    let with = async |pages: u32| {
        let body =
            format!("(if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1)) (then unreachable))");
        let plugin = host.load("under-test", &selecting(&body)).unwrap();
        select(&Policy::new(&plugin, settings()).await.unwrap()).await
    };
    // Beside the first MiB, half of it.
    with((9 << 4) - 1).await.unwrap();
    let error = with(9 << 4).await.unwrap_err();
    assert!(matches!(error, CallError::NoRoom { most } if most == 16 << 20), "{error}");
    assert_eq!(error.kind(), "busy");
    with((9 << 4) - 1).await.unwrap();
}

#[tokio::test]
async fn a_policy_that_is_too_large_for_all_does_not_start() {
    let host =
        Host::new(HostSettings { max_instances: 1, max_memory: 16 << 20, ..Default::default() }).unwrap();
    let module = select_module("", &pass()).replacen("\"memory\") 1)", "\"memory\") 160)", 1);
    let plugin = host.load("under-test", &component(&["select"], &module)).unwrap();
    let Err(error) = Policy::new(&plugin, settings()).await else { panic!("it was accepted") };
    assert!(matches!(error, LoadError::Start(CallError::NoRoom { .. })), "{error}");
}

#[tokio::test]
async fn a_guest_that_copes_with_refused_memory_gives_its_verdict() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))";
    let policy = policy(&selecting(grow), settings()).await.unwrap();
    assert_eq!(select(&policy).await.unwrap().verdict, Verdict::Pass);
}

#[tokio::test]
async fn memory_beyond_the_limit_from_the_start_is_a_load_error() {
    let module = select_module("", &pass()).replacen("\"memory\") 1)", "\"memory\") 300)", 1);
    let Err(error) = policy(&component(&["select"], &module), settings()).await else {
        panic!("it was accepted")
    };
    assert!(matches!(error, LoadError::Start(CallError::Memory { .. })), "{error}");
}

#[tokio::test]
async fn calls_of_imports_are_counted() {
    let calls = "(loop $more (drop (call $monotonic)) (br $more))";
    let settings = limited(Limits { host_calls: 100, ..settings().limits });
    let error = select(&policy(&selecting(calls), settings).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, CallError::HostCalls { limit: 100 }), "{error}");
}

/// It looks through all certificates there are.
#[tokio::test]
async fn a_search_by_tag_counts_as_256_calls() {
    let calls = "(local $left i32) (local.set $left (i32.const COUNT))
        (loop $more
            (call $tagged (i32.const 3072) (i32.const 1) (i32.const 3072) (i32.const 1) (i32.const 128))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (local.get $left)))";
    let import = r#"(import "handfast:policy/certificates@1.0.0" "tagged" (func $tagged (param i32 i32 i32 i32 i32)))
        (memory "#;
    for (count, good) in [("16", true), ("17", false)] {
        let module = select_module(&calls.replace("COUNT", count), &pass()).replacen("(memory ", import, 1);
        let answer = select(&policy(&component(&["select"], &module), settings()).await.unwrap()).await;
        match answer {
            Ok(_) => assert!(good, "{count}"),
            Err(error) => assert!(!good && error.kind() == "host-calls", "{count}: {error}"),
        }
    }
}

#[tokio::test]
async fn handles_are_bounded() {
    let hoard = "(loop $more (call $fallback (i32.const 128)) (br $more))";
    let settings = limited(Limits { host_calls: 1_000_000, ..settings().limits });
    let error = select(&policy(&selecting(hoard), settings).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("handle"), "{error}");
}

#[tokio::test]
async fn a_huge_string_is_refused_before_it_is_copied() {
    let module = select_module("(call $log (i32.const 0) (i32.const 0) (i32.const 2097152))", &pass())
        .replacen("\"memory\") 1)", "\"memory\") 64)", 1);
    let error =
        select(&policy(&component(&["select"], &module), settings()).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("more than 1048576 bytes go from the policy"), "{error}");
}

#[tokio::test]
async fn more_random_bytes_than_allowed_end_the_call_rather_than_be_fewer() {
    let policy =
        policy(&selecting("(call $random (i32.const 4097) (i32.const 128))"), settings()).await.unwrap();
    let error = select(&policy).await.unwrap_err();
    assert!(error.to_string().contains("at most 4,096 bytes"), "{error}");
}

#[tokio::test]
async fn endless_recursion_is_a_trap() {
    let module = select_module("(call $deeper)", &pass()).replacen(
        "(memory ",
        "(func $deeper (call $deeper)) (memory ",
        1,
    );
    let error =
        select(&policy(&component(&["select"], &module), settings()).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("call stack exhausted"), "{error}");
}

#[tokio::test]
async fn a_trap_names_the_function_and_what_the_guest_said() {
    let functions =
        select_function(r#"(call $log (i32.const 4) (i32.const 3072) (i32.const 14)) (call $decide_badly)"#);
    let data = crate::guest::data(3_072, b"panicked\nhere!");
    let module = crate::guest::module(&format!("(func $decide_badly unreachable) {functions} {data}"));
    let error =
        select(&policy(&component(&["select"], &module), settings()).await.unwrap()).await.unwrap_err();
    let CallError::Trap(trap) = error else { panic!("{error}") };
    assert_eq!(trap.message, "wasm `unreachable` instruction executed");
    assert_eq!(trap.said.as_deref(), Some(r"panicked\nhere!"));
    assert_eq!(trap.frames.first().map(String::as_str), Some("decide_badly"), "{trap}");
    assert!(!trap.to_string().contains('\n'));
}

#[tokio::test]
async fn an_instance_too_many_is_told_so_and_an_abandoned_call_frees_its_own() {
    let host = Host::new(HostSettings { max_instances: 1, ..HostSettings::default() }).unwrap();
    let plugin = host.load("under-test", &selecting(FIND)).unwrap();
    let policy = Policy::new(&plugin, settings()).await.unwrap();
    let hanging = policy.select(
        Arc::new(Socket),
        Arc::new(Hello::naming("a.example")),
        Arc::new(Store { hangs: true, ..Store::default() }),
    );
    let mut hanging = Box::pin(hanging);
    tokio::select! {
        biased;
        _ = &mut hanging => panic!("the disk answered"),
        () = std::future::ready(()) => {}
    }
    let busy = select_with(&policy, Hello::naming("a.example"), Store::default()).await.unwrap_err();
    assert!(matches!(busy, CallError::Busy(_)), "{busy}");

    drop(hanging);
    select_with(&policy, Hello::naming("a.example"), Store::default()).await.unwrap();
}

/// A policy that dawdled once had all instances of the pool, and every other policy had none.
#[tokio::test]
async fn a_policy_has_no_more_calls_under_way_than_its_own_turns() {
    let host = Host::new(HostSettings { max_instances: 4, ..HostSettings::default() }).unwrap();
    let plugin = host.load("under-test", &selecting(FIND)).unwrap();
    let limits = Limits { concurrency: 1, timeout: Duration::from_millis(10), ..Limits::default() };
    let dawdling = Policy::new(&plugin, limited(limits)).await.unwrap();
    let other = Policy::new(&plugin, settings()).await.unwrap();
    let hanging = dawdling.select(
        Arc::new(Socket),
        Arc::new(Hello::naming("a.example")),
        Arc::new(Store { hangs: true, ..Store::default() }),
    );
    let mut hanging = Box::pin(hanging);
    tokio::select! {
        biased;
        _ = &mut hanging => panic!("the disk answered"),
        () = std::future::ready(()) => {}
    }
    // Not polled any more, the call keeps its turn; the next one of the policy waits for it in vain.
    let waited = select_with(&dawdling, Hello::naming("a.example"), Store::default()).await.unwrap_err();
    assert!(matches!(waited, CallError::Busy(_)), "{waited}");
    select_with(&other, Hello::naming("a.example"), Store::default()).await.unwrap();

    drop(hanging);
    select_with(&dawdling, Hello::naming("a.example"), Store::default()).await.unwrap();
}

/// For a moment a plugin and the one that took its place are asked side by side.
#[tokio::test]
async fn a_plugin_and_the_one_in_its_place_share_their_turns() {
    let host = Host::new(HostSettings { max_instances: 4, ..HostSettings::default() }).unwrap();
    let plugin = host.load("under-test", &selecting(FIND)).unwrap();
    let limits = Limits { concurrency: 1, timeout: Duration::from_millis(10), ..Limits::default() };
    let (old, new) = (
        Policy::new(&plugin, limited(limits)).await.unwrap(),
        Policy::new(&plugin, limited(limits)).await.unwrap(),
    );
    let hanging = old.select(
        Arc::new(Socket),
        Arc::new(Hello::naming("a.example")),
        Arc::new(Store { hangs: true, ..Store::default() }),
    );
    let mut hanging = Box::pin(hanging);
    tokio::select! {
        biased;
        _ = &mut hanging => panic!("the disk answered"),
        () = std::future::ready(()) => {}
    }
    let waited = select_with(&new, Hello::naming("a.example"), Store::default()).await.unwrap_err();
    assert!(matches!(waited, CallError::Busy(_)), "{waited}");
    drop(hanging);
    select_with(&new, Hello::naming("a.example"), Store::default()).await.unwrap();
}

#[tokio::test]
async fn tables_are_bounded_from_the_start_and_as_they_grow() {
    let with_table = async |elements: u32, body: &str| {
        let table = format!("(table $table {elements} funcref) (memory ");
        let module = select_module(body, &pass()).replacen("(memory ", &table, 1);
        policy(&component(&["select"], &module), settings()).await
    };
    let grow = "(loop $more (br_if $more
        (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
        (if (i32.gt_u (table.size $table) (i32.const 20000)) (then unreachable))
        (if (i32.lt_u (table.size $table) (i32.const 19000)) (then unreachable))";
    let growing = with_table(1, grow).await.unwrap();
    assert_eq!(select(&growing).await.unwrap().verdict, Verdict::Pass, "it copes with the bound");
    // Two tables of an instance count together.
    let table = "(table $one 15000 funcref) (table $two 6000 funcref) (memory ";
    let module = select_module("", &pass()).replacen("(memory ", table, 1);
    let Err(error) = policy(&component(&["select"], &module), settings()).await else {
        panic!("it was accepted")
    };
    assert!(matches!(error, LoadError::Start(_) | LoadError::DoesNotFit(_)), "{error}");
    assert!(with_table(20_001, "").await.is_err());
}

#[test]
fn what_a_component_is_made_of_is_bounded_before_anything_of_it_runs() {
    let refusal = |parts: &str| {
        let text = format!(
            "(component {parts} (instance $it) (export \"handfast:policy/select@1.0.0\" (instance $it)))"
        );
        let host = Host::new(HostSettings { max_instances: 4, ..HostSettings::default() }).unwrap();
        let Err(error) = host.load("under-test", text.as_bytes()) else { panic!("it was loaded") };
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    };
    for (module, instances, expected) in [
        ("", 65, "contains 65 core module instances, which exceeds the configured maximum of 64"),
        ("(memory 1)", 9, "contains 9 Wasm linear memories, which exceeds the configured maximum of 8"),
        ("(table 1 funcref)", 65, "exceeds the configured maximum of 64"),
        ("(memory 1025)", 1, "memory does not fit in pooling allocator requirements"),
        ("(table 20001 funcref)", 1, "table does not fit in pooling allocator requirements"),
    ] {
        let instances = "(core instance (instantiate $m))".repeat(instances);
        let refused = refusal(&format!("(core module $m {module}) {instances}"));
        assert!(
            refused.starts_with("the component is larger than an instance of a policy may be"),
            "{refused}"
        );
        assert!(refused.contains(expected), "{module}: {refused}");
    }
    let refused = refusal(&"(core module)".repeat(201));
    assert!(refused.contains("201 core modules; at most 200"), "{refused}");
}

#[tokio::test]
async fn limits_that_cannot_be_kept_are_refused() {
    let Err(error) = policy(&selecting(""), limited(Limits { memory: 65 << 20, ..Limits::default() })).await
    else {
        panic!("it was accepted")
    };
    assert!(matches!(error, LoadError::MemoryLimit { .. }), "{error}");
    let Err(error) =
        policy(&selecting(""), limited(Limits { timeout: Duration::ZERO, ..Limits::default() })).await
    else {
        panic!("it was accepted")
    };
    assert!(matches!(error, LoadError::NoTime), "{error}");
}
