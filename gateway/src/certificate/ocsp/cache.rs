//! Staples on disk, so that a restart serves what was fetched before it: `<state-directory>/ocsp/<fingerprint>.der`.
//!
//! What is read is checked like any response, so a damaged or planted file costs one fetch. It is written beside its place
//! and renamed; there is no `fsync`, since a file that a crash left empty is a file that fails its check. Every function
//! blocks, for as long as one small file takes.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::MAX_RESPONSE;

/// A file that was not renewed for so long is of a certificate that is gone: responses hold for 10 days at most.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(super) fn new(state_directory: &Path) -> Self {
        Self { folder: state_directory.join("ocsp") }
    }

    pub(super) fn read(&self, fingerprint: &str) -> Option<Vec<u8>> {
        let file = fs::File::open(self.path(fingerprint)).ok()?;
        let mut bytes = Vec::new();
        // One byte more than there may be, so that too many are noticed.
        file.take(MAX_RESPONSE as u64 + 1).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    pub(super) fn write(&self, fingerprint: &str, response: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path(fingerprint);
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        fs::write(&beside, response)?;
        fs::rename(&beside, &path)
    }

    pub(super) fn remove(&self, fingerprint: &str) {
        // One that is not there, or stays, is checked again before it is used.
        let _ = fs::remove_file(self.path(fingerprint));
    }

    /// Removes what no certificate has asked for in a long time.
    pub(super) fn tidy(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.map(|changed| SystemTime::now().duration_since(changed).unwrap_or_default());
            if age.is_ok_and(|age| age > FORGOTTEN) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// `fingerprint` is hexadecimal, so it leads nowhere else.
    fn path(&self, fingerprint: &str) -> PathBuf {
        self.folder.join(format!("{fingerprint}.der"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_removed_and_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        assert_eq!(cache.read("aa"), None);
        cache.write("aa", b"one").unwrap();
        cache.write("aa", b"two").unwrap();
        assert_eq!(cache.read("aa").as_deref(), Some(&b"two"[..]));
        cache.write("bb", b"old").unwrap();
        let file = fs::File::options().write(true).open(folder.path().join("ocsp/bb.der")).unwrap();
        file.set_modified(SystemTime::now() - FORGOTTEN * 2).unwrap();
        cache.tidy();
        assert_eq!((cache.read("aa").is_some(), cache.read("bb")), (true, None));
        cache.remove("aa");
        cache.remove("aa");
        assert_eq!(cache.read("aa"), None);
        assert_eq!(fs::read_dir(folder.path().join("ocsp")).unwrap().count(), 0, "nothing is left behind");
    }
}
