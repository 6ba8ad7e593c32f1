//! Scans a source early when its folders change, and now and then anyway.
//!
//! `reload` starts one [`Watch`] per store, and it ends with the last snapshot that has the store. It makes the store find
//! new pairs, and report broken ones, before a client asks. For sources with `freshness = "strict"` nothing that is
//! promised rests on it: events get lost (queues overflow, a link leads out of the tree, network file systems send none),
//! so a handshake looks at its files itself. With `"events"` a change is live after the event and a reload, or after the
//! next scan; the bound that `docs/configuration.md` states is `scan-interval` and the time of a scan.
//!
//! The folders that are watched are those that the last scan listed, each by itself. Rejected: to let `notify` add the
//! whole tree, which ends at the first folder that it may not read, without events from any.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use notify::{ErrorKind, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
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
    let mut watched = Watched::default();
    loop {
        let follow = {
            let (store, source, wake) = (store.clone(), Arc::clone(&source), Arc::clone(&wake));
            move || {
                if let Some(store) = store.upgrade() {
                    watched.follow(store.folders(position), &source, &wake);
                }
                watched
            }
        };
        let Ok(followed) = tokio::task::spawn_blocking(follow).await else { return };
        watched = followed;
        tokio::select! {
            () = wake.notified() => tokio::time::sleep(QUIET).await,
            () = tokio::time::sleep(source.scan_interval) => {}
        }
        let Some(store) = store.upgrade() else { return };
        store.rescan_source(position).await;
    }
}

/// The folders of a source that send events.
#[derive(Default)]
struct Watched {
    /// `None` as long as there can be none.
    watcher: Option<RecommendedWatcher>,
    folders: HashMap<PathBuf, FileIdentity>,
    /// What was reported, so that it is told once.
    silent: HashSet<PathBuf>,
}

impl Watched {
    /// Watches those of the folders that are new, or were put in the place of another: those send their events to nobody
    /// yet. What changed in them since the scan that found them is for the next scan, at once. Blocks.
    fn follow(
        &mut self,
        folders: Vec<(PathBuf, FileIdentity)>,
        source: &CertificateSource,
        wake: &Arc<Notify>,
    ) {
        let scan_interval = source.scan_interval;
        if self.watcher.is_none() {
            match watcher(wake) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    if self.silent.insert(source.path.clone()) {
                        warn!(source = source.name, %error, ?scan_interval, "no file events: changes are found by the scan, or when asked for");
                    }
                    return;
                }
            }
        }
        let Some(watcher) = self.watcher.as_mut() else { return };
        let mut before = std::mem::take(&mut self.folders);
        let (mut is_news, mut is_full) = (false, false);
        for (path, identity) in folders {
            let known = before.remove(&path);
            if known.is_some_and(|known| known.is_same_file(&identity)) {
                self.folders.insert(path, identity);
                continue;
            }
            if known.is_some() {
                // Of the folder that was there; nothing to do about a failure: it is gone.
                let _ = watcher.unwatch(&path);
            }
            if is_full {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    is_news = true;
                    self.folders.insert(path, identity);
                }
                // Removed since.
                Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
                Err(error) => {
                    // Most often fs.inotify.max_user_watches, one watch per folder: the others will not fare better.
                    is_full = matches!(error.kind, ErrorKind::MaxFilesWatch);
                    let about = if is_full { source.path.clone() } else { path.clone() };
                    if self.silent.insert(about) {
                        let folder = path.display();
                        warn!(source = source.name, %folder, %error, ?scan_interval, "no file events: changes are found by the scan, or when asked for");
                    }
                }
            }
        }
        for path in before.into_keys() {
            let _ = watcher.unwatch(&path);
        }
        if is_news {
            wake.notify_one();
        }
    }
}

fn watcher(wake: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let wake = Arc::clone(wake);
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files is an event too, and scanning reads them.
        if !matches!(event.map(|event| event.kind), Ok(EventKind::Access(_))) {
            wake.notify_one();
        }
    })
}
