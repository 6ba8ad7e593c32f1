//! Traps and giant answers in the hooks beside `select`: whom they judge is refused, and nobody else notices.

use std::fs;
use std::path::PathBuf;

use handfast_tests::config::client_certificates;
use handfast_tests::{Client, Gateway, Leaf, Load, Refusal, Scene};
use tempfile::TempDir;

use super::{GROWTH, TIMEOUT, scene};
use crate::guest::{component, data, module};

#[test]
fn a_trap_in_validate_refuses_whom_it_judges() {
    validating("unreachable", "trap");
}

#[test]
fn a_giant_list_from_validate_refuses_whom_it_judges() {
    // A million attributes, whose names and values all lie at 0 and are empty.
    validating("(i32.store (i32.const 104) (i32.const 1000000))", "trap");
}

#[test]
fn more_attributes_than_allowed_refuse_whom_they_are_of() {
    validating("(i32.store (i32.const 104) (i32.const 1000))", "invalid-verdict");
}

#[test]
fn a_trap_in_admit_keeps_one_certificate_out() {
    // Traps where the certificate's id begins with `x`.
    let admit = r#"
        (func (export "handfast:policy/admit@1.0.0#admit") (param i32) (result i32)
            (call $id (local.get 0) (i32.const 68))
            (if (i32.eq (i32.load8_u (i32.load (i32.const 68))) (i32.const 0x78)) (then unreachable))
            (call $drop_certificate (local.get 0))
            (i32.const 64))"#;
    let scene = scene();
    let (_folder, file) = written(&component(&["admit"], &module(admit)));
    let gateway = Gateway::start(&scene.config().policy("hostile", &file, TIMEOUT));
    let address = gateway.address("main");
    let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
    good.wait_for_rounds(5);
    scene.certificates.put("x", &scene.authority.server(&["x.elsewhere.example"]));
    scene.certificates.put("y", &scene.authority.server(&["y.elsewhere.example"]));
    Client::new().connect(address, "y.elsewhere.example").expect("a certificate that was let in");
    let refused = Client::new().connect(address, "x.elsewhere.example").expect_err("a refusal");
    assert_eq!(refused, Refusal::Alert("unrecognized_name"));
    good.wait_for_rounds(5);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    let line = gateway.wait_for("the refusal", |line| line.is("certificate not served"));
    assert!(line.text("error").contains("the policy `hostile` had no verdict"), "{line}");
    let labels = [("policy", "hostile"), ("hook", "admit"), ("outcome", "trap")];
    assert!(gateway.metric("handfast_policy_calls_total", &labels) > 0.0);
}

/// Clients with a certificate meet this in `validate`; those without one are not judged, on the same listener.
#[track_caller]
fn validating(body: &str, kind: &str) {
    let validate = format!(
        r#"(func (export "handfast:policy/validate@1.0.0#validate") (param i32 i32 i32) (result i32)
            {body}
            (call $drop_connection (local.get 0))
            (call $drop_hello (local.get 1))
            (call $drop_chain (local.get 2))
            (i32.const 96))"#
    );
    let answer = data(96, &[0_u32, 3_072, 0].map(u32::to_le_bytes).concat());
    let module = module(&format!("{validate} {answer}")).replacen("\"memory\") 1)", "\"memory\") 250)", 1);
    let (_folder, file) = written(&component(&["validate"], &module));
    let scene: Scene = scene();
    let keys = format!("policies = [\"hostile\"]\n{}", client_certificates("request", &scene.authority));
    let config = scene.config().main_listener(&keys).policy("hostile", &file, TIMEOUT);
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    Client::new().get(address, "good.example", "/").expect("a good handshake");
    let before = gateway.memory();
    let identity = scene.authority.issue(Leaf::client("alice"));
    let hostile = Load::start(2, move || {
        Client::new().identity(&identity).get(address, "good.example", "/").map(|response| response.status)
    });
    let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
    hostile.wait_for_rounds(5);
    good.wait_for_rounds(5);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    for refusal in hostile.stop() {
        assert_eq!(refusal, Err(Refusal::Alert("internal_error")));
    }
    let after = gateway.memory();
    assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
    let labels = [("policy", "hostile"), ("hook", "validate"), ("outcome", kind)];
    assert!(gateway.metric("handfast_policy_calls_total", &labels) > 0.0, "{}", gateway.log_text());
    gateway.wait_for("the reason", |line| line.text("policy_errors") == format!("hostile:{kind}"));
}

fn written(component: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a scratch folder");
    let file = folder.path().join("hostile.wasm");
    fs::write(&file, component).expect("a component is written");
    (folder, file)
}
