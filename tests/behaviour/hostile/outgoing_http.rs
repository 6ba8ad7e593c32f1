//! A policy whose endpoint never answers: its own handshakes wait and are refused, and nobody else notices.

use handfast_tests::{Client, Gateway, Load, Refusal};

use super::GROWTH;
use crate::outgoing_http::{Endpoint, scene};

#[test]
fn slow_outgoing_http() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    endpoint.open(false);
    // Failures are not kept, so that each handshake waits.
    let http = "timeout = \"300ms\"\nfailure-ttl = \"0s\"\nbreaker-pause = \"0s\"\nmax-concurrent = 4";
    let gateway = Gateway::start(&endpoint.config(&scene, "timeout = \"1s\"", http));
    let address = gateway.address("main");
    Client::new().get(address, "good.example", "/").expect("a good handshake");
    let before = gateway.memory();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let slow = Load::start(24, move || {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Client::new().connect(address, &format!("x{number}.example")).err()
    });
    let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
    slow.wait_for_rounds(40);
    good.wait_for_rounds(20);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    let outcomes = slow.stop();
    // Refused by the policy, which has heard of the failure, and not ended for it.
    assert!(
        outcomes.iter().all(|outcome| *outcome == Some(Refusal::Alert("unrecognized_name"))),
        "{outcomes:?}"
    );
    let after = gateway.memory();
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    let of = |outcome: &str| {
        gateway.metric("handfast_policy_http_calls_total", &[("policy", "caller"), ("outcome", outcome)])
    };
    // Those that waited for a place are told of as `limited` if they did not get one, else as `timed-out`.
    assert!(of("timed-out") >= 1.0, "{} {}", of("timed-out"), of("limited"));
    assert!(endpoint.asked().len() <= outcomes.len());
    assert!(gateway.log_text().contains("policy's outgoing HTTP failed"));
}
