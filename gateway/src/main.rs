//! The process's entry: allocator, crypto provider, exit code. Everything else is in the library.

use std::process::ExitCode;

/// Measured beside the system's allocator and mimalloc: see ARCHITECTURE.md, "Allocator".
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        eprintln!("error: another TLS crypto provider is installed; this binary was built wrongly");
        return ExitCode::FAILURE;
    }
    handfast::cli::main()
}
