//! Scans a source early when its folders change, and now and then anyway.
//!
//! `reload` starts one [`Watch`] per store, and it ends with the last snapshot that has the store. It makes the store find
//! new pairs, and report broken ones, before a client asks. For sources with `freshness = "strict"` nothing that is
//! promised rests on it: events get lost (queues overflow, a link leads out of the tree, network file systems send none),
//! so a handshake looks at its files itself. With `"events"` a change is live after the event and a reload, or after the
//! next scan; the bound that `docs/configuration.md` states is `scan-interval` and the time of a scan.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tracing::warn;

use crate::certificate::CertificateStore;
use crate::config::CertificateSource;
use crate::freshness::FileIdentity;

/// An update is several events; this is how long the rest has to come in.
const QUIET: Duration = Duration::from_millis(20);

/// Ends the watching when dropped.
#[derive(Debug)]
pub struct Watch {
    tasks: Vec<AbortHandle>,
}

impl Watch {
    /// Starts watching every source on the store's background runtime. A source whose file system does not answer holds
    /// up nothing but itself.
    pub fn start(store: &Arc<CertificateStore>) -> Self {
        let tasks = store.sources().enumerate().map(|(position, source)| {
            let task = watch(Arc::downgrade(store), position, Arc::clone(source));
            store.background().spawn(task).abort_handle()
        });
        Self { tasks: tasks.collect() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

async fn watch(store: Weak<CertificateStore>, position: usize, source: Arc<CertificateSource>) {
    let wake = Arc::new(Notify::new());
    let mut watched: Option<FileIdentity> = None;
    let mut watcher = None;
    loop {
        // A folder that was put in the place of another sends its events to nobody yet.
        let path = source.path.clone();
        let Ok(folder) = tokio::task::spawn_blocking(move || FileIdentity::of(&path)).await else { return };
        if let Ok(folder) = folder
            && watched.is_none_or(|watched| !watched.is_same_file(&folder))
        {
            drop(watcher.take());
            watched = Some(folder);
            let (waker, root) = (wake.clone(), source.path.clone());
            // Adding a tree lists all of it.
            match tokio::task::spawn_blocking(move || subscribe(root, waker)).await {
                Ok(Ok(subscribed)) => watcher = Some(subscribed),
                Ok(Err(error)) => {
                    // Most often fs.inotify.max_user_watches, one watch per folder.
                    let scan_interval = source.scan_interval;
                    warn!(source = source.name, %error, ?scan_interval, "no file events: changes are found by the scan, or when asked for");
                }
                Err(_ended) => return,
            }
            // What changed between the store's last look and the first event.
            wake.notify_one();
        }
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(QUIET).await,
            () = tokio::time::sleep(source.scan_interval) => {}
        }
        let Some(store) = store.upgrade() else { return };
        store.rescan_source(position).await;
    }
}

fn subscribe(root: PathBuf, wake: Arc<Notify>) -> notify::Result<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files is an event too, and scanning reads them.
        if !matches!(event.map(|event| event.kind), Ok(EventKind::Access(_))) {
            wake.notify_one();
        }
    })?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok(watcher)
}
