//! What a file is: its encoding, and what the component in it imports and exports.
//!
//! Nothing is run or linked here. [`Binary`] refuses what is not a component before anything is compiled;
//! [`Inspection`] judges the compiled component's interface, and says what to do about it where it does not fit.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::LoadError;
use crate::grant::Grant;
use crate::imports::{http, wasi};

/// Which hooks a component exports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hooks {
    pub select: bool,
    pub validate: bool,
    pub admit: bool,
    pub configure: bool,
}

/// What `handfast policy inspect` prints.
#[derive(Debug)]
pub struct Inspection {
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// Bytes of the file.
    pub size: usize,
    /// The version of `handfast:policy` it was built for.
    pub interface_version: Option<String>,
    pub imports: Vec<String>,
    /// What a policy of this component must be granted.
    pub grants: Vec<Grant>,
    pub exports: Vec<String>,
    pub hooks: Hooks,
    /// Why this gateway would not load it.
    pub refused: Option<LoadError>,
}

/// The version of `handfast:policy` in `wit/v1`.
pub(crate) const SUPPORTED: &str = "1.0.0";
const SUPPORTED_MAJOR: u32 = 1;
const SUPPORTED_MINORS: RangeInclusive<u32> = 0..=0;

const PACKAGE: &str = "handfast:policy/";
const LINKED: [&str; 5] = ["types", "log", "certificates", "clock", "random"];

/// Bytes of a component as text, which is parsed in this process and takes many times its size: for tests and demonstrations.
const MAX_TEXT: usize = 256 << 10;

/// A component's bytes in the binary format.
pub(crate) struct Binary<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Of the file as it was given, text or binary.
    pub(crate) digest: String,
    pub(crate) size: usize,
}

impl<'a> Binary<'a> {
    pub(crate) fn parse(bytes: &'a [u8], most: usize) -> Result<Self, LoadError> {
        let size = bytes.len();
        if size > most {
            return Err(LoadError::TooLarge { size, most });
        }
        let digest = hex(&Sha256::digest(bytes));
        let bytes = if bytes.starts_with(b"\0asm") {
            Cow::Borrowed(bytes)
        } else if is_text(bytes) {
            if size > MAX_TEXT {
                return Err(LoadError::TextTooLarge { size, most: MAX_TEXT });
            }
            wat::parse_bytes(bytes).map_err(|error| LoadError::Text(error.into()))?
        } else {
            return Err(LoadError::NotWasm);
        };
        // The preamble: magic, then version and layer, 16 bits each (component model, Binary.md).
        match bytes.get(4..8) {
            Some([0x0d, 0, 1, 0]) => Ok(Self { bytes, digest, size }),
            Some([1, 0, 0, 0]) => Err(LoadError::CoreModule),
            Some(&[a, b, c, d]) => Err(LoadError::Encoding {
                version: u16::from_le_bytes([a, b]),
                layer: u16::from_le_bytes([c, d]),
            }),
            _ => Err(LoadError::NotWasm),
        }
    }
}

impl Inspection {
    /// Whether an import is a language runtime's, for which the gateway stands in without being asked.
    pub fn is_stub(import: &str) -> bool {
        wasi::stands_in_for(import)
    }

