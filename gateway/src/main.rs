//! The process's entry: allocator, crypto provider, exit code. Everything else is in the library.

use std::process::ExitCode;

/// Measured beside the system's allocator and mimalloc: see ARCHITECTURE.md, "Allocator".
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc is told at its start.
///
/// By default a thread keeps 20 free objects of each of the larger small sizes, and a worker with more streams than that
/// under way fetched and returned whole slabs in turn: 5 % of the instructions of an HTTP/2 request. And what was freed goes
/// back to the system only while something is allocated, so that connections which all came to rest kept the memory of
/// their handshakes; a thread of jemalloc's own sees to it now.
// SAFETY: the one definition of the symbol that jemalloc looks for, a pointer to a string that ends with a zero byte.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 51] = b"background_thread:true,tcache_nslots_small_min:100\0";

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS crypto provider is installed; this binary was built wrongly");
        return ExitCode::FAILURE;
    }
    handfast::cli::main()
}
