//! From a core module of any compiler to a component.
//!
//! Bindings generators leave a description of the world in the module, and with it every hook of that world, implemented
//! or not. Compilers without a generator leave nothing. So the world is read from what the module itself imports and
//! exports (`handfast:policy/log@1.0.0` `write`, `handfast:policy/select@1.0.0#select`): the component then has exactly
//! the hooks and imports that its author used. The encoder compares each function's type with `wit/v1` and validates
//! what it made, so a binding that is wrong does not become a component.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wasmparser::{Encoding, Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const INTERFACE: &str = include_str!("../../../wit/v1/policy.wit");
const PREVIEW1: &str = "wasi_snapshot_preview1";
const ADAPTER: &str = include_str!("preview1.wat");
/// What the stand-in imports of WASI 0.2: the SDKs' cut of `wasi:io`, and standard output.
const STREAMS: &str = include_str!("../../../plugins/sdk/python/handfast_policy/wasi/io.wit");
const OUTPUT: &str = "package wasi:cli@0.2.0;\n\
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }\n\
    interface stderr { use wasi:io/streams@0.2.0.{output-stream}; get-stderr: func() -> output-stream; }\n";

type Source = Box<dyn StdError + Send + Sync>;

/// Why a module becomes no component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    #[error("this is no WebAssembly module: {0}")]
    Malformed(Source),
    #[error("this is a component already")]
    Component,
    #[error("the module names an interface or a type that wit/v1 does not have")]
    World(#[source] Source),
    #[error("the module's own description of its world does not read")]
    Description(#[source] Source),
    #[error("the stand-in for WASI does not fit")]
    Preview1(#[source] Source),
    #[error(
        "the module's functions do not have the types of the interface: build it with the SDK of this gateway"
    )]
    Types(#[source] Source),
}

/// Makes a component of a core module, and validates it.
pub fn from_module(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    let needs = Needs::of(module)?;
    let module = if needs.described { module.to_vec() } else { with_world(module, &needs, "policy")? };

    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    if needs.preview1 {
        let misfit = |error: wat::Error| ComponentError::Preview1(error.into());
        let adapter = wat::parse_str(ADAPTER).map_err(misfit)?;
        let adapter = with_world(&adapter, &Needs::of(&adapter)?, "preview1")?;
        encoder.adapter(PREVIEW1, &adapter).map_err(|error| ComponentError::Preview1(error.into()))?;
    }
    encoder.module(&module).map_err(|error| ComponentError::Description(error.into()))?;
    encoder.encode().map_err(|error| ComponentError::Types(error.into()))
}

/// The module without debugging information, which is never read: traps are explained with the names of functions, which
/// stay.
pub(crate) fn stripped(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    without_sections(module, |name| name.starts_with(".debug_") || name == "sourceMappingURL")
}

/// The module without the names of its functions: without the custom section `name`.
pub fn without_names(module: &[u8]) -> Result<Vec<u8>, ComponentError> {
    without_sections(module, |name| name == "name")
}

/// The interfaces that a component imports.
pub fn imports(component: &[u8]) -> Result<Vec<String>, ComponentError> {
    let malformed = |text: &str| ComponentError::Malformed(text.into());
    let decoded =
        wit_component::decode(component).map_err(|error| ComponentError::Malformed(error.into()))?;
    let DecodedWasm::Component(resolve, world) = decoded else { return Err(malformed("a WIT package")) };
    let world = resolve.worlds.get(world).ok_or_else(|| malformed("a component without a world"))?;
    Ok(world.imports.keys().map(|key| resolve.name_world_key(key)).collect())
}

/// Writes a component by a rename, and only if it differs: a gateway may be watching the file. What is there and is no file
/// stays, since root's rename would take the place of `/dev/null`, too.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no file"));
    }
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // A name that nobody could have guessed and put a link under: the folder may be one that others write to.
    let mut new = tempfile::Builder::new()
        .prefix(".")
        .suffix(".new")
        // As for every file that is made: the umask takes from it.
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    new.write_all(bytes)?;
    new.persist(path).map(drop).map_err(|failed| failed.error)
}

