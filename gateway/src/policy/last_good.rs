//! Which version of a policy judges where the newest has no verdict and the operator wrote `on-error = "last-good"`.
//!
//! A [`Slot`](super::slot::Slot) tells of each plugin that took another's place, and asks for the one to stand in. Nothing
//! here calls a policy.
//!
//! # Memo: which version is the last good one
//!
//! The goal: a plugin that loads and then traps must not cost handshakes that its predecessor would have judged.
//!
//! - It is the last version *other than the newest* that ever gave a verdict, not the last that did: a new plugin that
//!   answers most hellos and traps on a few would otherwise make itself the last good one with its first answer, and
//!   leave nobody to judge the few.
//! - One that never gave a verdict is never it. So of several bad updates in a row none takes the good one's place.
//! - One that was withdrawn is never it. An operator who puts back a file that was there before takes back all that came
//!   after it: those are not who he wants to be judged by. Told by the digests of up to [`REMEMBERED`] versions.
//! - One is kept, with the settings that it was loaded with. A reload of the configuration that changes the policy's own
//!   settings begins anew: a version that was told other settings, or granted more, is no stand-in for one that is told
//!   to do without. So does a restart: what ran before it is not known to have answered.
//!
//! What it costs the operator: where the new plugin closes a hole, whoever can make it fail is judged by the old one. So it
//! is not the default, each such verdict names the old version's digest, and the counter says how many there were.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use handfast_plugin_host::{CallError, Policy};

/// A policy as one plugin file made it.
pub struct Version {
    policy: Policy,
    answered: AtomicBool,
    /// Whether it was told that another judges in its place.
    told: AtomicBool,
}

impl Version {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, answered: AtomicBool::new(false), told: AtomicBool::new(false) }
    }

    /// A hook of it gave a verdict.
    pub(super) fn gave_a_verdict(&self) {
        // Looked at first: the line stays shared between the workers' processors.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// True the first time.
    pub(super) fn is_first_failure(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }
}

impl Deref for Version {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

/// The version that stands in for the newest.
#[derive(Default)]
pub(super) struct LastGood {
    standby: ArcSwapOption<Version>,
    /// The digests of the newest version and of those before it, without what was withdrawn.
    line: Mutex<Vec<String>>,
}

/// Of versions that a file can be put back to.
const REMEMBERED: usize = 32;

impl LastGood {
    /// Told of every replacement, in order.
    pub(super) fn replaced(&self, old: &Arc<Version>, new: &Version) {
        // A list of texts, whoever panicked with it.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if line.is_empty() {
            line.push(old.digest().to_owned());
        }
        if let Some(before) = line.iter().position(|digest| digest == new.digest()) {
            line.truncate(before + 1);
            let is_withdrawn = |standby: &Version| !line.iter().any(|digest| digest == standby.digest());
            if self.standby.load().as_deref().is_some_and(is_withdrawn) {
                self.standby.store(None);
            }
            return;
        }
        line.push(new.digest().to_owned());
        let surplus = line.len().saturating_sub(REMEMBERED);
        line.drain(..surplus);
        if old.answered.load(Ordering::Relaxed) {
            // Its instances that wait for a call would go on taking the pool's room, for calls that may never come.
            old.forget_idle_instances();
            self.standby.store(Some(Arc::clone(old)));
        }
    }

    /// Who judges in the place of a version that failed. Nobody where no instance was free, or no memory for one: another version
    /// needs them too.
    pub(super) fn instead_of(&self, failed: &Arc<Version>, error: &CallError) -> Option<Arc<Version>> {
        if matches!(error, CallError::Busy(_) | CallError::NoRoom { .. }) {
            return None;
        }
        // Where a file was put back, and for a handshake that began before a replacement, it may be the very same.
        self.standby.load_full().filter(|standby| standby.digest() != failed.digest())
    }
}
