//! Hooks, from arguments to checked answers.

use std::sync::Arc;

use handfast_plugin_host::{
    Attribute, CallError, Hooks, LoadError, PeerCertificate, Policy, Validation, Verdict,
};

use crate::guest::{component, data, decision, module, pass, select_function, select_module, selecting};
use crate::views::{Hello, Pair, Peer, Socket, Store, policy, select, select_with, settings};

/// Looks for certificates of the server name and answers with the id of the first.
pub(crate) const FIND: &str = r#"
    (call $server_name (local.get $hello) (i32.const 128))
    (call $find (i32.load (i32.const 132)) (i32.load (i32.const 136)) (i32.const 144))
    (call $id (i32.load (i32.load (i32.const 144))) (i32.const 152))
    (if (i32.eqz (call $usable_by (i32.load (i32.load (i32.const 144))) (local.get $hello))) (then unreachable))
    (i32.store8 (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (i32.load (i32.const 152)))
    (i32.store (i32.const 24) (i32.load (i32.const 156)))"#;

async fn answer(decision: String) -> Result<handfast_plugin_host::Decision, CallError> {
    let component = component(&["select"], &select_module("", &decision));
    select(&policy(&component, settings()).await.unwrap()).await
}

#[tokio::test]
async fn each_verdict_comes_through() {
    assert_eq!(answer(pass()).await.unwrap().verdict, Verdict::Pass);
    let decision_1 = answer(decision(1, (0, 0), "example.org", Some("named so"))).await.unwrap();
    assert_eq!(decision_1.verdict, Verdict::Certificate("example.org".into()));
    assert_eq!(decision_1.reason.as_deref(), Some("named so"));
    assert_eq!(answer(decision(2, (19, 0), "", None)).await.unwrap().verdict, Verdict::Reject(112));
    assert_eq!(answer(decision(2, (24, 7), "", None)).await.unwrap().verdict, Verdict::Reject(7));
    assert_eq!(answer(decision(3, (0, 0), "", None)).await.unwrap().verdict, Verdict::Drop);
    let decision_4 = answer(decision(4, (0, 0), "blue", None)).await.unwrap();
    assert_eq!(decision_4.verdict, Verdict::Passthrough("blue".into()));
}

#[tokio::test]
async fn what_the_interface_forbids_is_an_invalid_verdict() {
    for forbidden in [decision(2, (24, 0), "", None), decision(1, (0, 0), "", None)] {
        let error = answer(forbidden).await.unwrap_err();
        assert!(matches!(error, CallError::InvalidVerdict(_)), "{error}");
        assert_eq!(error.kind(), "invalid-verdict");
    }
}

#[tokio::test]
async fn a_guest_sees_the_hello_and_finds_a_certificate() {
    let policy = policy(&selecting(FIND), settings()).await.unwrap();
    let decision = select_with(&policy, Hello::naming("a.example"), Store::default()).await.unwrap();
    assert_eq!(decision.verdict, Verdict::Certificate("for a.example".into()));
}

#[tokio::test]
async fn a_client_certificate_is_judged_by_its_chain() {
    // Accepts with one attribute, whose value is the subject of certificate 1 of the chain.
    let validate = r#"
        (func (export "handfast:policy/validate@1.0.0#validate") (param i32 i32 i32) (result i32)
            (call $chain_certificate (local.get 2) (i32.const 1) (i32.const 128))
            (call $subject (i32.load (i32.const 132)) (i32.const 144))
            (i32.store (i32.const 208) (i32.load (i32.const 144)))
            (i32.store (i32.const 212) (i32.load (i32.const 148)))
            (call $drop_connection (local.get 0))
            (call $drop_hello (local.get 1))
            (call $drop_chain (local.get 2))
            (i32.const 96))"#;
    let list = [0, 200, 1_u32].iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
    let name = [3_072, 7_u32].iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<_>>();
    let data = [data(96, &list), data(200, &name), data(3_072, b"subject")].concat();
    let component = component(&["validate"], &module(&format!("{validate}{data}")));
    let policy = policy(&component, settings()).await.unwrap();
    assert_eq!(policy.hooks(), Hooks { validate: true, ..Hooks::default() });

    let chain = ["leaf", "intermediate"].map(|name| Arc::new(Peer(name.into())) as Arc<dyn PeerCertificate>);
    let call = policy.validate(
        Arc::new(Socket),
        Arc::new(Hello::default()),
        Arc::new(Store::default()),
        chain.into(),
    );
    let attribute = Attribute { name: "subject".into(), value: "intermediate".into() };
    assert_eq!(call.await.unwrap(), Validation::Accept(vec![attribute]));
}

#[tokio::test]
async fn a_certificate_is_refused_with_a_reason() {
    // The reason is the certificate's id.
    let admit = r#"
        (func (export "handfast:policy/admit@1.0.0#admit") (param i32) (result i32)
            (call $id (local.get 0) (i32.const 68))
            (i32.store8 (i32.const 64) (i32.const 1))
            (call $drop_certificate (local.get 0))
            (i32.const 64))"#;
    let policy = policy(&component(&["admit"], &module(admit)), settings()).await.unwrap();
    let answer = policy.admit(Arc::new(Pair("weak\nkey".into())), Arc::new(Store::default())).await;
    assert_eq!(answer.unwrap(), Err(r"weak\nkey".into()));
}

/// Takes a configuration that begins with `{`, keeps its second byte, and rejects every client with that alert.
const CONFIGURE: &str = r#"
    (func (export "handfast:policy/configure@1.0.0#configure") (param i32 i32) (result i32)
        (if (i32.ne (i32.load8_u (local.get 0)) (i32.const 0x7b))
            (then
                (i32.store8 (i32.const 64) (i32.const 1))
                (i32.store (i32.const 68) (i32.const 3072))
                (i32.store (i32.const 72) (i32.const 9)))
            (else
                (i32.store8 (i32.const 21) (i32.load8_u offset=1 (local.get 0)))))
        (i32.const 64))"#;

fn configurable() -> Vec<u8> {
    let data = format!("{}{}", decision(2, (24, 0), "", None), data(3_072, b"no table!"));
    component(&["select", "configure"], &module(&format!("{CONFIGURE}{}{data}", select_function(""))))
}

#[tokio::test]
async fn every_fresh_instance_is_configured() {
    let settings = handfast_plugin_host::PolicySettings { config: "{}".into(), ..settings() };
    let policy = policy(&configurable(), settings).await.unwrap();
    for _ in 0..3 {
        assert_eq!(select(&policy).await.unwrap().verdict, Verdict::Reject(b'}'));
    }
}

#[tokio::test]
async fn a_refused_configuration_is_a_load_error_with_the_policys_words() {
    let settings = handfast_plugin_host::PolicySettings { config: "[]".into(), ..settings() };
    let Err(error) = policy(&configurable(), settings).await else { panic!("it was accepted") };
    assert!(matches!(&error, LoadError::Configuration(text) if text == "no table!"), "{error}");
}

#[tokio::test]
async fn certificates_cannot_be_asked_while_configuring() {
    let configure = r#"
        (func (export "handfast:policy/configure@1.0.0#configure") (param i32 i32) (result i32)
            (call $fallback (i32.const 128))
            (i32.const 64))"#;
    let module = module(&format!("{configure}{}{}", select_function(""), pass()));
    let Err(error) = policy(&component(&["select", "configure"], &module), settings()).await else {
        panic!("it was accepted")
    };
    assert!(
        matches!(&error, LoadError::Start(CallError::Trap(trap)) if trap.message.contains("in `configure`"))
    );
}

#[test]
fn a_call_may_move_between_threads() {
    fn assert_send<T: Send>(_: &T) {}
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<Policy>();
    async fn call(policy: &Policy) {
        let select = policy.select(Arc::new(Socket), Arc::new(Hello::default()), Arc::new(Store::default()));
        assert_send(&select);
        let _ = select.await;
    }
    let _ = call;
}
