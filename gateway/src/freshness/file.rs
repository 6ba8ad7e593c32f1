//! What a file on disk is, cheaply, and reading several of them as they were at one moment.
//!
//! [`super::Fresh`] calls this: [`unchanged`] and its kin on worker threads (they only call `stat`), [`read_together`] on
//! the background runtime's blocking threads. Nothing here opens anything but a regular file, and nothing reads without
//! a bound.

use std::ffi::{CStr, CString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::folder::Folder;

/// How often a read is repeated because the files changed under it. Each try is a few system calls; a writer that
/// outruns this many is not finishing an update but streaming.
const TRIES: usize = 16;

/// The most that is read of an optional file.
pub const OPTIONAL_LIMIT: usize = 64 << 10;

/// The paths that a value is made from.
#[derive(Debug, Clone)]
pub struct Files {
    /// The required ones come first.
    paths: Arc<[PathBuf]>,
    required: usize,
    /// Where all of them are, if the first one leads.
    folder: Option<Arc<Folder>>,
}

impl Files {
    /// There is no value without the required ones; an optional one that is missing is just that.
    pub fn new(required: Vec<PathBuf>, optional: Vec<PathBuf>) -> Self {
        Self { required: required.len(), paths: required.into_iter().chain(optional).collect(), folder: None }
    }

    /// Promises two things, with which fewer of them have to be looked at: all of them are directly in this folder, and
    /// while the first one stays as it is, no other contents of the other required ones make another value. (So it is with
    /// a certificate and its key: only one key fits.)
    pub fn led_by_first(self, folder: Arc<Folder>) -> Self {
        Self { folder: Some(folder), ..self }
    }

    pub(super) fn folder(&self) -> Option<&Folder> {
        self.folder.as_deref()
    }

    pub fn required(&self) -> &[PathBuf] {
        self.paths.get(..self.required).unwrap_or_default()
    }

    /// Whether the last look found a required file missing.
    pub(super) fn is_gone(&self, seen: &[Seen]) -> bool {
        seen.iter().take(self.required).any(Seen::is_absent)
    }

    fn first(&self) -> PathBuf {
        self.paths.first().cloned().unwrap_or_default()
    }
}

impl From<Vec<PathBuf>> for Files {
    fn from(required: Vec<PathBuf>) -> Self {
        Self::new(required, Vec::new())
    }
}

/// Which file, and which state of it, a path led to. Symbolic links are followed.
///
/// A rename onto the path changes `device` or `inode` (or, where the number of a deleted file is used again,
/// `changed`); writing, truncating, `chmod` and `touch` change `changed`. The modification time alone would miss
/// `cp -p` and every tool that restores it; nothing in user space can set `changed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    /// The inode's change time, in nanoseconds since 1970.
    changed: i64,
}