    pub(crate) fn of(engine: &Engine, component: &Component, binary: &Binary<'_>) -> Self {
        let types = component.component_type();
        let imports = types.imports(engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        let exports = types.exports(engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();

        let mut hooks = Hooks::default();
        for interface in exports.iter().filter_map(|name| Interface::parse(name)) {
            match interface.name {
                "select" => hooks.select = true,
                "validate" => hooks.validate = true,
                "admit" => hooks.admit = true,
                "configure" => hooks.configure = true,
                _ => {}
            }
        }
        let ours = || exports.iter().chain(&imports).filter_map(|name| Interface::parse(name));
        let interface_version = ours().find_map(|interface| interface.version).map(str::to_owned);
        let refused = refusal(&hooks, &imports, &exports);
        Self {
            digest: binary.digest.clone(),
            size: binary.size,
            interface_version,
            grants: needed_grants(&imports),
            imports,
            exports,
            hooks,
            refused,
        }
    }
}

/// The first reason why a component with these interfaces cannot run here.
fn refusal(hooks: &Hooks, imports: &[String], exports: &[String]) -> Option<LoadError> {
    let unknown_version = exports
        .iter()
        .chain(imports)
        .find(|name| Interface::parse(name).is_some_and(|interface| !interface.is_supported()));
    if let Some(found) = unknown_version {
        return Some(LoadError::InterfaceVersion { found: found.clone(), supported: SUPPORTED });
    }
    if !(hooks.select || hooks.validate || hooks.admit) {
        return Some(LoadError::NoHook { exports: exports.to_vec(), supported: SUPPORTED });
    }
    let unlinked = imports.iter().find(|name| match Interface::parse(name) {
        Some(interface) => !LINKED.contains(&interface.name) && Grant::of_interface(interface.name).is_none(),
        None => !wasi::stands_in_for(name) && !http::provides(name),
    });
    unlinked.map(|import| LoadError::Import { import: import.clone(), remedy: remedy(import) })
}

/// What a policy must be granted to import all these, each once.
fn needed_grants(imports: &[String]) -> Vec<Grant> {
    let mut grants: Vec<_> = imports.iter().filter_map(|import| needed_grant(import)).collect();
    grants.sort_unstable();
    grants.dedup();
    grants
}

/// What a policy must be granted to import this.
pub(crate) fn needed_grant(import: &str) -> Option<Grant> {
    match Interface::parse(import) {
        Some(interface) => Grant::of_interface(interface.name),
        None => http::provides(import).then_some(Grant::Http),
    }
}

fn remedy(import: &str) -> &'static str {
    if import.starts_with(PACKAGE) {
        "build it against the world `handfast:policy/granted-imports`, which has everything there is"
    } else if import.starts_with("wasi:http/") {
        "of `wasi:http` a policy may be granted `types` and `outgoing-handler` of version 0.2; build for that, and leave \
         the rest out of the component's world"
    } else if import.starts_with("wasi:") {
        "of WASI a policy has `cli`, `clocks`, `filesystem`, `io`, `random` and `sockets` of version 0.2, most of it \
         empty, so that language runtimes start; build for WASI 0.2, or let the tool that makes the component stub \
         out the rest"
    } else {
        "a policy imports only interfaces of `handfast:policy`"
    }
}

/// The name of an interface of ours, such as `handfast:policy/select@1.0.0`.
struct Interface<'a> {
    name: &'a str,
    version: Option<&'a str>,
}

impl<'a> Interface<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix(PACKAGE)?;
        Some(match rest.split_once('@') {
            Some((name, version)) => Self { name, version: Some(version) },
            None => Self { name: rest, version: None },
        })
    }

    /// Within 1.x only what this gateway has was there when the component was built; patch levels are equal.
    fn is_supported(&self) -> bool {
        let mut numbers = self.version.unwrap_or_default().splitn(3, '.');
        let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
        match (number(), number(), number()) {
            (Some(major), Some(minor), Some(_)) => {
                major == SUPPORTED_MAJOR && SUPPORTED_MINORS.contains(&minor)
            }
            _ => false,
        }
    }
}

/// Text format begins with a parenthesis, after spaces and comments (`;;` to the end of the line, or `(; ;)`).
fn is_text(bytes: &[u8]) -> bool {
    let begin = bytes.trim_ascii_start();
    begin.starts_with(b"(") || begin.starts_with(b";;")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn patch_levels_are_equal_and_later_versions_are_refused() {
        let supported = |name: &str| Interface::parse(name).unwrap().is_supported();
        assert!(supported("handfast:policy/select@1.0.0"));
        assert!(supported("handfast:policy/select@1.0.7"));
        for name in ["@1.9.0", "@2.0.0", "@0.9.0", "@1.0.0-rc.1", "@1", "@", ""] {
            assert!(!supported(&format!("handfast:policy/select{name}")), "{name}");
        }
    }
}
