//! Where a pair lies, and the system calls that tools put files there with.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use handfast_tests::Pair;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    CrtAndKey,
    PemAndKey,
    Certbot,
    Combined,
    Kubernetes,
}

/// The paths of one pair.
pub(crate) struct Place {
    pub(crate) layout: Layout,
    pub(crate) chain: PathBuf,
    /// The same as `chain` where one file holds both.
    pub(crate) key: PathBuf,
    /// Outside of the source, for files that links lead to.
    archive: PathBuf,
    /// Kubernetes: the dated folder that `..data` leads to.
    dated: Option<PathBuf>,
}

/// What a file of a pair is to hold.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
    /// Where the leaf ends and the rest of the chain begins, in the file that has the chain.
    pub(crate) leaf_ends: Option<usize>,
}

/// All chains have this size, and all keys: a size never tells one pair from another.
const CHAIN_SIZE: usize = 4096;
const KEY_SIZE: usize = 512;

impl Place {
    pub(crate) fn new(source: &Path, archive: &Path, name: &str, layout: Layout) -> Self {
        let (folder, chain, key) = match layout {
            Layout::CrtAndKey => (source.to_owned(), format!("{name}.crt"), format!("{name}.key")),
            Layout::PemAndKey => (source.to_owned(), format!("{name}.pem"), format!("{name}.key")),
            Layout::Combined => (source.to_owned(), format!("{name}.pem"), format!("{name}.pem")),
            Layout::Certbot => (source.join(name), "fullchain.pem".to_owned(), "privkey.pem".to_owned()),
            Layout::Kubernetes => (source.join(name), "tls.crt".to_owned(), "tls.key".to_owned()),
        };
        fs::create_dir_all(&folder).expect("a folder is made");
        fs::create_dir_all(archive).expect("a folder is made");
        let (chain, key, archive) = (folder.join(chain), folder.join(key), archive.to_owned());
        if layout == Layout::Kubernetes {
            for file in [&chain, &key] {
                let name = file.file_name().expect("a file has a name");
                symlink(Path::new("..data").join(name), file).expect("a link is made");
            }
        }
        Self { layout, chain, key, archive, dated: None }
    }

    /// The files of a pair: the key, then the chain; or the one file.
    pub(crate) fn contents(&self, pair: &Pair) -> Vec<Content> {
        let (key, chain) = (pair.key_pem.as_bytes(), pair.certificates_pem.as_bytes());
        let end = pair.certificates_pem.find("-----END").expect("PEM ends");
        let leaf_ends =
            end + pair.certificates_pem[end..].find('\n').expect("a line of PEM ends with a newline") + 1;
        match self.layout {
            Layout::Combined => vec![Content {
                path: self.chain.clone(),
                bytes: padded(&[key, chain].concat(), KEY_SIZE + CHAIN_SIZE),
                mode: 0o600,
                leaf_ends: Some(key.len() + leaf_ends),
            }],
            _ => vec![
                Content {
                    path: self.key.clone(),
                    bytes: padded(key, KEY_SIZE),
                    mode: 0o600,
                    leaf_ends: None,
                },
                Content {
                    path: self.chain.clone(),
                    bytes: padded(chain, CHAIN_SIZE),
                    mode: 0o644,
                    leaf_ends: Some(leaf_ends),
                },
            ],
        }
    }

    /// As kubelet does it: a new dated folder, filled by `fill`, and one rename that makes `..data` lead to it.
    pub(crate) fn swap(&mut self, fill: impl FnOnce(&Path)) {
        let mount = self.chain.parent().expect("a file lies in a folder").to_owned();
        let dated = PathBuf::from(format!("..{}", unique()));
        fs::create_dir(mount.join(&dated)).expect("a folder is made");
        fill(&mount.join(&dated));
        let staged = mount.join("..data_tmp");
        symlink(&dated, &staged).expect("a link is made");
        fs::rename(&staged, mount.join("..data")).expect("a link is renamed");
        if let Some(old) = self.dated.replace(dated) {
            fs::remove_dir_all(mount.join(old)).expect("a folder is removed");
        }
    }

    /// Kubernetes: takes `..data` away.
    pub(crate) fn unlink_data(&self) {
        let _ = fs::remove_file(self.chain.with_file_name("..data"));
    }

    /// A new path for a file that a link is to lead to.
    pub(crate) fn archived(&self) -> PathBuf {
        self.archive.join(format!("{}.pem", unique()))
    }
}

impl Content {
    /// Writes it beside its place and returns where.
    pub(crate) fn stage(&self) -> PathBuf {
        let staged = staged(&self.path);
        create(&staged, &self.bytes, self.mode);
        staged
    }

    pub(crate) fn rename(&self, staged: &Path) {
        clear_folder(&self.path);
        fs::rename(staged, &self.path).expect("a file is renamed");
    }

    /// Truncates what is there and writes over it, as an editor or `cp` does.
    pub(crate) fn write_in_place(&self) -> File {
        clear_special(&self.path);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(self.mode)
            .open(&self.path)
            .expect("a file is opened");
        file.set_permissions(fs::Permissions::from_mode(self.mode)).expect("a mode is set");
        file.write_all(&self.bytes).expect("a file is written");
        file
    }

    /// When the file there was last modified.
    pub(crate) fn modified(&self) -> SystemTime {
        fs::metadata(&self.path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// A name beside `path` that no source takes for a certificate.
pub(crate) fn staged(path: &Path) -> PathBuf {
    path.with_file_name(format!(".staged-{}", unique()))
}

pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).expect("a file is made");
    file.set_permissions(fs::Permissions::from_mode(mode)).expect("a mode is set");
    file.write_all(bytes).expect("a file is written");
}

/// Removes whatever is there.
pub(crate) fn clear(path: &Path) {
    clear_folder(path);
    let _ = fs::remove_file(path);
}

/// A file cannot be renamed over a folder.
fn clear_folder(path: &Path) {
    if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(path).expect("a folder is removed");
    }
}

/// Nor can everything be opened and written to: a pipe would wait for its reader, and mode 0000 is not for everybody.
fn clear_special(path: &Path) {
    let is_plain = |metadata: fs::Metadata| metadata.is_file() && metadata.permissions().mode() & 0o200 != 0;
    if path.symlink_metadata().is_ok_and(|metadata| !is_plain(metadata)) {
        clear(path);
    }
}

fn padded(bytes: &[u8], size: usize) -> Vec<u8> {
    assert!(bytes.len() <= size, "{} bytes are more than expected", bytes.len());
    let mut bytes = bytes.to_vec();
    bytes.resize(size, b'\n');
    bytes
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