impl FileIdentity {
    /// `stat`, and nothing but: what the standard library asks for besides, the time of birth, is kept elsewhere in the
    /// kernel's memory than the rest, and a rarely used certificate's is in no cache.
    pub fn of(path: &Path) -> io::Result<Self> {
        with_terminated(path, |path| {
            let mut status = MaybeUninit::<libc::stat>::uninit();
            // SAFETY: the path ends with a NUL and outlives the call, and `status` has room for what stat(2) writes.
            if unsafe { libc::stat(path.as_ptr(), status.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: stat(2) has succeeded, so it has filled all of it.
            Ok(Self::from(&unsafe { status.assume_init() }))
        })
    }

    /// Whether it is the same file or folder, in whatever state.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether a change made after `before` was read from the clock is certain to give another identity.
    ///
    /// The kernel stamps `changed` from a clock that advances once a tick (1 to 10 ms), so two changes within a tick
    /// can carry one stamp: the problem git calls "racily clean". If the clock had already passed the stamp when the
    /// file was looked at, whatever changes it later gets a later stamp. A stamp without a fraction of a second may
    /// come from a file system that keeps whole seconds (or, FAT, two). A stamp from the future (the clock was set
    /// back) is settled: a new one can only equal it by hitting its nanosecond.
    pub(crate) fn is_settled(&self, before: i64) -> bool {
        const SECOND: i64 = 1_000_000_000;
        let granularity = if self.changed % SECOND == 0 { 2 * SECOND } else { 0 };
        let age = before.saturating_sub(self.changed);
        age > granularity || age < -SECOND
    }
}

impl From<&libc::stat> for FileIdentity {
    // On some targets these fields have other types.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    fn from(status: &libc::stat) -> Self {
        Self {
            device: status.st_dev as u64,
            inode: status.st_ino as u64,
            size: status.st_size as u64,
            modified: nanoseconds(status.st_mtime as i64, status.st_mtime_nsec as i64),
            changed: nanoseconds(status.st_ctime as i64, status.st_ctime_nsec as i64),
        }
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Paths that are no longer are terminated without an allocation.
const USUAL_PATH: usize = 384;

fn with_terminated<T>(path: &Path, call: impl FnOnce(&CStr) -> io::Result<T>) -> io::Result<T> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let mut buffer = [0u8; USUAL_PATH];
    match buffer.get_mut(..bytes.len()) {
        // The last byte of the buffer stays NUL.
        Some(place) if bytes.len() < USUAL_PATH => {
            place.copy_from_slice(bytes);
            let terminated = buffer.get(..=bytes.len()).unwrap_or_default();
            call(CStr::from_bytes_with_nul(terminated).map_err(|_| io::ErrorKind::InvalidInput)?)
        }
        _ => call(&CString::new(bytes)?),
    }
}

/// What `stat` said about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    File(FileIdentity),
    /// Absent, or out of reach: behind a folder that may not be searched, say. Unlike a file, nothing has no states to
    /// confuse: whatever comes into being at the path is a [`Seen::File`].
    Nothing(io::ErrorKind),
}

impl Seen {
    fn at(path: &Path) -> Self {
        FileIdentity::of(path).map_or_else(|error| Self::Nothing(error.kind()), Self::File)
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Nothing(io::ErrorKind::NotFound))
    }
}

/// Whether every path still leads to what was seen before: one `stat` each, no allocation.
pub(crate) fn unchanged(files: &Files, seen: &[Seen]) -> bool {
    files.paths.iter().zip(seen).all(|(path, seen)| Seen::at(path) == *seen)
}

/// Which of the files have to be looked at while no entry of their folder changes: a bit each, from the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched(pub(super) u16);

impl Watched {
    /// Files beyond the bits there are always have to be.
    fn has(self, position: usize) -> bool {
        u32::try_from(position)
            .ok()
            .and_then(|bits| self.0.checked_shr(bits))
            .is_none_or(|rest| rest & 1 == 1)
    }

    fn with(self, position: usize) -> Self {
        let bit = u32::try_from(position).ok().and_then(|bits| 1u16.checked_shl(bits));
        Self(self.0 | bit.unwrap_or(0))
    }
}

/// The same as [`unchanged`] for files that are led by the first, and if so, which of them suffice from then on: the first
/// one; optional ones that are there, whose settings can be rewritten in place; and links, since what is behind them
/// changes without their folder. That leaves out what is absent, and a key, unless it is a link.
pub(super) fn unchanged_led(files: &Files, seen: &[Seen]) -> Option<Watched> {
    let mut watched = Watched(1);
    for (position, (path, seen)) in files.paths.iter().zip(seen).enumerate() {
        let (now, rests) = match std::fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => (Seen::at(path), false),
            Ok(metadata) => (Seen::File(FileIdentity::from(&metadata)), position < files.required),
            Err(error) => (Seen::Nothing(error.kind()), error.kind() == io::ErrorKind::NotFound),
        };
        if now != *seen {
            return None;
        }
        if !rests {
            watched = watched.with(position);
        }
    }
    Some(watched)
}

/// Whether those of the paths still lead to what was seen before.
pub(super) fn unchanged_of(files: &Files, seen: &[Seen], watched: Watched) -> bool {
    let mut all = files.paths.iter().zip(seen).enumerate();
    all.all(|(position, (path, seen))| !watched.has(position) || Seen::at(path) == *seen)
}

