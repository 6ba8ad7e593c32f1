//! Connections that begin a handshake and never go on with it.
//!
//! When the server ends one, another takes its place, so that their number stays. They are opened one after the other,
//! 200 a second: opened at once they would also be given up at once, ten seconds later where the server is a gateway of
//! ours, and this process would take the core from the generator of good handshakes beside it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The head of a record of 512 bytes, and the type of a ClientHello (RFC 8446 section 5.1): the rest never comes.
const BEGINNING: [u8; 6] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];

/// Between two that are opened.
const PAUSE: Duration = Duration::from_millis(5);

/// Prints a line once all hang, and goes on until standard input ends.
pub(crate) fn hang(address: SocketAddr, count: usize) -> Result<()> {
    let runtime =
        Builder::new_current_thread().enable_all().build().context("the system refuses a runtime")?;
    runtime.spawn(async move {
        let mut hanging = JoinSet::new();
        loop {
            while hanging.len() < count {
                tokio::time::sleep(PAUSE).await;
                hanging.spawn(one(address));
                if hanging.len() == count {
                    // Said again each time one was replaced: only the first is read.
                    say(count);
                }
            }
            // Whether the server closed or reset it does not matter.
            let _ = hanging.join_next().await;
        }
    });
    runtime.block_on(async {
        let end = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
        end.await?.map(|_| ()).context("standard input cannot be read")
    })
}

fn say(count: usize) {
    let mut output = io::stdout().lock();
    // Nobody reads on after the first.
    let _ = writeln!(output, "{}", json!({ "hanging": count })).and_then(|()| output.flush());
}

async fn one(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&BEGINNING).await?;
    while stream.read(&mut [0; 64]).await? > 0 {}
    Ok(())
}
