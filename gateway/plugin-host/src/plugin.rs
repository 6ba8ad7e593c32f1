//! A component that may run: compiled, checked and linked once, instantiated any number of times.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::handfast::policy::{admit, configure, select, validate};
use crate::component::{Hooks, Inspection, SUPPORTED, hex};
use crate::error::LoadError;
use crate::grant::Grant;
use crate::host::Host;
use crate::imports::{State, http, wasi};

/// A plugin without configuration. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    shared: Arc<Shared>,
}

struct Shared {
    linked: InstancePre<State>,
    exports: Exports,
    inspection: Inspection,
    host: Host,
}

/// Where the hooks are in the component, found once: per call this leaves 0.06 µs for the typed function.
pub(crate) struct Exports {
    pub(crate) select: Option<select::GuestIndices>,
    pub(crate) validate: Option<validate::GuestIndices>,
    pub(crate) admit: Option<admit::GuestIndices>,
    pub(crate) configure: Option<configure::GuestIndices>,
}

impl Plugin {
    pub fn hooks(&self) -> Hooks {
        self.shared.inspection.hooks
    }

    /// SHA-256 of the file, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.shared.inspection.digest
    }

    /// Whether this is what its file held.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.size() && hex(&Sha256::digest(bytes)) == self.digest()
    }

    /// The version of `handfast:policy` it was built for.
    pub fn interface_version(&self) -> &str {
        self.shared.inspection.interface_version.as_deref().unwrap_or(SUPPORTED)
    }

    pub fn imports(&self) -> &[String] {
        &self.shared.inspection.imports
    }

    /// What a policy of it must be granted.
    pub fn grants(&self) -> &[Grant] {
        &self.shared.inspection.grants
    }

    /// Bytes of the file.
    pub fn size(&self) -> usize {
        self.shared.inspection.size
    }

    pub(crate) fn link(
        host: &Host,
        linker: &Linker<State>,
        component: &Component,
        mut inspection: Inspection,
    ) -> Result<Self, LoadError> {
        if let Some(refused) = inspection.refused.take() {
            return Err(refused);
        }
        let (linked, exports) = Self::check(linker, component, &inspection)?;
        Ok(Self { shared: Arc::new(Shared { linked, exports, inspection, host: host.clone() }) })
    }

    /// What is imported is there, and so are the functions of the hooks. Their types are compared in the first instance.
    pub(crate) fn check(
        linker: &Linker<State>,
        component: &Component,
        inspection: &Inspection,
    ) -> Result<(InstancePre<State>, Exports), LoadError> {
        let linked = link(linker, component, inspection)
            .map_err(|error| LoadError::ImportType { supported: SUPPORTED, source: error.into() })?;
        let hooks = inspection.hooks;
        let exports = Exports {
            select: found(hooks.select, "select", || select::GuestIndices::new(&linked))?,
            validate: found(hooks.validate, "validate", || validate::GuestIndices::new(&linked))?,
            admit: found(hooks.admit, "admit", || admit::GuestIndices::new(&linked))?,
            configure: found(hooks.configure, "configure", || configure::GuestIndices::new(&linked))?,
        };
        Ok((linked, exports))
    }

    pub(crate) fn host(&self) -> &Host {
        &self.shared.host
    }

    pub(crate) fn linked(&self) -> &InstancePre<State> {
        &self.shared.linked
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.shared.exports
    }
}

/// A component that imports WASI is linked with what it imports of it, and by a linker of its own.
fn link(
    linker: &Linker<State>,
    component: &Component,
    inspection: &Inspection,
) -> wasmtime::Result<InstancePre<State>> {
    if !inspection.imports.iter().any(|import| wasi::stands_in_for(import) || http::provides(import)) {
        return linker.instantiate_pre(component);
    }
    let mut linker = linker.clone();
    wasi::link(&mut linker, component)?;
    linker.instantiate_pre(component)
}

fn found<T>(
    exported: bool,
    interface: &'static str,
    look_up: impl FnOnce() -> wasmtime::Result<T>,
) -> Result<Option<T>, LoadError> {
    let index = exported.then(look_up).transpose();
    index.map_err(|error| LoadError::ExportType { interface, source: error.into() })
}
