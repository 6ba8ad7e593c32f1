//! Makes components out of core modules in text format, following the canonical ABI by hand. `tests/behaviour` has this
//! file as well.
//!
//! Memory of every guest: the answer of `select` at 16, of `configure` and `admit` at 64, of `validate` at 96, results
//! of imports at 128, the verdict's string at 1,024, the reason at 2,048, other data from 3,072, `cabi_realloc` from
//! 16,384.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub(crate) const WIT: &str = include_str!("../../../../wit/v1/policy.wit");

/// A component that exports these interfaces, from a core module.
pub(crate) fn component(exports: &[&str], module: &str) -> Vec<u8> {
    component_for("1.0.0", "imports", exports, module)
}

/// The same against another version of the interface, or another world of imports.
pub(crate) fn component_for(version: &str, imports: &str, exports: &[&str], module: &str) -> Vec<u8> {
    let wit = WIT.replace("handfast:policy@1.0.0", &format!("handfast:policy@{version}"));
    let wit = wit.replace("/imports@1.0.0", &format!("/imports@{version}"));
    let module = module.replace("@1.0.0", &format!("@{version}"));
    encode(&embedded(&wit, version, imports, "", exports, &module))
}

/// The same against an interface whose text was changed.
pub(crate) fn component_against(change: (&str, &str), exports: &[&str], module: &str) -> Vec<u8> {
    assert!(WIT.contains(change.0), "`{}` is not in the interface", change.0);
    let wit = WIT.replace(change.0, change.1);
    encode(&embedded(&wit, "1.0.0", "imports", "", exports, module))
}

/// The same with a further package, of whose interfaces it imports what the module does.
pub(crate) fn component_with(package: &str, module: &str) -> Vec<u8> {
    encode(&embedded(WIT, "1.0.0", "imports", package, &["select"], module))
}

fn encode(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default().validate(true).module(module).unwrap().encode().unwrap()
}

/// The module, with a description of its world.
pub(crate) fn embedded(
    wit: &str,
    version: &str,
    imports: &str,
    package: &str,
    exports: &[&str],
    module: &str,
) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", wit).unwrap();
    let exports = exports.iter().map(|name| format!("export handfast:policy/{name}@{version};"));
    let exports = exports.collect::<String>();
    // `package a:b@1.0.0 { interface c { … } }`: its interface is imported too.
    let more =
        package.split_whitespace().nth(1).zip(package.split("interface ").nth(1)).map(|(name, rest)| {
            let interface = rest.split_whitespace().next().unwrap_or_default();
            let (name, version) = name.split_once('@').unwrap();
            format!("import {name}/{interface}@{version};")
        });
    let more = more.unwrap_or_default();
    let world = format!(
        "package test:guest; {package} world guest {{ include handfast:policy/{imports}@{version}; {more} {exports} }}"
    );
    let package = resolve.push_str("guest.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();

    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    module
}

/// A module whose `select` runs `body`, and answers what `data` holds at 16.
pub(crate) fn select_module(body: &str, data: &str) -> String {
    module(&format!("{}\n{}", select_function(body), data))
}

pub(crate) fn select_function(body: &str) -> String {
    format!(
        r#"(func (export "handfast:policy/select@1.0.0#select") (param $connection i32) (param $hello i32) (result i32)
            {body}
            (call $drop_connection (local.get $connection))
            (call $drop_hello (local.get $hello))
            (i32.const 16))"#
    )
}

/// Everything around the functions: imports, memory, allocator.
pub(crate) fn module(functions: &str) -> String {
    format!(
        r#"(module
            (import "handfast:policy/types@1.0.0" "[resource-drop]connection" (func $drop_connection (param i32)))
            (import "handfast:policy/types@1.0.0" "[resource-drop]client-hello" (func $drop_hello (param i32)))
            (import "handfast:policy/types@1.0.0" "[resource-drop]certificate" (func $drop_certificate (param i32)))
            (import "handfast:policy/types@1.0.0" "[resource-drop]peer-chain" (func $drop_chain (param i32)))
            (import "handfast:policy/types@1.0.0" "[method]client-hello.server-name"
                (func $server_name (param i32 i32)))
            (import "handfast:policy/types@1.0.0" "[method]certificate.id" (func $id (param i32 i32)))
            (import "handfast:policy/types@1.0.0" "[method]certificate.usable-by"
                (func $usable_by (param i32 i32) (result i32)))
            (import "handfast:policy/types@1.0.0" "[method]peer-chain.certificate"
                (func $chain_certificate (param i32 i32 i32)))
            (import "handfast:policy/types@1.0.0" "[method]peer-certificate.subject" (func $subject (param i32 i32)))
            (import "handfast:policy/certificates@1.0.0" "find" (func $find (param i32 i32 i32)))
            (import "handfast:policy/certificates@1.0.0" "fallback" (func $fallback (param i32)))
            (import "handfast:policy/clock@1.0.0" "monotonic" (func $monotonic (result i64)))
            (import "handfast:policy/random@1.0.0" "bytes" (func $random (param i32 i32)))
            (import "handfast:policy/log@1.0.0" "write" (func $log (param i32 i32 i32)))
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 16384))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            {functions})"#
    )
}

/// Data for the answer of `select`: the number of the verdict's case, its alert or string, and a reason.
pub(crate) fn decision(case: u8, alert: (u8, u8), text: &str, reason: Option<&str>) -> String {
    let payload = match case {
        2 => vec![alert.0, alert.1, 0, 0, 0, 0, 0, 0],
        _ => [1_024_u32, text.len() as u32].iter().flat_map(|it| it.to_le_bytes()).collect(),
    };
    let reason_text = reason.unwrap_or_default();
    let mut bytes = vec![case, 0, 0, 0];
    bytes.extend(payload);
    bytes.extend([u8::from(reason.is_some()), 0, 0, 0]);
    bytes.extend([2_048_u32, reason_text.len() as u32].iter().flat_map(|it| it.to_le_bytes()));
    format!("{} {} {}", data(16, &bytes), data(1_024, text.as_bytes()), data(2_048, reason_text.as_bytes()))
}

pub(crate) fn pass() -> String {
    decision(0, (0, 0), "", None)
}

pub(crate) fn data(at: usize, bytes: &[u8]) -> String {
    let bytes = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    format!(r#"(data (i32.const {at}) "{bytes}")"#)
}

/// A component whose `select` runs `body` and passes.
pub(crate) fn selecting(body: &str) -> Vec<u8> {
    component(&["select"], &select_module(body, &pass()))
}
