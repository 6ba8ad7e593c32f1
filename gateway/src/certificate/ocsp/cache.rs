//! What issuers said last, on disk, so that a restart serves the staple that was fetched before it, and goes on serving none
//! where the certificate was revoked: `<state-directory>/ocsp/<fingerprint>.der`.
//!
//! What is read is checked like any response, so a damaged or planted file costs one fetch. It is written beside its place,
//! never through a link that somebody put there, and renamed; there is no `fsync`, since a file that a crash left empty is a file that fails its check. Every function
//! blocks, for as long as one small file takes.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::MAX_RESPONSE;
use crate::freshness::file::read_alone;

/// A file that was not renewed for so long is of a certificate that is gone: responses hold for 10 days at most, and a
/// revocation is written anew whenever it is read or heard again.
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
        read_alone(&self.path(fingerprint), MAX_RESPONSE).ok()
    }

    pub(super) fn write(&self, fingerprint: &str, response: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path(fingerprint);
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        // Of an earlier process with the same number.
        let _ = fs::remove_file(&beside);
        // A file of its own (O_EXCL), whatever is there.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(response)?;
        fs::rename(&beside, &path)
    }

    /// Removes what no certificate has asked for in a long time.
    pub(super) fn tidy(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten().filter(|entry| is_ours(&entry.path())) {
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

/// `fingerprint.der`, or `fingerprint.process.new` where a write broke off. The folder may have been somebody's before.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.split_once('.')).is_some_and(|(fingerprint, rest)| {
        fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) && (rest == "der" || rest.ends_with(".new"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_old_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        assert_eq!(cache.read("aa"), None);
        cache.write("aa", b"one").unwrap();
        cache.write("aa", b"two").unwrap();
        assert_eq!(cache.read("aa").as_deref(), Some(&b"two"[..]));
        cache.write("bb", b"old").unwrap();
        let file = fs::File::options().write(true).open(folder.path().join("ocsp/bb.der")).unwrap();
        file.set_modified(SystemTime::now() - FORGOTTEN * 2).unwrap();
        let foreign = folder.path().join("ocsp/shop.example.der");
        fs::write(&foreign, "of the operator").unwrap();
        fs::File::options().write(true).open(&foreign).unwrap().set_modified(UNIX_EPOCH).unwrap();
        cache.tidy();
        assert_eq!((cache.read("aa").is_some(), cache.read("bb")), (true, None));
        fs::remove_file(&foreign).expect("what is not ours stays");
        assert_eq!(fs::read_dir(folder.path().join("ocsp")).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn links_and_pipes_in_the_folder_are_not_followed_or_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        cache.write("aa", b"one").unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "untouched").unwrap();
        let beside = folder.path().join(format!("ocsp/aa.{}.new", std::process::id()));
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        cache.write("aa", b"two").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(cache.read("aa").as_deref(), Some(&b"two"[..]));
        let pipe = std::ffi::CString::new(cache.path("bb").into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: the pointer is to a string that ends with a NUL.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        assert_eq!(cache.read("bb"), None);
    }
}
