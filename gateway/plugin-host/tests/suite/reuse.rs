//! `instances = "reuse"`: kept between calls, never after an error.

use std::sync::Arc;

use handfast_plugin_host::{
    CallError, Host, HostSettings, Instances, LoadError, Policy, PolicySettings, Verdict,
};

use crate::guest::{component, decision, module, select_function};
use crate::views::{Hello, Socket, Store, policy, select, select_with, settings};

/// Rejects with the number of its calls so far as the alert; traps when there is a server name.
fn counting() -> Vec<u8> {
    counting_and("", 1)
}

/// The same with so many pages of memory, that does this first.
fn counting_and(first: &str, pages: u32) -> Vec<u8> {
    let body = r#"
        (call $server_name (local.get $hello) (i32.const 128))
        (if (i32.load8_u (i32.const 128)) (then unreachable))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 21) (global.get $calls))"#;
    let functions = format!(
        "(global $calls (mut i32) (i32.const 0)) {} {}",
        select_function(&format!("{first} {body}")),
        decision(2, (24, 0), "", None)
    );
    let module = module(&functions).replacen("\"memory\") 1)", &format!("\"memory\") {pages})"), 1);
    component(&["select"], &module)
}

async fn counted(policy: &Policy) -> u8 {
    match select(policy).await.unwrap().verdict {
        Verdict::Reject(calls) => calls,
        verdict => panic!("{verdict:?}"),
    }
}

fn reusing(max_idle: u32, calls: u32) -> PolicySettings {
    PolicySettings { instances: Instances::Reuse { max_idle, calls }, ..settings() }
}

#[tokio::test]
async fn a_fresh_instance_remembers_nothing() {
    let policy = policy(&counting(), settings()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(counted(&policy).await, 1);
    }
}

#[tokio::test]
async fn an_instance_is_reused_for_as_many_calls_as_configured() {
    let policy = policy(&counting(), reusing(1, 3)).await.unwrap();
    for expected in [1, 2, 3, 1, 2, 3, 1] {
        assert_eq!(counted(&policy).await, expected);
    }
}

#[tokio::test]
async fn an_instance_is_never_used_again_after_an_error() {
    let policy = policy(&counting(), reusing(1, 100)).await.unwrap();
    assert_eq!((counted(&policy).await, counted(&policy).await), (1, 2));
    let error = select_with(&policy, Hello::naming("a.example"), Store::default()).await.unwrap_err();
    assert!(matches!(error, CallError::Trap(_)));
    assert_eq!(counted(&policy).await, 1);
}

#[tokio::test]
async fn an_invalid_verdict_is_an_error_too() {
    let body = "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        (i32.store8 (i32.const 21) (i32.sub (i32.const 2) (global.get $calls)))";
    let functions = format!(
        "(global $calls (mut i32) (i32.const 0)) {} {}",
        select_function(body),
        decision(2, (24, 0), "", None)
    );
    let policy = policy(&component(&["select"], &module(&functions)), reusing(1, 100)).await.unwrap();
    assert_eq!(counted(&policy).await, 1);
    assert!(matches!(select(&policy).await, Err(CallError::InvalidVerdict(_))));
    assert_eq!(counted(&policy).await, 1);
}

/// Once, what waited for a call that never came had all of the pool, and every other policy was `busy` for ever.
#[tokio::test]
async fn instances_that_wait_make_room_for_calls() {
    let host = Host::new(HostSettings { max_instances: 1, ..HostSettings::default() }).unwrap();
    let plugin = host.load("under-test", &counting()).unwrap();
    let reusing = Policy::new(&plugin, reusing(1, 100)).await.unwrap();
    assert_eq!((counted(&reusing).await, counted(&reusing).await), (1, 2));
    let other = PolicySettings { name: "other".into(), ..settings() };
    let other = Policy::new(&plugin, other).await.unwrap();
    assert_eq!(counted(&other).await, 1);
    assert_eq!((counted(&reusing).await, counted(&other).await, counted(&reusing).await), (1, 1, 1));
}

/// Once, an id that only the gateway knew to be wrong left the instance in use.
#[tokio::test]
async fn a_verdict_that_the_caller_refuses_is_an_error_too() {
    let policy = policy(&counting(), reusing(1, 100)).await.unwrap();
    assert_eq!((counted(&policy).await, counted(&policy).await), (1, 2));
    let refused = |_: &_| Err(CallError::InvalidVerdict("unknown".into()));
    let (hello, store) = (Arc::new(Hello::default()), Arc::new(Store::default()));
    let answer = policy.select_if(Arc::new(Socket), hello, store, refused).await;
    assert!(matches!(answer, Err(CallError::InvalidVerdict(_))));
    assert_eq!(counted(&policy).await, 1);
}

#[tokio::test]
async fn instances_that_wait_make_room_for_the_memory_of_others() {
    const MIB: usize = 1 << 20;
    let host = Host::new(HostSettings { max_instances: 4, max_memory: 16 * MIB, ..Default::default() });
    let host = host.unwrap();
    let of = async |name: &str, component: &[u8], instances| {
        let plugin = host.load(name, component).unwrap();
        Policy::new(&plugin, PolicySettings { name: name.into(), instances, ..settings() }).await.unwrap()
    };
    // 9 MiB from the start, of which 8 are charged: its half.
    let large = counting_and("", 144);
    let large = of("large", &large, Instances::Reuse { max_idle: 4, calls: 100 }).await;
    assert_eq!((counted(&large).await, counted(&large).await), (1, 2));
    // Half of what is left is 4 MiB; 6 are more, and less than what waits.
    let growth = "(if (i32.eq (memory.grow (i32.const 48)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow (i32.const 63)) (i32.const -1)) (then unreachable))";
    let growing = counting_and(growth, 1);
    let growing = of("growing", &growing, Instances::Fresh).await;
    assert_eq!((counted(&growing).await, counted(&large).await), (1, 1));
}

#[tokio::test]
async fn reuse_without_instances_or_calls_is_refused() {
    for settings in [reusing(0, 1), reusing(1, 0)] {
        let Err(error) = policy(&counting(), settings).await else { panic!("it was accepted") };
        assert!(matches!(error, LoadError::NoReuse));
    }
}