/// A file's bytes. Not `Debug`: it may hold a private key, and so the memory is cleared when it is given back.
pub struct Contents {
    pub path: PathBuf,
    pub bytes: Zeroizing<Vec<u8>>,
    /// Permission bits, of the file that the bytes came from.
    pub mode: u32,
    /// How long the file had been as it is when it was read.
    pub age: Duration,
    /// Why an optional file that is there could not be read. `bytes` is empty then.
    pub trouble: Option<Arc<ReadError>>,
}

/// Several files, as they were together at one moment.
pub(crate) struct Reading {
    pub(crate) seen: Box<[Seen]>,
    /// Whether a later change is certain to be noticed by [`unchanged`].
    pub(crate) settled: bool,
    /// In the order of the paths, without optional files that are missing.
    pub(crate) contents: Result<Vec<Contents>, ReadError>,
}

impl Reading {
    /// Where nothing could be looked at: the runtime has ended.
    pub(crate) fn none(files: &Files) -> Self {
        Self {
            seen: files.paths.iter().map(|_| Seen::Nothing(io::ErrorKind::Interrupted)).collect(),
            settled: false,
            contents: Err(ReadError::Changing { path: files.first() }),
        }
    }
}

/// Reads the files, each required one at most `limit` bytes, each optional one [`OPTIONAL_LIMIT`]. Blocks.
///
/// In order: the clock, `stat` of each path, then for each file `open`, `fstat`, `read` to the end, and at last `stat`
/// of each path again. A try counts only if the second round of `stat` equals the first and every opened file is the
/// one its path led to. Then each file was the same and unmodified from before its bytes were read until after the
/// last file's were, so there was a moment at which all of them together held exactly what was read: what a half
/// finished update looks like may be returned, a mixture that never existed on disk may not. An optional file that is
/// missing takes part in this: it was missing at both rounds, and if it came into being in between, the second differs.
pub(crate) fn read_together(files: &Files, limit: usize) -> Reading {
    let look = || -> Box<[Seen]> { files.paths.iter().map(|path| Seen::at(path)).collect() };
    for _ in 0..TRIES {
        let clock = file_clock();
        let seen = look();
        let contents = read_all(files, &seen, limit);
        let moved = matches!(contents, Err(ReadError::Changing { .. }));
        if !moved && unchanged(files, &seen) {
            let settled = seen.iter().all(|seen| match seen {
                Seen::File(identity) => identity.is_settled(clock),
                Seen::Nothing(_) => true,
            });
            return Reading { seen, settled, contents };
        }
        pause();
    }
    Reading { seen: look(), ..Reading::none(files) }
}

/// An optional file that cannot be read is handed on with the reason: whether that matters is for the loader to say.
fn read_all(files: &Files, seen: &[Seen], limit: usize) -> Result<Vec<Contents>, ReadError> {
    let mut all = Vec::with_capacity(files.paths.len());
    for (position, (path, seen)) in files.paths.iter().zip(seen).enumerate() {
        if position < files.required {
            all.push(read(path, seen, limit)?);
            continue;
        }
        match read(path, seen, OPTIONAL_LIMIT) {
            Ok(contents) => all.push(contents),
            Err(ReadError::Missing { .. }) => {}
            Err(error) if error.is_passing() || matches!(error, ReadError::Changing { .. }) => {
                return Err(error);
            }
            Err(error) => all.push(Contents {
                path: path.clone(),
                bytes: Zeroizing::default(),
                mode: 0,
                age: Duration::ZERO,
                trouble: Some(Arc::new(error)),
            }),
        }
    }
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "only blocking threads read files")]
fn pause() {
    std::thread::sleep(Duration::from_micros(200));
}

/// Reads one file that is not part of a set: bounded, and only if it is a regular file. Blocks.
pub(crate) fn read_alone(path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut reading = read_together(&vec![path.to_owned()].into(), limit).contents?;
    Ok(reading.pop().map(|mut contents| std::mem::take(&mut *contents.bytes)).unwrap_or_default())
}

