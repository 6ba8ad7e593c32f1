//! The engine that all policies share: its configuration, its pool, its clock.
//!
//! # Why a pool, and these figures
//!
//! A fresh instance per handshake is what keeps connections apart, so making one must cost next to nothing. Measured
//! with small Rust guests, whole call, p50: memory mapped on demand 35 µs, pooled 20 µs, pooled and kept resident, with
//! a guest that does not grow its memory, 5 µs and no system call.
//!
//! - `linear_memory_keep_resident` and `table_keep_resident`: that much of a used slot is cleared with `memset`,
//!   the rest with `madvise`, whose lock and TLB shoot-downs made throughput *fall* with a second core.
//! - `pagemap_scan` would clear only what was written, and stays off: wasmtime 48 takes a page that was written and
//!   then swapped out for a clean one, and hands it to the next guest (fixed in 50).
//! - `concurrency_support(false)`: the component model's own async costs half as much again per call, and no function
//!   of the interface is async.
//! - Fuel is not used: it costs interpreters 5–30 %, and the clock ends loops as well.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::cache::CodeCache;
use crate::census;
use crate::clock::Clock;
use crate::compiler::Compiler;
use crate::component::{Binary, Inspection};
use crate::error::{FRAMES, HostError, LoadError};
use crate::imports::{self, State};
use crate::kept::Registry;
use crate::limits::{MAX_MEMORY, TABLE_ELEMENTS};
use crate::overtime::Overtime;
use crate::plugin::Plugin;
use crate::priority::behind_the_workers;

#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Where compiled code is kept between runs. `None`: nowhere.
    pub code_cache: Option<PathBuf>,
    /// Instances alive at once, of all policies. 4 GiB of address space are reserved for each of their memories, and
    /// `vm.max_map_count` (65,530) allows for some 10,000.
    pub max_instances: u32,
    /// Bytes of linear memory of all policies' instances together, without the first MiB of each. One policy has at most as
    /// much as it leaves free.
    pub max_memory: usize,
    /// Bytes of one component file.
    pub max_component: usize,
    /// Who compiles. `None`: this process, without bounds; for components that are trusted.
    pub compiler: Option<Compiler>,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            code_cache: None,
            max_instances: 1_000,
            max_memory: 256 << 20,
            max_component: 64 << 20,
            compiler: None,
        }
    }
}

/// Loads plugins and lends them an engine. Cheap to clone; the last clone (plugins and policies hold one each) stops
/// the clock.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    linker: Linker<State>,
    registry: Registry,
    code_cache: Option<CodeCache>,
    max_component: usize,
    compiler: Option<Compiler>,
    engine: Engine,
    clock: Clock,
    overtime: Overtime,
}

