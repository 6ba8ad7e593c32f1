//! Waits until a server answers with another certificate than before.
//!
//! `cargo xtask bench` replaces a pair meanwhile: the handshakes follow each other without a pause, so the first that
//! saw the new pair tells when the server had it. Times are the system clock's, which both processes read. A handshake
//! that fails meanwhile is counted: a server may have caught the pair half replaced.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::json;
use tokio::runtime::Builder;

use crate::handshake::Handshakes;

pub(crate) fn wait(handshakes: &Handshakes) -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("the system refuses a runtime")?;
    runtime.block_on(async {
        let first = handshakes.leaf().await.context("the first handshake")?;
        say(&json!({ "watching": true }))?;
        let mut failed = 0_u64;
        loop {
            let began = now()?;
            match handshakes.leaf().await {
                Ok(leaf) if leaf != first => {
                    return say(&json!({ "began_us": began, "ended_us": now()?, "failed": failed }));
                }
                Ok(_) => {}
                Err(_) => failed = failed.saturating_add(1),
            }
        }
    })
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("nobody reads the answer")
}

/// Microseconds since 1970.
fn now() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    u64::try_from(since.as_micros()).context("the clock is far off")
}
