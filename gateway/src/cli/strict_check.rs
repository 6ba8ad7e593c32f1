//! What the strict check costs a handshake: a hidden subcommand for `cargo xtask bench certificates-strict-check`.
//!
//! Beside a handshake it is too small to be measured from outside, so it is called here in a loop, each time for another
//! of the pairs in a folder, so that the kernel does not find the same directory entry each time. A subcommand rather than
//! a benchmark of cargo's: that would build the gateway once more, with other dependencies, and measure that one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Builder as RuntimeBuilder;

use super::Failure;
use crate::certificate::ocsp::Stapler;
use crate::certificate::{CertificateStore, Ensured, OpenGate};
use crate::config::Config;
use crate::server::ServerError;

/// Times each pair is looked at.
const ROUNDS: usize = 200;

/// Prints the CPU time of one look as JSON.
pub(super) fn run(folder: PathBuf) -> Result<(), Failure> {
    let text = format!(
        "[[listener]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\n\
         [[certificate-source]]\nkind = \"directory\"\npath = \"{}\"\n",
        folder.display()
    );
    let config = Config::parse(Path::new("/bench.toml"), &text)?;
    let runtime = RuntimeBuilder::new_multi_thread().enable_all().build().map_err(ServerError::System)?;
    let opened = CertificateStore::open(
        &config.certificate_sources,
        Arc::new(OpenGate),
        Arc::new(Stapler::new(None)),
        Arc::default(),
        runtime.handle().clone(),
    );
    let (store, _findings) = runtime.block_on(opened).map_err(|error| failure(&error))?;
    let certificates: Vec<_> = store.live().collect();
    if certificates.is_empty() {
        return Err(failure(&"the folder holds no pair"));
    }
    let look = async |rounds: usize| {
        let mut unchanged = 0;
        for _ in 0..rounds {
            for certificate in &certificates {
                unchanged += usize::from(matches!(store.ensure_fresh(certificate).await, Ensured::Unchanged));
            }
        }
        unchanged
    };
    runtime.block_on(async {
        // The first look settles the age of pairs that were just written.
        look(2).await;
        let begun = on_cpu()?;
        let unchanged = look(ROUNDS).await;
        let spent = on_cpu()?.saturating_sub(begun);
        if unchanged != ROUNDS * certificates.len() {
            return Err(failure(&"the pairs changed meanwhile"));
        }
        println!("{{\"microseconds\":{:.3}}}", spent as f64 / 1e3 / unchanged as f64);
        Ok(())
    })
}

/// Nanoseconds this thread has spent on a CPU: the first field of its `schedstat`.
fn on_cpu() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").map_err(|error| failure(&error))?;
    let first = text.split(' ').next().and_then(|field| field.parse().ok());
    first.ok_or_else(|| failure(&"/proc/thread-self/schedstat is not as the kernel documents it"))
}

fn failure(reason: &dyn std::fmt::Display) -> Failure {
    Failure { text: format!("the strict check cannot be measured: {reason}"), code: 1 }
}