impl Host {
    pub fn new(settings: HostSettings) -> Result<Self, HostError> {
        let instances = settings.max_instances.max(1);
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances)));
        let engine =
            Engine::new(&config).map_err(|error| HostError::Engine { instances, source: error.into() })?;
        let linker = imports::linker(&engine).map_err(|error| HostError::Interface(error.into()))?;
        let registry = Registry::new(settings.max_memory);
        let clock = Clock::start(engine.clone()).map_err(HostError::Clock)?;
        let overtime = Overtime::start().map_err(HostError::Overtime)?;
        let code_cache = settings.code_cache.as_deref().and_then(usable_cache);
        let HostSettings { max_component, compiler, .. } = settings;
        Ok(Self {
            shared: Arc::new(Shared {
                linker,
                registry,
                code_cache,
                max_component,
                compiler,
                engine,
                clock,
                overtime,
            }),
        })
    }

    /// Compiles (or finds in the cache), checks and links a component. `name` is for messages.
    ///
    /// Blocks for milliseconds (a small component) to seconds (an interpreter): never on a worker. The work is done behind
    /// the workers, which it would else keep waiting for milliseconds wherever they have a processor in common.
    pub fn load(&self, name: &str, bytes: &[u8]) -> Result<Plugin, LoadError> {
        let load = || self.load_by(self.shared.compiler.as_ref(), name, bytes);
        behind_the_workers("policy-load", load)
    }

    /// The same for a component that came with the program: compiled in this process, whatever the settings say.
    pub fn load_trusted(&self, name: &str, bytes: &[u8]) -> Result<Plugin, LoadError> {
        self.load_by(None, name, bytes)
    }

    fn load_by(&self, compiler: Option<&Compiler>, name: &str, bytes: &[u8]) -> Result<Plugin, LoadError> {
        let begin = Instant::now();
        let binary = Binary::parse(bytes, self.shared.max_component)?;
        let (component, cached) = self.component(compiler, &binary)?;
        let inspection = Inspection::of(self.engine(), &component, &binary);
        let plugin = Plugin::link(self, &self.shared.linker, &component, inspection)?;
        let (digest, size) = (plugin.digest(), plugin.size());
        let milliseconds = begin.elapsed().as_millis();
        tracing::debug!(policy = name, digest, size, cached, milliseconds, "loaded a component");
        Ok(plugin)
    }

    /// What `handfast policy inspect` prints. Compiles and links the component, and runs nothing of it.
    pub fn inspect(&self, bytes: &[u8]) -> Result<Inspection, LoadError> {
        let binary = Binary::parse(bytes, self.shared.max_component)?;
        let (component, _) = self.component(self.shared.compiler.as_ref(), &binary)?;
        let mut inspection = Inspection::of(self.engine(), &component, &binary);
        if inspection.refused.is_none() {
            inspection.refused = Plugin::check(&self.shared.linker, &component, &inspection).err();
        }
        Ok(inspection)
    }

    /// Whether [`load`](Self::load) would find this component compiled.
    pub fn is_cached(&self, bytes: &[u8]) -> bool {
        let Ok(binary) = Binary::parse(bytes, self.shared.max_component) else { return false };
        let key = CodeCache::key(self.engine(), &binary.digest);
        self.shared.code_cache.as_ref().is_some_and(|cache| cache.has(&key))
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn overtime(&self) -> &Overtime {
        &self.shared.overtime
    }

    /// The component, and whether it came from the cache.
    fn component(
        &self,
        compiler: Option<&Compiler>,
        binary: &Binary<'_>,
    ) -> Result<(Component, bool), LoadError> {
        let engine = self.engine();
        let cache =
            self.shared.code_cache.as_ref().map(|cache| (cache, CodeCache::key(engine, &binary.digest)));
        if let Some((cache, key)) = &cache
            && let Some(component) = cache.load(engine, key)
        {
            return Ok((component, true));
        }
        census::check(&binary.bytes)?;
        let image = match compiler {
            Some(compiler) => compiler.compile(&binary.bytes)?,
            None => engine.precompile_component(&binary.bytes).map_err(invalid)?,
        };
        // SAFETY: the image must be what this engine's compiler wrote: it was written just now, by this process or by
        // its own program, and has lain in this process's memory since. Version and configuration are checked by
        // wasmtime.
        let component = unsafe { Component::deserialize(engine, &image) };
        // What does not load, since the pool has no room for one like it, is not kept either.
        let component = component.map_err(|error| LoadError::DoesNotFit(error.into()))?;
        if let Some((cache, key)) = &cache {
            match cache.store(key, &image) {
                // Mapped from the file, it takes no memory that the kernel cannot have back.
                Ok(()) => {
                    if let Some(component) = cache.load(engine, key) {
                        return Ok((component, false));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "compiled code is not kept: the cache cannot be written");
                }
            }
        }
        Ok((component, false))
    }
}

fn invalid(error: wasmtime::Error) -> LoadError {
    LoadError::Invalid(error.into())
}

/// Everything that changes the code a compiler makes. The pool does not.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        // Deep enough for CPython's and QuickJS' start-up; an async stack must also hold the host's own frames.
        .max_wasm_stack(256 << 10)
        .async_stack_size(512 << 10)
        // Function names come from the name section. DWARF would be parsed on a worker at the first trap, at a cost
        // that the component's author chooses.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(NonZeroUsize::new(FRAMES));
    config
}

/// Slots for the mix seen in practice: C and Rust bring 3 core instances, 1 memory and 1–2 tables each, QuickJS 11
/// core instances and 3 memories, CPython 38 core instances. A host full of CPython holds a third of `instances`.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::default();
    let core_instances = instances.saturating_mul(12).max(64);
    let memories = instances.saturating_mul(3).max(8);
    let tables = instances.saturating_mul(4).max(64);
    pool.total_component_instances(instances)
        .total_core_instances(core_instances)
        .total_memories(memories)
        .total_tables(tables)
        .total_stacks(instances)
        .max_core_instances_per_component(64)
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_memory_size(MAX_MEMORY)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(128 << 10)
        .table_keep_resident(64 << 10);
    pool
}

fn usable_cache(directory: &Path) -> Option<CodeCache> {
    match CodeCache::open(directory) {
        Ok(cache) => Some(cache),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            let directory = directory.display();
            tracing::warn!(%directory, error, "the cache of compiled code is not used; policies compile at each start");
            None
        }
    }
}
