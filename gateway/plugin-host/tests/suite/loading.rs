//! Why a file is not loaded, in words that help.

use std::error::Error;

use handfast_plugin_host::{Host, HostSettings, LoadError, PolicySettings};

use crate::guest::{component, component_against, component_for, pass, select_module, selecting};
use crate::views::{host, policy, settings};

fn refused(bytes: &[u8]) -> LoadError {
    match host().load("under-test", bytes) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

#[test]
fn refusals_say_what_to_do() {
    let texts = [
        refused(b"#!/bin/sh"),
        refused(b"(module)"),
        refused(b"(component)"),
        refused(&plain("1.9.0", "imports")),
        refused(&plain("2.0.0", "imports")),
        refused(br#"(component (instance $it) (export "edge:policy/select@0.1.0" (instance $it)))"#),
        refused(
            br#"(component
            (import "handfast:policies/log@1.0.0" (instance))
            (instance $it) (export "handfast:policy/select@1.0.0" (instance $it)))"#,
        ),
        refused(
            br#"(component
            (import "handfast:policy/future@1.0.0" (instance))
            (instance $it) (export "handfast:policy/select@1.0.0" (instance $it)))"#,
        ),
        refused(
            br#"(component
            (import "wasi:threads/spawn@0.2.6" (instance))
            (instance $it) (export "handfast:policy/select@1.0.0" (instance $it)))"#,
        ),
    ];
    insta::assert_snapshot!(texts.map(|error| error.to_string()).join("\n"));
}

/// Passes, and touches nothing that another version might lack.
fn plain(version: &str, imports: &str) -> Vec<u8> {
    component_for(version, imports, &["select"], &select_module("", &pass()))
}

#[test]
fn a_component_tells_what_it_is() {
    let bytes = selecting("");
    let plugin = host().load("under-test", &bytes).unwrap();
    assert!(plugin.hooks().select && !plugin.hooks().validate && !plugin.hooks().configure);
    assert_eq!(plugin.interface_version(), "1.0.0");
    assert_eq!((plugin.size(), plugin.digest().len()), (bytes.len(), 64));
    assert!(plugin.imports().contains(&"handfast:policy/types@1.0.0".to_owned()));
}

#[test]
fn what_is_not_webassembly_is_said_to_be_none() {
    for bytes in [&b""[..], b"\x7fELF\x02", b"#!/bin/sh", b"\0asm"] {
        assert!(matches!(refused(bytes), LoadError::NotWasm), "{bytes:?}");
    }
    assert!(matches!(refused(b"\0asm\x01\0\x07\0"), LoadError::Encoding { version: 1, layer: 7 }));
}

#[test]
fn text_is_taken_too_and_its_mistakes_are_shown() {
    assert!(matches!(refused(b"(component)"), LoadError::NoHook { .. }));
    let error = refused(b"(component (nonsense))");
    assert!(matches!(error, LoadError::Text(_)));
    assert!(error.source().unwrap().to_string().contains("nonsense"));
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    for bytes in [&b"\0asm\x01\0\0\0"[..], b"(module)"] {
        let error = refused(bytes);
        assert!(matches!(error, LoadError::CoreModule));
        assert!(error.to_string().contains("wasm-tools component new"));
    }
}

#[test]
fn a_component_without_a_hook_is_told_what_it_exports_instead() {
    let error = refused(&component(
        &["configure"],
        &crate::guest::module(
            r#"(func (export "handfast:policy/configure@1.0.0#configure") (param i32 i32) (result i32) (i32.const 64))"#,
        ),
    ));
    assert!(matches!(error, LoadError::NoHook { .. }));
    assert!(error.to_string().contains("exports `handfast:policy/configure@1.0.0`"), "{error}");

    let error = refused(br#"(component (instance $it) (export "edge:policy/select@0.1.0" (instance $it)))"#);
    assert!(error.to_string().contains("exports `edge:policy/select@0.1.0`"), "{error}");
}

#[test]
fn another_version_of_the_interface_is_named() {
    for version in ["1.9.0", "2.0.0"] {
        let error = refused(&plain(version, "imports"));
        assert!(matches!(error, LoadError::InterfaceVersion { .. }), "{error}");
        assert!(error.to_string().contains(&format!("@{version}`")), "{error}");
    }
}

#[tokio::test]
async fn another_patch_level_of_the_interface_runs() {
    let policy = policy(&plain("1.0.3", "imports"), settings()).await.unwrap();
    crate::views::select(&policy).await.unwrap();
}

#[test]
fn an_import_of_other_types_is_refused_when_loaded() {
    let bytes = component_against(
        ("monotonic: func() -> u64", "monotonic: func() -> s64"),
        &["select"],
        &select_module("(drop (call $monotonic))", &pass()),
    );
    assert!(matches!(refused(&bytes), LoadError::ImportType { .. }));
}

#[tokio::test]
async fn a_hook_of_other_types_is_refused_before_it_is_called() {
    let bytes = component_against(
        ("reason: option<string>,", "reason: option<list<u8>>,"),
        &["select"],
        &select_module("", &pass()),
    );
    let Err(error) = policy(&bytes, settings()).await else { panic!("it was accepted") };
    assert!(matches!(error, LoadError::ExportType { interface: "select", .. }), "{error}");
}

#[test]
fn a_truncated_or_damaged_component_is_invalid() {
    let mut bytes = selecting("");
    assert!(matches!(refused(&bytes[..bytes.len() / 2]), LoadError::Invalid(_)));
    bytes[9] ^= 0xff;
    assert!(matches!(refused(&bytes), LoadError::Invalid(_)));
}

#[test]
fn a_component_above_the_cap_is_not_even_parsed() {
    let host =
        Host::new(HostSettings { max_instances: 1, max_component: 7, ..HostSettings::default() }).unwrap();
    let error = host.inspect(b"no wasm!").unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { size: 8, most: 7 }), "{error}");
}

#[tokio::test]
async fn a_configuration_above_the_cap_is_refused() {
    let config = format!("{{\"a\":\"{}\"}}", "a".repeat(1 << 20));
    let settings = handfast_plugin_host::PolicySettings { config, ..settings() };
    let Err(error) = policy(&selecting(""), settings).await else { panic!("it was accepted") };
    assert!(matches!(error, LoadError::ConfigTooLarge { .. }), "{error}");
}

#[test]
fn inspection_lists_the_interface_even_of_what_would_be_refused() {
    let inspection = host().inspect(&plain("1.9.0", "imports")).unwrap();
    assert_eq!(inspection.interface_version.as_deref(), Some("1.9.0"));
    assert!(inspection.hooks.select);
    assert_eq!(inspection.exports, ["handfast:policy/select@1.9.0"]);
    assert!(matches!(inspection.refused, Some(LoadError::InterfaceVersion { .. })));
    assert!(host().inspect(&selecting("")).unwrap().refused.is_none());
}

/// Once it was dropped without a word, and so was what it was to keep out.
#[tokio::test]
async fn a_configuration_that_nobody_reads_is_refused() {
    let with = |config: &str| policy_with(config.to_owned());
    for empty in ["{}", "{ }\n"] {
        with(empty).await.unwrap();
    }
    assert!(matches!(with(r#"{"limit":5}"#).await, Err(LoadError::NoConfigure)));
}

async fn policy_with(config: String) -> Result<(), LoadError> {
    let settings = PolicySettings { config, ..settings() };
    policy(&selecting(""), settings).await.map(drop)
}
