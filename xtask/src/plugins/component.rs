//! From a core module to a component. Called by `plugins`; knows nothing of how the module came to be.

use anyhow::{Context, Result, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Makes the component that the sections left by `wit-bindgen` describe, and validates it.
pub(super) fn from_module(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module does not describe its world")?
        .encode()
        .context("the module does not fit the world it describes")
}

/// The module without the names of its functions: without the custom section `name`.
pub(super) fn without_names(module: &[u8]) -> Result<Vec<u8>> {
    let (preamble, mut rest) = module.split_at_checked(8).context("too short for a module")?;
    let mut kept = preamble.to_vec();
    while let Some((id, body)) = rest.split_first() {
        let (length, content) = length(body)?;
        let (content, after) = content.split_at_checked(length).context("a section ends after the module")?;
        // Section 0 is a custom one; its name has its length before it.
        if *id != 0 || !content.starts_with(b"\x04name") {
            kept.extend_from_slice(rest.get(..rest.len() - after.len()).unwrap_or_default());
        }
        rest = after;
    }
    Ok(kept)
}

/// An unsigned LEB128 number, and what follows it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Ok((value, bytes.get(position + 1..).unwrap_or_default()));
        }
    }
    anyhow::bail!("a section has no length")
}

/// Whether all imports of a component begin with `prefix`.
pub(super) fn imports_only(component: &[u8], prefix: &str) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        anyhow::bail!("a WIT package, no component");
    };
    let world = resolve.worlds.get(world).context("a component has a world")?;
    for key in world.imports.keys() {
        let name = resolve.name_world_key(key);
        ensure!(name.starts_with(prefix), "it imports {name}; only {prefix}* is allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_are_taken_out() {
        let module = [
            b"\0asm\x01\0\0\0".as_slice(),
            b"\x00\x07\x04name\x01\x00",
            b"\x00\x06\x05names",
            b"\x00\x85\x00\x04name",
            b"\x01\x01\x00",
        ];
        let kept = [module[0], module[2], module[4]].concat();
        assert_eq!(without_names(&module.concat()).unwrap(), kept);
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        assert!(without_names(b"\0asm").is_err());
        assert!(without_names(b"\0asm\x01\0\0\0\x00\x07\x04name").is_err());
        assert!(without_names(b"\0asm\x01\0\0\0\x00\xff\xff").is_err());
    }
}
