//! Scans early when a source's folders change, and now and then anyway.
//!
//! `server` starts one [`Watch`] per store and drops it with the store. It makes the store find new pairs, and report
//! broken ones, before a client asks. Nothing that is promised rests on it: events get lost (queues overflow, a link
//! leads out of the tree, network file systems send none), so a handshake looks at its files itself.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::certificate::CertificateStore;

/// How often the tree is scanned without an event. At 100,000 pairs a scan is 300,000 `stat`s, a third of a second of
/// one background thread.
pub const SLOW_SCAN: Duration = Duration::from_secs(60);

/// An update is several events; this is how long the rest has to come in.
const QUIET: Duration = Duration::from_millis(20);

/// Ends the watching when dropped.
#[derive(Debug)]
pub struct Watch {
    task: AbortHandle,
}

impl Watch {
    /// Starts watching on the store's background runtime.
    pub fn start(store: &Arc<CertificateStore>, slow_scan: Duration) -> Self {
        let task = watch(Arc::downgrade(store), store.roots(), slow_scan);
        Self { task: store.background().spawn(task).abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(store: Weak<CertificateStore>, roots: Vec<PathBuf>, slow_scan: Duration) {
    let wake = Arc::new(Notify::new());
    let waker = wake.clone();
    // Adding a tree lists all of it.
    let watcher = tokio::task::spawn_blocking(move || subscribe(&roots, waker)).await;
    let _watcher = match watcher {
        Ok(Ok(watcher)) => Some(watcher),
        Ok(Err(error)) => {
            // Most often fs.inotify.max_user_watches, one watch per folder.
            warn!(%error, ?slow_scan, "no file events: new certificates are found when asked for, and by the slow scan");
            None
        }
        Err(_ended) => return,
    };
    loop {
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(QUIET).await,
            () = tokio::time::sleep(slow_scan) => {}
        }
        let Some(store) = store.upgrade() else { return };
        store.rescan().await;
    }
}

fn subscribe(roots: &[PathBuf], wake: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files is an event too, and scanning reads them.
        if !matches!(event.map(|event| event.kind), Ok(EventKind::Access(_))) {
            wake.notify_one();
        }
    })?;
    for root in roots {
        watcher.watch(root, RecursiveMode::Recursive)?;
    }
    Ok(watcher)
}
