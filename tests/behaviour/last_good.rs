//! `on-error = "last-good"`: where a new plugin has no verdict, the last version before it that gave one judges.

use std::fs;
use std::path::{Path, PathBuf};

use handfast_tests::config::client_certificates;
use handfast_tests::{Client, Gateway, Leaf, Line, Refusal, Scene, plugin};
use tempfile::TempDir;

use crate::guest::{component, data, module, pass, select_function};

/// A handshake waits as long as compiling takes on a busy machine.
const KEYS: &str = "on-error = \"last-good\"\nreload-wait = \"30s\"\ntimeout = \"100ms\"";

#[test]
fn a_new_plugin_that_traps_is_stood_in_for_by_the_one_before() {
    let policy = Policy::start(&fs::read(plugin("guest-probe")).expect("a plugin is read"), "");
    policy.connect("count.example").expect("a handshake");
    let good = policy.line("count.example").text("digest").to_owned();
    policy.replace(&plugin("guest-trap"));
    for _ in 0..3 {
        policy.connect("any.example").expect("a handshake");
    }
    policy.gateway.wait_for_nth(3, "their lines", |line| line.text("server_name") == "any.example");
    let line = policy.line("any.example");
    assert_eq!((line.text("verdict"), line.text("policy")), ("certificate", "judge"));
    assert_eq!(line.text("digest"), good, "who judged");
    assert_eq!(line.text("policy_errors"), "judge:trap", "the failure is not hidden");
    let told = policy.gateway.lines(|line| line.is(STOOD_IN));
    assert_eq!(told.len(), 1, "{}", policy.gateway.log_text());
    assert_eq!((told[0].text("hook"), told[0].text("judges")), ("select", good.as_str()));
    assert_ne!(told[0].text("digest"), good);
    assert!(told[0].text("error").contains("this policy panics on purpose"), "{}", told[0]);
    let labels = [("policy", "judge"), ("hook", "select")];
    assert_eq!(policy.gateway.metric("handfast_policy_last_good_total", &labels), 3.0);
    let outcome = |outcome| [("policy", "judge"), ("hook", "select"), ("outcome", outcome)];
    assert_eq!(policy.gateway.metric("handfast_policy_calls_total", &outcome("trap")), 3.0);
    assert_eq!(policy.gateway.metric("handfast_policy_calls_total", &outcome("ok")), 4.0);
}

#[test]
fn bad_plugins_in_a_row_leave_the_good_one_in_its_place() {
    let policy = Policy::start(&fs::read(plugin("guest-probe")).expect("a plugin is read"), "");
    policy.connect("any.example").expect("a handshake");
    for bad in ["guest-trap", "guest-loop", "guest-hog"] {
        policy.replace(&plugin(bad));
        policy.connect("any.example").unwrap_or_else(|refusal| panic!("{bad}: {refusal:?}"));
    }
    policy.replace(&plugin("guest-probe"));
    policy.connect("any.example").expect("a handshake");
    let labels = [("policy", "judge"), ("hook", "select")];
    assert_eq!(policy.gateway.metric("handfast_policy_last_good_total", &labels), 3.0);
}

/// Once, whoever made the version time out that was put back was judged by the one that had been withdrawn.
#[test]
fn a_version_that_was_withdrawn_stands_in_for_none() {
    let policy = Policy::start(&fs::read(plugin("guest-probe")).expect("a plugin is read"), "");
    let digest = |name: &str| {
        policy.connect(name).expect("a handshake");
        policy.line(name).text("digest").to_owned()
    };
    // It answers every name but the one that it panics on. Those that come after it let everybody in.
    let good = digest("count.example");
    let lets_in = |mark: &str| {
        // All of the probe's hooks: one with fewer would not take its place.
        let others = r#"
            (func (export "handfast:policy/validate@1.0.0#validate") (param i32 i32 i32) (result i32) unreachable)
            (func (export "handfast:policy/admit@1.0.0#admit") (param i32) (result i32) unreachable)"#;
        let mark = data(4_000, mark.as_bytes());
        let module = module(&format!("{} {} {others} {mark}", select_function(""), pass()));
        component(&["select", "validate", "admit"], &module)
    };
    for bad in ["one", "two"] {
        policy.replace_with(&lets_in(bad));
        policy.connect("panic.example").expect("a handshake");
    }
    policy.replace(&plugin("guest-probe"));
    assert_eq!(policy.connect("panic.example").expect_err("a refusal"), Refusal::Alert("internal_error"));
    let refused = |line: &Line| line.is("connection") && line.text("verdict") == "reject";
    let line = policy.gateway.wait_for("the refusal", refused);
    assert_eq!((line.text("digest"), line.text("policy_errors")), (good.as_str(), "judge:trap"));
    // One step back is the same, and what comes next has it to stand in.
    policy.connect("count.example").expect("a handshake");
    policy.replace_with(&lets_in("one"));
    policy.connect("panic.example").expect("a handshake");
    policy.replace(&plugin("guest-probe"));
    assert_eq!(policy.connect("panic.example").expect_err("a refusal"), Refusal::Alert("internal_error"));
    policy.replace(&plugin("guest-trap"));
    policy.connect("any.example").expect("a handshake");
}

