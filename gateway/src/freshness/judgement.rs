//! What is made of one reading of the files: a value, or the reason why not.
//!
//! [`super::Fresh`] calls this for each attempt. It reads files, asks the loader, and knows nothing of what was there before but
//! what it is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::file::{self, Contents, Files, Reading};
use super::{Load, Outcome, Reason, Refusal};

/// How soon a failure that has nothing to do with the files' content (no file descriptors left) is tried again.
const PASSING: Duration = Duration::from_secs(1);

/// Why there is no value.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// `None` if the files could not even be read.
    pub(super) digest: Option<[u8; 32]>,
    pub(super) retry: Option<Duration>,
    pub(super) gone: bool,
}

impl Failure {
    pub(super) fn outcome(&self) -> Outcome {
        match self.gone {
            true => Outcome::Gone(self.reason.clone()),
            false => Outcome::KeptLastGood(self.reason.clone()),
        }
    }
}

pub(super) async fn read_on(background: &Handle, files: &Files, limit: usize) -> Reading {
    let owned = files.clone();
    let reading = background.spawn_blocking(move || file::read_together(&owned, limit)).await;
    reading.unwrap_or_else(|_ended| Reading::none(files))
}

/// Makes a value from what was read, unless `known` has the answer for contents of that digest.
pub(super) async fn judge<T: Send + Sync + 'static>(
    loader: &Arc<dyn Load<T>>,
    background: &Handle,
    files: &Files,
    reading: Reading,
    known: impl FnOnce(&[u8; 32]) -> Option<Result<Arc<T>, Failure>>,
) -> Result<(Arc<T>, [u8; 32]), Failure> {
    let gone = files.is_gone(&reading.seen);
    let (contents, digest) = unpack(reading, gone)?;
    if let Some(answer) = known(&digest) {
        return answer.map(|value| (value, digest));
    }
    // In a task of its own, so that a loader that panics refuses these files and nothing else.
    let task = loader.clone();
    let loaded = background.spawn(async move { task.load(contents).await }).await;
    verdict(loaded.unwrap_or_else(|_panicked| Err(panicked())), digest, gone)
}

/// The same on this thread, with nothing known.
pub(super) fn judge_blocking<T: Send + Sync + 'static>(
    loader: &Arc<dyn Load<T>>,
    background: &Handle,
    files: &Files,
    reading: Reading,
) -> Result<(Arc<T>, [u8; 32]), Failure> {
    let gone = files.is_gone(&reading.seen);
    let (contents, digest) = unpack(reading, gone)?;
    // The loader's state is behind locks that outlive a panic, as it would be in a task.
    let load = AssertUnwindSafe(|| background.block_on(loader.load(contents)));
    let loaded = catch_unwind(load).unwrap_or_else(|_panicked| Err(panicked()));
    verdict(loaded, digest, gone)
}

fn unpack(reading: Reading, gone: bool) -> Result<(Vec<Contents>, [u8; 32]), Failure> {
    let contents = reading.contents.map_err(|error| {
        let retry = error.is_passing().then_some(PASSING);
        Failure { reason: Arc::new(error), digest: None, retry, gone }
    })?;
    let digest = digest(&contents);
    Ok((contents, digest))
}

fn verdict<T>(
    loaded: Result<Arc<T>, Refusal>,
    digest: [u8; 32],
    gone: bool,
) -> Result<(Arc<T>, [u8; 32]), Failure> {
    match loaded {
        Ok(value) => Ok((value, digest)),
        Err(Refusal { reason, retry }) => Err(Failure { reason, digest: Some(digest), retry, gone }),
    }
}

fn panicked() -> Refusal {
    Refusal { reason: Arc::new(Panicked), retry: Some(PASSING) }
}

fn digest(contents: &[Contents]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for file in contents {
        // Which of the optional files it is.
        digest.update(file.path.as_os_str().as_encoded_bytes());
        // Why it could not be read counts as its content.
        let trouble = file.trouble.as_ref().map(|trouble| trouble.to_string());
        digest.update([0, u8::from(trouble.is_some())]);
        digest.update(trouble.unwrap_or_default());
        digest.update(file.mode.to_le_bytes());
        digest.update(file.bytes.len().to_le_bytes());
        digest.update(&file.bytes);
    }
    digest.finalize().into()
}

#[derive(Debug, thiserror::Error)]
#[error("the loader failed unexpectedly on these files; the log has the place: please report it")]
struct Panicked;
