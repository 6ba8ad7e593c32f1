//! What one look at a folder tells of the files in it: that none came, went, or was replaced.
//!
//! [`super::Fresh`] asks a [`Folder`] before it looks at files, and then leaves out those that cannot matter while the
//! folder is as it was; see "What a folder saves" there. All pairs of a folder share one `Folder`, from [`Folders`], so a
//! handshake looks at something that the last one has looked at too, whichever certificate it is for. Nothing here
//! lists or opens anything.
//!
//! Making, removing and renaming an entry sets the modification and change time of its folder (POSIX, each of those
//! calls), so one identity of a folder that is settled ([`FileIdentity::is_settled`]) stands for one set of entries.
//! Writing into a file that is there does not, nor does anything that happens behind a symbolic link.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use super::file::{FileIdentity, file_clock};

/// Numbers are never used twice, not even for two folders.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The last state of it that was settled.
    known: ArcSwapOption<Known>,
}

#[derive(Debug)]
struct Known {
    identity: FileIdentity,
    number: u64,
}

impl Folder {
    /// The number of the present set of entries. `None` while it cannot be told: the folder was changed within this
    /// very tick of the clock, or cannot be looked at. One `stat`.
    ///
    /// If two calls answer with one number, no entry came, went or was replaced from any moment after the first of them
    /// until the second was made. Let `ta` be when the number was given out: the folder was settled then, so whatever
    /// was changed after `ta` shows in every later `stat`. What comes after the first call comes after `ta`; if the second
    /// call's `stat` does too, it would have shown the change, and if not, there is nothing between `ta` and that call.
    pub(super) fn number(&self) -> Option<u64> {
        let clock = file_clock();
        let identity = FileIdentity::of(&self.path).ok()?;
        if let Some(known) = self.known.load().as_deref()
            && known.identity == identity
        {
            return Some(known.number);
        }
        if !identity.is_settled(clock) {
            return None;
        }
        // Two threads that do this at once give out two numbers. The one that is lost matches nothing any more.
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        self.known.store(Some(Arc::new(Known { identity, number })));
        Some(number)
    }
}

/// The folders that somebody has files in, each once.
#[derive(Debug, Default)]
pub struct Folders(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    by_path: HashMap<PathBuf, Weak<Folder>>,
    /// How many there may be before those that nobody has any more are looked for.
    limit: usize,
}

impl Folders {
    pub fn at(&self, path: &Path) -> Arc<Folder> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = shared.by_path.get(path).and_then(Weak::upgrade) {
            return folder;
        }
        let folder = Arc::new(Folder { path: path.to_owned(), known: ArcSwapOption::empty() });
        shared.by_path.insert(path.to_owned(), Arc::downgrade(&folder));
        if shared.by_path.len() > shared.limit {
            shared.by_path.retain(|_, folder| folder.strong_count() > 0);
            shared.limit = 2 * shared.by_path.len().max(16);
        }
        folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once the folder's last change is settled.
    fn number(folder: &Folder) -> u64 {
        loop {
            if let Some(number) = folder.number() {
                return number;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_number_stands_for_one_set_of_entries() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        let folder = Folders::default().at(root.path());
        let mut before = number(&folder);
        assert_eq!(folder.number(), Some(before));
        let changes: [&dyn Fn(); 5] = [
            &|| std::fs::write(&one, "1").unwrap(),
            &|| std::os::unix::fs::symlink("nowhere", &two).unwrap(),
            &|| std::fs::rename(&one, &two).unwrap(),
            &|| std::fs::hard_link(&two, &one).unwrap(),
            &|| std::fs::remove_file(&one).unwrap(),
        ];
        for change in changes {
            change();
            assert_ne!(folder.number(), Some(before));
            let after = number(&folder);
            assert_ne!(after, before);
            before = after;
        }
        std::fs::write(&two, "in place").unwrap();
        assert_eq!(number(&folder), before);
    }

    #[test]
    fn another_folder_in_its_place_has_another_number() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let folder = Folders::default().at(&place);
        let before = number(&folder);
        std::fs::rename(&place, root.path().join("old")).unwrap();
        assert_eq!(folder.number(), None);
        std::fs::create_dir(&place).unwrap();
        assert_ne!(number(&folder), before);
    }

    #[test]
    fn a_folder_is_shared_and_forgotten_with_its_last_file() {
        let folders = Folders::default();
        let first = folders.at(Path::new("/one"));
        assert!(Arc::ptr_eq(&first, &folders.at(Path::new("/one"))));
        for number in 0..200 {
            folders.at(Path::new(&format!("/{number}")));
        }
        assert!(folders.0.lock().unwrap().by_path.len() < 100);
        assert!(Arc::ptr_eq(&first, &folders.at(Path::new("/one"))));
    }
}
