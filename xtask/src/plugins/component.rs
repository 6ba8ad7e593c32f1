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
