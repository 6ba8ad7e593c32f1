//! What a guest can do in a call of `select`, by hand: each costs the handshakes that ask for it their verdict, while
//! good ones go on beside them on the same listener and judged by the same policy.

use std::fs;
use std::path::PathBuf;

use handfast_tests::{Client, Gateway, Load, Refusal, Scene};
use tempfile::TempDir;

use super::{GROWTH, TIMEOUT, scene};
use crate::guest::{component, data, decision, module, pass, select_function};

#[test]
fn table_growth() {
    let grow = "(loop $more (br_if $more
        (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable";
    Guest::doing(grow).with("(table $table 1 funcref)").ends_its_handshakes("trap");
}

#[test]
fn memory_growth() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    Guest::doing(grow).ends_its_handshakes("memory");
}

#[test]
fn deep_recursion() {
    Guest::doing("(call $deeper)").with("(func $deeper (call $deeper))").ends_its_handshakes("trap");
}

/// A loop without a loop and without a stack that grows.
#[test]
fn endless_tail_calls() {
    Guest::doing("(call $on)").with("(func $on (return_call $on))").ends_its_handshakes("timeout");
}

#[test]
fn endless_calls_of_the_gateway() {
    Guest::doing("(loop $more (drop (call $monotonic)) (br $more))").ends_its_handshakes("host-calls");
}

#[test]
fn hoarded_certificates() {
    Guest::doing("(loop $more (call $fallback (i32.const 128)) (br $more))")
        .ends_its_handshakes("host-calls");
}

#[test]
fn a_giant_string_for_an_answer() {
    // 8 MiB of a certificate's id, and as much of a reason.
    let giant = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 24) (i32.const 8388608))
        (i32.store8 (i32.const 28) (i32.const 1)) (i32.store (i32.const 36) (i32.const 8388608))";
    Guest::doing(giant).with_pages(200).ends_its_handshakes("trap");
}

#[test]
fn a_giant_string_for_the_log() {
    Guest::doing("(call $log (i32.const 2) (i32.const 0) (i32.const 8388608))")
        .with_pages(200)
        .ends_its_handshakes("trap");
}

#[test]
fn a_string_beyond_its_memory() {
    let beyond = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const -16))
        (i32.store (i32.const 24) (i32.const 1000))";
    Guest::doing(beyond).ends_its_handshakes("trap");
}

#[test]
fn text_that_is_not_utf_8() {
    let answer = "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 3072))
        (i32.store (i32.const 24) (i32.const 4))";
    let bytes = data(3072, b"a\xff\xfe\0");
    Guest::doing(answer).with(&bytes).ends_its_handshakes("trap");
    let log = "(call $log (i32.const 2) (i32.const 3072) (i32.const 4))";
    Guest::doing(log).with(&bytes).ends_its_handshakes("trap");
}

#[test]
fn a_handle_that_is_given_back_twice() {
    let fallback = "(call $fallback (i32.const 128)) (call $drop_certificate (i32.load (i32.const 132)))";
    Guest::doing(&format!("{fallback} (call $drop_certificate (i32.load (i32.const 132)))"))
        .ends_its_handshakes("trap");
    Guest::doing("(call $drop_hello (i32.const 77))").ends_its_handshakes("trap");
}

/// The gateway asks it for room while it writes a result, here of eight random bytes.
#[test]
fn an_allocator_that_does_not_give_room() {
    let asked = "(call $random (i32.const 8) (i32.const 128))";
    let allocator = |body: &str| Guest::doing(asked).with_allocator(body);
    allocator("(i32.const -16)").ends_its_handshakes("trap");
    allocator("unreachable").ends_its_handshakes("trap");
    allocator("(loop $forever (br $forever)) unreachable").ends_its_handshakes("timeout");
    // The gateway may not be called from there (component model, canonical ABI: `may_leave`).
    allocator("(drop (call $monotonic)) (i32.const 16384)").ends_its_handshakes("trap");
}

#[test]
fn an_answer_that_is_none_of_the_cases() {
    Guest::doing("(i32.store8 (i32.const 16) (i32.const 99))").ends_its_handshakes("trap");
}

#[test]
fn the_id_of_no_certificate() {
    Guest::answering(1, (0, 0), "no such certificate").ends_its_handshakes("invalid-verdict");
}

#[test]
fn an_empty_id() {
    Guest::answering(1, (0, 0), "").ends_its_handshakes("invalid-verdict");
}

#[test]
fn an_id_that_could_forge_a_line() {
    let line = Guest::answering(1, (0, 0), "x\n{\"level\":\"INFO\"}").ends_its_handshakes("invalid-verdict");
    assert!(!line.contains('\n'), "{line}");
}

#[test]
fn an_alert_that_is_no_error() {
    Guest::answering(2, (24, 0), "").ends_its_handshakes("invalid-verdict");
}

#[test]
fn an_alert_of_no_case() {
    Guest::answering(2, (77, 0), "").ends_its_handshakes("trap");
}

