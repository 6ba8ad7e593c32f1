//! From a core module of any compiler to a component. Called by `languages`; knows nothing of toolchains.
//!
//! Bindings generators leave a description of the world in the module, and with it every hook of that world, implemented
//! or not. Compilers without a generator leave nothing. So the world is read from what the module itself imports and
//! exports (`handfast:policy/log@1.0.0` `write`, `handfast:policy/select@1.0.0#select`): the component then has exactly
//! the hooks and imports that its author used. The encoder compares each function's type with `wit/v1` and validates
//! what it made, so a binding that is wrong does not become a component.

use std::{collections::BTreeSet, fmt::Write};

use anyhow::{Context, Result, ensure};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const INTERFACE: &str = include_str!("../../../wit/v1/policy.wit");
const PREVIEW1: &str = "wasi_snapshot_preview1";
const ADAPTER: &str = include_str!("preview1.wat");

/// What `handfast:policy` interfaces a module names, and whether it wants WASI.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    preview1: bool,
    /// A bindings generator has said all this already.
    described: bool,
}

/// Makes a component of a core module, and validates it.
pub(crate) fn from_module(module: &[u8]) -> Result<Vec<u8>> {
    let needs = Needs::of(module)?;
    let module = if needs.described { module.to_vec() } else { with_world(module, &needs, "policy")? };

    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    if needs.preview1 {
        let adapter = wat::parse_str(ADAPTER)?;
        let adapter = with_world(&adapter, &Needs::of(&adapter)?, "preview1")?;
        encoder.adapter(PREVIEW1, &adapter).context("the stand-in for WASI does not fit")?;
    }
    encoder
        .module(&module)
        .context("the module does not describe its world")?
        .encode()
        .context("the module does not fit the interface in wit/v1")
}

impl Needs {
    fn of(module: &[u8]) -> Result<Self> {
        let mut needs = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.context("not a WebAssembly module")? {
                Payload::Version { encoding, .. } => {
                    ensure!(encoding == wasmparser::Encoding::Module, "already a component");
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let from = import?.module.to_owned();
                        needs.preview1 |= from == PREVIEW1;
                        if from.starts_with("handfast:policy/") {
                            needs.imports.insert(from);
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        if let Some((interface, _)) = export?.name.split_once('#')
                            && interface.starts_with("handfast:policy/")
                        {
                            needs.exports.insert(interface.to_owned());
                        }
                    }
                }
                Payload::CustomSection(section) => {
                    needs.described |= section.name().starts_with("component-type");
                }
                _ => {}
            }
        }
        Ok(needs)
    }

    /// The world with these and nothing else. The module and the stand-in are merged later, so their worlds differ by name.
    fn world(&self, name: &str) -> String {
        let mut world = format!("package handfast:built-{name};\nworld {name} {{\n");
        for (keyword, interfaces) in [("import", &self.imports), ("export", &self.exports)] {
            for interface in interfaces {
                // Writing to a string cannot fail.
                let _ = writeln!(world, "    {keyword} {interface};");
            }
        }
        world + "}\n"
    }
}

fn with_world(module: &[u8], needs: &Needs, name: &str) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", INTERFACE)?;
    let package = resolve
        .push_str("world.wit", &needs.world(name))
        .context("the module names an interface that wit/v1 does not have")?;
    let world = resolve.select_world(&[package], Some(name))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_bindings_becomes_what_it_imports_and_exports() {
        let component = from_module(&wat::parse_str(MODULE).unwrap()).unwrap();
        let (imports, exports) = interfaces(&component);
        // What the functions mention comes along.
        assert_eq!(imports, ["handfast:policy/log@1.0.0", "handfast:policy/types@1.0.0"]);
        assert_eq!(exports, ["handfast:policy/admit@1.0.0"]);
    }

    #[test]
    fn what_a_runtime_wants_of_wasi_is_taken_from_the_interface() {
        let module = MODULE.replace(
            "(import",
            "(import \"wasi_snapshot_preview1\" \"random_get\" (func (param i32 i32) (result i32))) (import",
        );
        let (imports, _) = interfaces(&from_module(&wat::parse_str(module).unwrap()).unwrap());
        assert!(imports.contains(&"handfast:policy/random@1.0.0".to_owned()), "{imports:?}");
        assert!(imports.iter().all(|import| import.starts_with("handfast:policy/")), "{imports:?}");
    }

    #[test]
    fn a_binding_that_does_not_fit_the_interface_is_an_error() {
        let module = MODULE.replace("(param $level i32)", "(param $level i64)");
        assert!(from_module(&wat::parse_str(module).unwrap()).is_err());
        let module = MODULE.replace("policy/log@", "policy/lag@");
        let error = from_module(&wat::parse_str(module).unwrap()).unwrap_err();
        assert!(error.to_string().contains("wit/v1 does not have"), "{error:#}");
    }

    const MODULE: &str = r#"(module
        (import "handfast:policy/log@1.0.0" "write" (func (param $level i32) (param i32 i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
        (func (export "handfast:policy/admit@1.0.0#admit") (param i32) (result i32) unreachable))"#;

    fn interfaces(component: &[u8]) -> (Vec<String>, Vec<String>) {
        let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(component).unwrap()
        else {
            panic!("a component");
        };
        let world = &resolve.worlds[world];
        let names = |keys: &mut dyn Iterator<Item = &wit_parser::WorldKey>| {
            keys.map(|key| resolve.name_world_key(key)).collect()
        };
        (names(&mut world.imports.keys()), names(&mut world.exports.keys()))
    }
}
