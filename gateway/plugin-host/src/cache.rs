//! Compiled code on disk, so that a restart loads a policy in a millisecond and not in seconds.
//!
//! An image is native code that the gateway will execute: whoever can write one owns the gateway. So
//!
//! - the directory must belong to the user the gateway runs as and be writable by nobody else, and so must every
//!   directory above it (or belong to root, or be sticky as `/tmp` is). Otherwise the cache is not used at all, with
//!   one warning; compiling again is slow, not wrong;
//! - an image is named `<key>-<digest>.cwasm`. The key is over the component, the version of wasmtime and everything
//!   in the engine's configuration that changes code; the digest is of the image itself and checked before each use,
//!   so a damaged disk gives a compilation and not a crash;
//! - it is written under another name and renamed, and never changed afterwards: a mapping stays good, and several
//!   gateways may share a directory. It is not synced: handshakes wait for a new policy, and what a crash leaves half
//!   written does not have its digest.
//!
//! Bounded: beyond [`IMAGES`] files or [`BYTES`] bytes, those go first that were not used for longest.

use std::cmp::Reverse;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::hex;

const IMAGES: usize = 64;
const BYTES: u64 = 512 << 20;

/// A directory found to be safe.
#[derive(Debug)]
pub(crate) struct CodeCache {
    directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it cannot be made or read")]
    Io(#[from] io::Error),
    #[error("`{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("`{}` belongs to user {owner}, not to {user}, whom the gateway runs as", .path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("`{}` can be written by others (mode {mode:o}); `chmod go-w` it", .path.display())]
    Writable { path: PathBuf, mode: u32 },
}

impl CodeCache {
    pub(crate) fn open(directory: &Path) -> Result<Self, Unusable> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let directory = directory.canonicalize()?;
        // SAFETY: geteuid has no preconditions and cannot fail.
        let user = unsafe { libc::geteuid() };
        for (depth, path) in directory.ancestors().enumerate() {
            let metadata = fs::metadata(path)?;
            let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
            let path = || path.to_path_buf();
            if !metadata.is_dir() {
                return Err(Unusable::NotADirectory(path()));
            }
            let above = depth > 0;
            if owner != user && !(above && owner == 0) {
                return Err(Unusable::Owner { path: path(), owner, user });
            }
            let sticky = above && mode & 0o1000 != 0;
            if mode & 0o022 != 0 && !sticky {
                return Err(Unusable::Writable { path: path(), mode });
            }
        }
        Ok(Self { directory })
    }

    /// What an image of this component for this engine is filed under.
    pub(crate) fn key(engine: &Engine, digest: &str) -> String {
        let mut hasher = DigestHasher(Sha256::new());
        hasher.write(digest.as_bytes());
        // Target, flags, tunables and the exact version of wasmtime.
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hex(&hasher.0.finalize())
    }

    pub(crate) fn load(&self, engine: &Engine, key: &str) -> Option<Component> {
        let path = self.image(key)?;
        match Self::verified(engine, &path) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(image = %path.display(), error, "dropping an unusable image of compiled code");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.image(key).is_some()
    }

    pub(crate) fn store(&self, key: &str, image: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let unique = (std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let temporary = self.directory.join(format!("{key}-{}-{}.tmp", unique.0, unique.1));
        let name = format!("{key}-{}.cwasm", hex(&Sha256::digest(image)));

        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(image))
            .and_then(|()| fs::rename(&temporary, self.directory.join(&name)));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.evict(&name)
    }

    fn image(&self, key: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.directory).ok()?.filter_map(Result::ok);
        entries.map(|entry| entry.path()).find(|path| {
            path.extension().is_some_and(|extension| extension == "cwasm")
                && path
                    .file_stem()
                    .and_then(|stem| stem.to_str()?.split_once('-'))
                    .is_some_and(|it| it.0 == key)
        })
    }

    fn verified(engine: &Engine, path: &Path) -> Result<Component, String> {
        let expected = path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')).map(|it| it.1);
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let found = digest(&mut file).map_err(|error| error.to_string())?;
        if expected != Some(found.as_str()) {
            return Err("its content does not have the digest in its name".into());
        }
        // For eviction: used now. Failing costs an early eviction at most.
        let _ = file.set_modified(SystemTime::now());
        // SAFETY: the file must be an image that this engine's compiler wrote, and must not change while mapped. It
        // lies in a directory that only we (and root) can write, checked in `open` up to the root; its name holds the
        // digest of what it contained when we wrote it, checked just above; and images are only ever renamed into
        // place and unlinked, never written to. Version and configuration of wasmtime are checked by wasmtime.
        unsafe { Component::deserialize_file(engine, path) }.map_err(|error| format!("{error:#}"))
    }

    /// Removes the files longest not used, until the bounds hold again. Never `keep`, which was written just now.
    fn evict(&self, keep: &str) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            let ours = path.extension().is_some_and(|extension| extension == "cwasm" || extension == "tmp");
            if let Ok(metadata) = entry.metadata()
                && ours
                && metadata.is_file()
                && entry.file_name() != keep
            {
                files.push((metadata.modified()?, metadata.len(), path));
            }
        }
        files.sort_unstable_by_key(|(modified, ..)| Reverse(*modified));
        let mut bytes = 0;
        for (position, (_, length, path)) in files.into_iter().enumerate() {
            bytes += length;
            if position + 1 >= IMAGES || bytes > BYTES {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

fn digest(file: &mut File) -> io::Result<String> {
    let mut sha256 = Sha256::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut chunk)?;
        match chunk.get(..length) {
            Some(read) if !read.is_empty() => sha256.update(read),
            _ => return Ok(hex(&sha256.finalize())),
        }
    }
}

/// `Hash` into SHA-256, since std's hasher promises nothing from one release to the next.
struct DigestHasher(Sha256);

impl Hasher for DigestHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_beyond_the_bound_are_evicted_oldest_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(directory.path()).unwrap();
        for number in 0..IMAGES + 3 {
            cache.store(&format!("key{number}"), b"an image").unwrap();
            let written = File::open(cache.image(&format!("key{number}")).unwrap()).unwrap();
            written
                .set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64))
                .unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), IMAGES);
        assert!(!cache.has("key2") && cache.has("key3") && cache.has(&format!("key{}", IMAGES + 2)));
    }

    #[test]
    fn a_name_that_is_a_file_is_no_cache() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(CodeCache::open(file.path()).is_err());
    }
}