#[test]
fn where_both_fail_the_handshake_does() {
    let policy = Policy::start(&fs::read(plugin("guest-probe")).expect("a plugin is read"), "");
    policy.connect("any.example").expect("a handshake");
    policy.replace(&plugin("guest-trap"));
    assert_eq!(policy.connect("panic.example").expect_err("a refusal"), Refusal::Alert("internal_error"));
    assert_eq!(policy.line("panic.example").text("policy_errors"), "judge:trap,judge:trap");
}

#[test]
fn a_plugin_that_never_answered_stands_in_for_none() {
    let trapping = format!("{} {}", select_function("unreachable"), pass());
    let policy = Policy::start(&component(&["select"], &module(&trapping)), "");
    let refused = Refusal::Alert("internal_error");
    assert_eq!(policy.connect("any.example").expect_err("a refusal"), refused);
    policy.replace(&plugin("guest-hog"));
    assert_eq!(policy.connect("any.example").expect_err("a refusal"), refused);
    assert_eq!(policy.gateway.metric("handfast_policy_last_good_total", &[("policy", "judge")]), 0.0);
}

#[test]
fn a_plugin_without_the_hook_does_not_let_in_whom_it_was_never_asked_about() {
    let passing = select_function("");
    let validate = format!(
        r#"(func (export "handfast:policy/validate@1.0.0#validate") (param i32 i32 i32) (result i32) unreachable)
        {}"#,
        data(96, &[0_u32, 3_072, 0].map(u32::to_le_bytes).concat())
    );
    let before = component(&["select"], &module(&format!("{passing} {}", pass())));
    let after = component(&["select", "validate"], &module(&format!("{passing} {validate} {}", pass())));
    let scene = scene();
    let keys = client_certificates("require", &scene.authority);
    let client = scene.authority.issue(Leaf::client("somebody"));
    let policy = Policy::start_in(scene, &before, &keys);
    let connect = || {
        let client = Client::new().identity(&client);
        client.get(policy.gateway.address("main"), "any.example", "/").map(|response| response.status)
    };
    assert_eq!(connect().ok(), Some(200));
    policy.replace_with(&after);
    connect().expect_err("a client that nobody judged");
    let line = policy.gateway.wait_for("the refusal", |line| line.has("policy_errors"));
    assert_eq!((line.text("verdict"), line.text("policy_errors")), ("reject", "judge:trap"));
}

#[test]
fn certificates_are_admitted_by_the_last_good_one_too() {
    let admit = |body: &str| {
        let text = format!(
            r#"(func (export "handfast:policy/admit@1.0.0#admit") (param i32) (result i32)
                {body} (call $drop_certificate (local.get 0)) (i32.const 64))"#
        );
        component(&["admit"], &module(&text))
    };
    let policy = Policy::start(&admit(""), "");
    policy.replace_with(&admit("unreachable"));
    policy.gateway.wait_for("the replacement", |line| line.is("policy replaced"));
    let new = policy.scene.authority.server(&["new.elsewhere.example"]);
    policy.scene.certificates.put("new", &new);
    policy.connect("new.elsewhere.example").expect("a certificate that was let in");
    let labels = [("policy", "judge"), ("hook", "admit")];
    assert_eq!(policy.gateway.metric("handfast_policy_last_good_total", &labels), 1.0);
}

const STOOD_IN: &str = "policy had no verdict; the last good one judges where it has none";

/// A gateway with one policy, whose file the test replaces.
struct Policy {
    gateway: Gateway,
    scene: Scene,
    file: PathBuf,
    _folder: TempDir,
}

impl Policy {
    #[track_caller]
    fn start(plugin: &[u8], listener: &str) -> Self {
        Self::start_in(scene(), plugin, listener)
    }

    #[track_caller]
    fn start_in(scene: Scene, plugin: &[u8], listener: &str) -> Self {
        let folder = TempDir::new().expect("a scratch folder");
        let file = folder.path().join("policy.wasm");
        fs::write(&file, plugin).expect("a plugin is written");
        let keys = format!("policies = [\"judge\"]\n{listener}");
        let config = scene.config().main_listener(&keys).policy("judge", &file, KEYS);
        Self { gateway: Gateway::start(&config), scene, file, _folder: folder }
    }

    fn replace(&self, plugin: &Path) {
        self.replace_with(&fs::read(plugin).expect("a plugin is read"));
    }

    fn replace_with(&self, plugin: &[u8]) {
        let staged = self.file.with_extension("staged");
        fs::write(&staged, plugin).expect("a plugin is written");
        fs::rename(&staged, &self.file).expect("a plugin is renamed");
    }

    fn connect(&self, name: &str) -> Result<(), Refusal> {
        Client::new().connect(self.gateway.address("main"), name).map(drop)
    }

    #[track_caller]
    fn line(&self, name: &str) -> Line {
        self.gateway
            .wait_for("the outcome line", |line| line.is("connection") && line.text("server_name") == name)
    }
}

fn scene() -> Scene {
    let scene = Scene::new(&[]);
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    scene
}
