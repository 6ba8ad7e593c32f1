//! Opens connections, says what there is to say on each, and keeps them until told otherwise.

use std::io::{self, Read, Write};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};

use crate::handshake::Handshakes;

/// Prints a line once all are open, and lets go of them when standard input ends.
pub(crate) fn hold(handshakes: Handshakes, count: usize, at_a_time: usize) -> Result<()> {
    ensure!(at_a_time > 0, "no connections at a time: give --connections at least 1");
    let runtime =
        Builder::new_current_thread().enable_all().build().context("the system refuses a runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let handshakes = Rc::new(handshakes);
        let (mut held, mut under_way) = (Vec::with_capacity(count), JoinSet::new());
        while held.len() < count {
            while under_way.len() < at_a_time && held.len() + under_way.len() < count {
                let handshakes = Rc::clone(&handshakes);
                under_way.spawn_local(async move { handshakes.held().await });
            }
            let one = under_way.join_next().await.context("no connection is under way")??;
            held.push(one.context("a connection could not be opened")?);
        }
        let mut output = io::stdout().lock();
        writeln!(output, "{}", json!({ "held": held.len() })).and_then(|()| output.flush())?;
        // Nothing else is to happen meanwhile: whatever the servers send waits in the sockets.
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    })
}