/// What a world may be made of.
const PACKAGES: [&str; 3] = ["handfast:policy/", "wasi:cli/", "wasi:io/"];

/// What interfaces a module names, and whether it wants WASI preview 1.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    imports: BTreeSet<String>,
    exports: BTreeSet<String>,
    preview1: bool,
    /// A bindings generator has said all this already.
    described: bool,
}

impl Needs {
    fn of(module: &[u8]) -> Result<Self, ComponentError> {
        let malformed = |error: wasmparser::BinaryReaderError| ComponentError::Malformed(error.into());
        let mut needs = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(malformed)? {
                Payload::Version { encoding: Encoding::Component, .. } => {
                    return Err(ComponentError::Component);
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let from = import.map_err(malformed)?.module.to_owned();
                        needs.preview1 |= from == PREVIEW1;
                        if PACKAGES.iter().any(|package| from.starts_with(package)) {
                            needs.imports.insert(from);
                        }
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        if let Some((interface, _)) = export.map_err(malformed)?.name.split_once('#')
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

fn with_world(module: &[u8], needs: &Needs, name: &str) -> Result<Vec<u8>, ComponentError> {
    let mut resolve = Resolve::default();
    let mut module = module.to_vec();
    resolve
        .push_str("policy.wit", INTERFACE)
        .and_then(|_| resolve.push_str("io.wit", STREAMS))
        .and_then(|_| resolve.push_str("cli.wit", OUTPUT))
        .and_then(|_| resolve.push_str("world.wit", &needs.world(name)))
        .and_then(|package| resolve.select_world(&[package], Some(name)))
        .and_then(|world| embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false))
        .map_err(|error| ComponentError::World(error.into()))?;
    Ok(module)
}

/// The module without the custom sections of some names.
fn without_sections(module: &[u8], unwanted: impl Fn(&str) -> bool) -> Result<Vec<u8>, ComponentError> {
    let cut_off = || ComponentError::Malformed("it is cut off".into());
    let (preamble, mut rest) = module.split_at_checked(8).ok_or_else(cut_off)?;
    let mut kept = preamble.to_vec();
    while let Some((id, body)) = rest.split_first() {
        let (size, content) = length(body).ok_or_else(cut_off)?;
        let (content, after) = content.split_at_checked(size).ok_or_else(cut_off)?;
        // Section 0 is a custom one; its name has its length before it.
        let name = || length(content).and_then(|(size, name)| str::from_utf8(name.get(..size)?).ok());
        if *id != 0 || !name().is_some_and(&unwanted) {
            kept.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default());
        }
        rest = after;
    }
    Ok(kept)
}

/// An unsigned LEB128 number, and what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(position + 1..).unwrap_or_default()));
        }
    }
    None
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

    /// Once, a library that might read a file, though it never did, was told to be built with this gateway's SDK.
    #[test]
    fn whatever_a_module_imports_of_wasi_preview_1_is_there() {
        let adapter = wat::parse_str(ADAPTER).unwrap();
        let resolved = wasmparser::Validator::new().validate_all(&adapter).unwrap();
        let resolved = resolved.as_ref();
        let named = PREVIEW1_FUNCTIONS.split_whitespace().collect::<BTreeSet<_>>();
        let mut imported = String::new();
        let mut exported = BTreeSet::new();
        for payload in Parser::new(0).parse_all(&adapter) {
            let Payload::ExportSection(exports) = payload.unwrap() else { continue };
            for export in exports {
                let export = export.unwrap();
                exported.insert(export.name);
                let function = resolved.core_function_at(export.index);
                let ty = resolved[function].unwrap_func();
                let list = |keyword: &str, types: &[wasmparser::ValType]| match types {
                    [] => String::new(),
                    types => {
                        let types: Vec<_> = types.iter().map(ToString::to_string).collect();
                        format!(" ({keyword} {})", types.join(" "))
                    }
                };
                imported += &format!(
                    "(import \"{PREVIEW1}\" \"{}\" (func{}{}))\n",
                    export.name,
                    list("param", ty.params()),
                    list("result", ty.results())
                );
            }
        }
        assert_eq!(exported, named);
        let module = MODULE.replacen("(import", &format!("{imported}(import"), 1);
        let (imports, _) = interfaces(&from_module(&wat::parse_str(module).unwrap()).unwrap());
        let wasi: Vec<_> = imports.iter().filter(|import| import.starts_with("wasi:")).collect();
        assert!(!wasi.is_empty() && wasi.iter().all(|import| import.ends_with("@0.2.0")), "{imports:?}");
    }

    #[test]
    fn a_binding_that_does_not_fit_the_interface_is_an_error() {
        let module = MODULE.replace("(param $level i32)", "(param $level i64)");
        assert!(from_module(&wat::parse_str(module).unwrap()).is_err());
        let module = MODULE.replace("policy/log@", "policy/lag@");
        let error = from_module(&wat::parse_str(module).unwrap()).unwrap_err();
        assert!(error.to_string().contains("wit/v1 does not have"), "{error}");
        assert!(matches!(from_module(b"#!/bin/sh"), Err(ComponentError::Malformed(_))));
        assert!(matches!(from_module(b"\0asm\x0d\0\x01\0"), Err(ComponentError::Component)));
    }

    /// Once, its name was known beforehand, and a link there was written through.
    #[test]
    fn a_component_is_written_through_no_link_and_with_the_mode_of_any_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("policy.wasm"), folder.path().join("other"));
        fs::write(&other, "untouched").unwrap();
        let guessed = path.with_extension(format!("{}.new", std::process::id()));
        std::os::unix::fs::symlink(&other, guessed).unwrap();
        for bytes in ["one", "two"] {
            replace(&path, bytes.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), bytes);
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&other));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3, "nothing is left beside it");
    }

    /// Once, `handfast policy build --output /dev/null` made a file of it.
    #[test]
    fn what_is_there_and_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, link) = (folder.path().join("socket"), folder.path().join("link"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        for path in [socket.as_path(), link.as_path(), folder.path()] {
            let before = fs::symlink_metadata(path).unwrap().file_type();
            assert!(replace(path, b"a component").unwrap_err().to_string().contains("no file"));
            assert_eq!(fs::symlink_metadata(path).unwrap().file_type(), before);
        }
    }

    #[test]
    fn only_the_names_are_taken_out() {
        let module = [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x00\x07\x04name\x01\x00",
            b"\x00\x06\x05names",
            b"\x00\x0c\x0b.debug_line",
            b"\x01\x01\x00",
        ];
        let without = |left_out: usize| {
            module
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != left_out)
                .flat_map(|(_, part)| part.to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(without_names(&module.concat()).unwrap(), without(1));
        assert_eq!(stripped(&module.concat()).unwrap(), without(3));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        assert!(without_names(b"\0asm").is_err());
        assert!(without_names(b"\0asm\x01\0\0\0\x00\x07\x04name").is_err());
        assert!(without_names(b"\0asm\x01\0\0\0\x00\xff\xff").is_err());
    }

    /// Of wasi_snapshot_preview1.witx, all of them.
    const PREVIEW1_FUNCTIONS: &str = "args_get args_sizes_get clock_res_get clock_time_get environ_get \
        environ_sizes_get fd_advise fd_allocate fd_close fd_datasync fd_fdstat_get fd_fdstat_set_flags \
        fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size fd_filestat_set_times fd_pread \
        fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir fd_renumber fd_seek fd_sync fd_tell \
        fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open \
        path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit \
        proc_raise random_get sched_yield sock_accept sock_recv sock_send sock_shutdown";

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
