//! What is hostile before anything of it is called: files dropped in for a policy that is in use. Each is refused with
//! one line that says why, the last good one goes on judging, and no handshake notices.

use std::fs::{self, File};
use std::path::Path;

use handfast_tests::{Client, Gateway, Load, eventually, plugin};

use super::{GROWTH, TIMEOUT, scene};
use crate::guest::{component, module, pass, select_function, select_module};

#[test]
fn a_loop_in_configure() {
    configured_by("(loop $forever (br $forever))", "did not answer within 100 ms");
}

#[test]
fn a_trap_in_configure() {
    configured_by("unreachable", "trapped: wasm `unreachable` instruction executed");
}

#[test]
fn memory_in_configure() {
    let grow = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    configured_by(grow, "more than its 16777216 bytes of memory");
}

#[test]
fn a_trap_at_the_start() {
    starts_with("unreachable", "trapped: wasm `unreachable` instruction executed");
}

#[test]
fn a_loop_at_the_start() {
    starts_with("(loop $forever (br $forever))", "did not answer within 100 ms");
}

#[test]
fn memory_from_the_start() {
    let module = select_module("", &pass()).replacen("\"memory\") 1)", "\"memory\") 900)", 1);
    is_kept_out(&component(&["select"], &module), "more than its 16777216 bytes of memory");
}

#[test]
fn a_thousand_imports() {
    let imports = (0..1_000).map(|number| format!("(import \"a:b/c{number}\" (func))"));
    let hook = "(instance $it) (export \"handfast:policy/select@1.0.0\" (instance $it))";
    let text = format!("(component {} {hook})", imports.collect::<String>());
    is_kept_out(text.as_bytes(), "imports `a:b/c0`, which this gateway does not provide");
}

#[test]
fn a_compile_bomb_of_50_000_functions() {
    is_kept_out(&bomb(50_000), "has 50000 functions; at most 40000 are compiled");
}

#[test]
fn a_compile_bomb_that_keeps_within_the_counts() {
    is_kept_out(&bomb(40_000), "MiB of memory, the bound for one of its size");
}

#[test]
fn a_file_of_100_megabytes() {
    is_kept_out_as(
        |staged| {
            fs::write(staged, b"\0asm\x0d\0\x01\0").expect("a file is written");
            let file = File::options().write(true).open(staged).expect("a file is opened");
            file.set_len(100 << 20).expect("a file is made longer");
        },
        "has 104857600 bytes, and at most 67108864 are read",
    );
}

#[test]
fn a_truncated_file() {
    let good = fs::read(plugin("guest-probe")).expect("a plugin is read");
    for length in [good.len() / 2, good.len() - 1, 9] {
        is_kept_out(&good[..length], "damaged, cut off");
    }
}

#[test]
fn random_bytes() {
    // A fixed generator (xorshift), so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    let bytes: Vec<u8> = (0..50_000).map(|_| byte()).collect();
    is_kept_out(&bytes, "this is not WebAssembly");
    is_kept_out(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat(), "damaged, cut off");
}

#[track_caller]
fn configured_by(body: &str, error: &str) {
    let configure = format!(
        r#"(func (export "handfast:policy/configure@1.0.0#configure") (param i32 i32) (result i32)
            {body} (i32.const 64))"#
    );
    let module = module(&format!("{configure} {} {}", select_function(""), pass()));
    is_kept_out(&component(&["select", "configure"], &module), error);
}

#[track_caller]
fn starts_with(body: &str, error: &str) {
    let module = select_module("", &pass()).replacen(
        "(memory ",
        &format!("(func $begin {body}) (start $begin) (memory "),
        1,
    );
    is_kept_out(&component(&["select"], &module), error);
}

#[track_caller]
fn is_kept_out(bytes: &[u8], error: &str) {
    is_kept_out_as(|staged| fs::write(staged, bytes).expect("a file is written"), error);
}

/// Puts a hostile file in a good one's place and the good one back, while handshakes go on.
#[track_caller]
fn is_kept_out_as(write: impl FnOnce(&Path), error: &str) {
    let scene = scene();
    let file = scene.certificates.path().join("policy.wasm");
    let staged = file.with_extension("staged");
    fs::copy(plugin("guest-probe"), &file).expect("a plugin is copied");
    let config = scene.config().main_listener("policies = [\"probe\"]").policy("probe", &file, TIMEOUT);
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let good = Load::start(2, move || Client::new().get(address, "good.example", "/"));
    good.wait_for_rounds(5);
    let before = gateway.memory();

    write(&staged);
    fs::rename(&staged, &file).expect("a file is renamed");
    let line = gateway.wait_for("the refusal", |line| line.is("policy not replaced"));
    assert!(line.text("error").contains(error), "{line}");
    good.wait_for_rounds(10);
    let kept = [("what", "policy"), ("name", "probe"), ("outcome", "kept")];
    assert!(gateway.metric("handfast_reloads_total", &kept) >= 1.0);

    fs::copy(plugin("guest-probe"), &staged).expect("a plugin is copied");
    fs::rename(&staged, &file).expect("a plugin is renamed");
    gateway.wait_for("the recovery", |line| line.is("policy file is good again"));
    good.wait_for_rounds(5);
    for response in good.stop() {
        assert_eq!(response.expect("a good handshake").status, 200);
    }
    eventually("the memory to be given back", || {
        let after = gateway.memory();
        (after < before + GROWTH).then_some(())
    });
}

/// A component of a module with so many functions that do nothing: four bytes each.
fn bomb(functions: usize) -> Vec<u8> {
    let count = leb128(functions);
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 0, 0]),
        section(3, &[count.clone(), vec![0; functions]].concat()),
        section(10, &[count, [2, 0, 0x0b].repeat(functions)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module.concat())].concat()
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [vec![id], leb128(body.len()), body.to_vec()].concat()
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