fn read(path: &Path, seen: &Seen, limit: usize) -> Result<Contents, ReadError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ReadError::Missing { path: path.to_owned() },
        _ => ReadError::Open { path: path.to_owned(), source },
    };
    // Looked at before it is opened, since opening a device may already do something. `O_NONBLOCK` is for the FIFO that
    // takes the file's place in between: opening one for reading would otherwise wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: path.to_owned() });
    }
    if Seen::File(FileIdentity::from(&metadata)) != *seen {
        return Err(ReadError::Changing { path: path.to_owned() });
    }
    let bytes = read_bounded(&file, metadata.size(), limit).map_err(failed)?;
    let size = metadata.size();
    let bytes = bytes.ok_or_else(|| ReadError::TooLarge { path: path.to_owned(), size, limit })?;
    let age = file_clock().saturating_sub(FileIdentity::from(&metadata).changed);
    let age = Duration::from_nanos(u64::try_from(age).unwrap_or(0));
    Ok(Contents {
        path: path.to_owned(),
        bytes: bytes.into(),
        mode: metadata.mode() & 0o7777,
        age,
        trouble: None,
    })
}

/// `None` if there is more than `limit`: decided by what is read, since the size of a file that grows says nothing.
fn read_bounded(file: &File, size: u64, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let expected = usize::try_from(size).unwrap_or(usize::MAX);
    if expected > limit {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(expected.saturating_add(1));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The clock that the kernel stamps files with, in nanoseconds since 1970.
#[cfg(target_os = "linux")]
pub(crate) fn file_clock() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable `timespec`, which is all that clock_gettime(2) asks for.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    if result != 0 {
        // It does not fail on any kernel since 2.6.32. Without it, real time less the coarsest tick in use has to do.
        return real_time_less_a_tick();
    }
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// Elsewhere the stamps' clock cannot be read.
#[cfg(not(target_os = "linux"))]
pub(crate) fn file_clock() -> i64 {
    real_time_less_a_tick()
}

fn real_time_less_a_tick() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX).saturating_sub(10_000_000)
}

/// Why files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{} is missing; put it (back) in place", path.display())]
    Missing { path: PathBuf },
    #[error("{} cannot be read; check its owner and permissions and those of its folders", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; folders, devices and pipes are never opened", path.display())]
    NotAFile { path: PathBuf },
    /// One that grew while it was read has a size within the limit.
    #[error("{} has {size} bytes, and at most {limit} are read; is it the right file?", path.display())]
    TooLarge { path: PathBuf, size: u64, limit: usize },
    #[error("{} keeps changing while it is read; write beside it and rename over it", path.display())]
    Changing { path: PathBuf },
}

impl ReadError {
    /// Whether the cause may pass without the file's identity changing: the process was short of something.
    pub(crate) fn is_passing(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        matches!(
            source.raw_os_error(),
            Some(
                libc::EMFILE
                    | libc::ENFILE
                    | libc::ENOMEM
                    | libc::EIO
                    | libc::EINTR
                    | libc::EAGAIN
                    | libc::ESTALE
            )
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_with_the_same_size_and_modification_time_has_another_identity() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&path, "one").unwrap();
        let before = FileIdentity::of(&path).unwrap();
        std::fs::write(&other, "two").unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let after = FileIdentity::of(&path).unwrap();
        assert_eq!(before.modified, after.modified);
        assert_eq!(before.size, after.size);
        assert_ne!(before, after);
    }

    #[test]
    fn a_stamp_is_settled_only_after_the_clock_has_passed_it() {
        let identity = |changed| FileIdentity { device: 1, inode: 1, size: 1, modified: 0, changed };
        let now = 1_700_000_000_500_000_000;
        assert!(!identity(now).is_settled(now));
        assert!(identity(now - 1).is_settled(now));
        assert!(!identity(now - 500_000_000).is_settled(now), "whole seconds are trusted after two of them");
        assert!(identity(now - 2_500_000_000).is_settled(now));
        assert!(
            identity(now + 3_600_000_000_001).is_settled(now),
            "a stamp from the future cannot be hit again"
        );
    }