#[test]
fn a_log_flood_is_cut_and_counted() {
    let flood = "(loop $more (call $log (i32.const 2) (i32.const 3072) (i32.const 1000))
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (br_if $more (i32.lt_u (global.get $count) (i32.const 3000))))";
    let guest = Guest::doing(flood).with("(global $count (mut i32) (i32.const 0))");
    let beside = guest.beside_good_handshakes();
    let calls = beside.outcomes.len();
    assert!(beside.outcomes.iter().all(|outcome| outcome.is_none()), "a policy may talk and decide");
    let dropped =
        beside.gateway.metric("handfast_policy_dropped_total", &[("policy", "hostile"), ("what", "log")]);
    assert_eq!(dropped, calls as f64 * (3000.0 - 16.0));
    let lines = beside.gateway.lines(|line| line.text("target") == "handfast::policy").len();
    assert!(lines <= 16 * calls, "{lines} lines of {calls} calls");
}

/// A policy whose `select` passes, except for names that begin with `x`.
struct Guest {
    /// Run for those.
    hostile: String,
    /// Further items of the module.
    items: String,
    pages: u32,
    /// What its allocator does for them, and answers.
    allocator: Option<String>,
}

/// What became of hostile handshakes.
struct Beside {
    gateway: Gateway,
    outcomes: Vec<Option<Refusal>>,
    _scene: Scene,
    _folder: TempDir,
}

impl Guest {
    fn doing(hostile: &str) -> Self {
        Self { hostile: hostile.to_owned(), items: pass(), pages: 1, allocator: None }
    }

    /// Always answers `pass` but for hostile names, whose answer lies at 3072 and is copied over it.
    fn answering(case: u8, alert: (u8, u8), text: &str) -> Self {
        let copy = "(memory.copy (i32.const 16) (i32.const 3072) (i32.const 24))";
        let items = [
            decision(case, alert, text, None).replacen("(i32.const 16)", "(i32.const 3072)", 1),
            pass_answer(),
        ];
        Self { items: items.concat(), ..Self::doing(copy) }
    }

    fn with(mut self, items: &str) -> Self {
        self.items.push_str(items);
        self
    }

    fn with_pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    fn with_allocator(mut self, body: &str) -> Self {
        self.allocator = Some(body.to_owned());
        self
    }

    fn component(&self) -> Vec<u8> {
        let select = select_function(
            "(call $server_name (local.get $hello) (i32.const 128))
            (if (i32.eq (i32.load8_u (i32.load (i32.const 132))) (i32.const 0x78)) (then (call $hostile)))",
        );
        let Self { hostile, items, pages, allocator } = self;
        let module = module(&format!(
            "(global $is_hostile (mut i32) (i32.const 0))
            (func $hostile (global.set $is_hostile (i32.const 1)) {hostile}) {select} {items}"
        ));
        let begin = "(local $at i32)\n";
        let allocate = |body: &str| format!("{begin} (if (global.get $is_hostile) (then (return {body})))");
        let module = match allocator {
            Some(body) => module.replacen(begin, &allocate(body), 1),
            None => module,
        };
        component(&["select"], &module.replacen("\"memory\") 1)", &format!("\"memory\") {pages})"), 1))
    }

    /// Hostile handshakes, while good ones beside them all succeed and the gateway does not grow.
    #[track_caller]
    fn beside_good_handshakes(&self) -> Beside {
        let (scene, folder) = (scene(), TempDir::new().expect("a scratch folder"));
        let file: PathBuf = folder.path().join("hostile.wasm");
        fs::write(&file, self.component()).expect("a component is written");
        let config =
            scene.config().main_listener("policies = [\"hostile\"]").policy("hostile", &file, TIMEOUT);
        let gateway = Gateway::start(&config);
        let address = gateway.address("main");
        Client::new().get(address, "good.example", "/").expect("a good handshake");
        let before = gateway.memory();
        let hostile = Load::start(2, move || Client::new().connect(address, "x.example").err());
        let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
        hostile.wait_for_rounds(10);
        good.wait_for_rounds(10);
        for response in good.stop() {
            assert_eq!(response.expect("a good handshake").status, 200);
        }
        let outcomes = hostile.stop();
        let after = gateway.memory();
        assert!(after < before + GROWTH, "{before} KiB before, {after} KiB after");
        let calls =
            || gateway.metric("handfast_policy_calls_total", &[("policy", "hostile"), ("hook", "select")]);
        assert!(calls() >= outcomes.len() as f64);
        Beside { gateway, outcomes, _scene: scene, _folder: folder }
    }

    /// Each hostile handshake ends with `internal_error`; log and metrics say so. Returns the outcome line of one.
    #[track_caller]
    fn ends_its_handshakes(&self, kind: &str) -> String {
        let beside = self.beside_good_handshakes();
        let Beside { gateway, outcomes, .. } = &beside;
        for outcome in outcomes {
            assert_eq!(*outcome, Some(Refusal::Alert("internal_error")));
        }
        let line = gateway.wait_for("a hostile handshake's line", |line| {
            line.is("connection") && line.text("server_name") == "x.example"
        });
        assert_eq!((line.text("verdict"), line.text("alert")), ("reject", "internal_error"));
        assert_eq!(line.text("policy_errors"), format!("hostile:{kind}"), "{line}");
        let log = gateway.log_text();
        assert!(log.contains("policy had no verdict") || kind == "invalid-verdict", "{log}");
        let labels = [("policy", "hostile"), ("hook", "select"), ("outcome", kind)];
        assert!(gateway.metric("handfast_policy_calls_total", &labels) > 0.0, "no {kind} at /metrics");
        line.to_string()
    }
}

/// The answer `pass`, without the strings that another answer has in its place.
fn pass_answer() -> String {
    data(16, &[0; 24])
}