    #[test]
    fn an_optional_file_may_be_missing_and_its_coming_and_going_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "1").unwrap();
        let files = Files::new(vec![one], vec![two.clone()]);
        let read = || {
            let reading = read_together(&files, 10);
            let texts: Vec<_> =
                reading.contents.unwrap().into_iter().map(|file| file.bytes.to_vec()).collect();
            (reading.seen, texts)
        };
        let (without, texts) = read();
        assert_eq!(texts, [b"1"]);
        assert!(unchanged(&files, &without) && !files.is_gone(&without));
        std::fs::write(&two, "2").unwrap();
        assert!(!unchanged(&files, &without));
        let (with, texts) = read();
        assert_eq!(texts, [b"1", b"2"]);
        std::fs::remove_file(&two).unwrap();
        assert!(!unchanged(&files, &with) && unchanged(&files, &without));
        std::fs::create_dir(&two).unwrap();
        let contents = read_together(&files, 10).contents.unwrap();
        assert!(matches!(contents[1].trouble.as_deref(), Some(ReadError::NotAFile { .. })));
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        std::fs::write(&large, [0; 11]).unwrap();
        assert!(matches!(read_alone(&large, 10), Err(ReadError::TooLarge { .. })));
        assert_eq!(read_alone(&large, 11).unwrap().len(), 11);
        assert!(matches!(read_alone(folder.path(), 10), Err(ReadError::NotAFile { .. })));
        assert!(matches!(read_alone(Path::new("/dev/zero"), 10), Err(ReadError::NotAFile { .. })));
        assert!(matches!(read_alone(&folder.path().join("none"), 10), Err(ReadError::Missing { .. })));
        let pipe = folder.path().join("pipe");
        let name = std::ffi::CString::new(pipe.as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: `name` is a NUL-terminated path that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(matches!(read_alone(&pipe, 10), Err(ReadError::NotAFile { .. })));
    }

    #[test]
    fn absent_files_and_plain_keys_rest_on_their_folder_and_links_do_not() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let files = Files::new(vec![path("a.crt"), path("a.key")], vec![path("a.toml"), path("a.ocsp")]);
        std::fs::write(path("a.crt"), "1").unwrap();
        std::fs::write(path("a.key"), "1").unwrap();
        let watched = || unchanged_led(&files, &read_together(&files, 10).seen);
        assert_eq!(watched(), Some(Watched(0b0001)));
        std::fs::write(path("a.toml"), "").unwrap();
        assert_eq!(watched(), Some(Watched(0b0101)));
        std::os::unix::fs::symlink("nowhere", path("a.ocsp")).unwrap();
        assert_eq!(watched(), Some(Watched(0b1101)));
        std::fs::rename(path("a.key"), path("key")).unwrap();
        std::os::unix::fs::symlink("key", path("a.key")).unwrap();
        assert_eq!(watched(), Some(Watched(0b1111)));

        let seen = read_together(&files, 10).seen;
        std::fs::write(path("key"), "22").unwrap();
        assert_eq!(unchanged_led(&files, &seen), None);
        assert!(!unchanged_of(&files, &seen, Watched(0b0010)));
        assert!(unchanged_of(&files, &seen, Watched(0b1101)));
        assert!(Watched(0).has(16), "no bit, no rest");
    }

    #[test]
    fn a_path_of_any_length_has_the_identity_that_the_standard_library_tells() {
        let root = tempfile::tempdir().unwrap();
        let mut path = root.path().to_owned();
        for _ in 0..20 {
            path.push("a-folder-with-a-long-name");
            std::fs::create_dir(&path).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(FileIdentity::of(&path).unwrap(), FileIdentity::from(&metadata));
        }
        assert!(path.as_os_str().len() > USUAL_PATH);
        for (path, kind) in [
            (root.path().join("none"), io::ErrorKind::NotFound),
            (PathBuf::from("a\0b"), io::ErrorKind::InvalidInput),
            (PathBuf::from(""), io::ErrorKind::NotFound),
        ] {
            assert_eq!(FileIdentity::of(&path).unwrap_err().kind(), kind, "{path:?}");
        }
    }
}
