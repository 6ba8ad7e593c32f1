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
//! - One is kept, with the settings that it was loaded with. A reload of the configuration that changes the policy's own
//!   settings begins anew: a version that was told other settings, or granted more, is no stand-in for one that is told
//!   to do without. So does a restart: what ran before it is not known to have answered.
//!
//! What it costs the operator: where the new plugin closes a hole, whoever can make it fail is judged by the old one. So it
//! is not the default, each such verdict names the old version's digest, and the counter says how many there were.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
pub(super) struct LastGood(ArcSwapOption<Version>);

impl LastGood {
    /// Told of every replacement, in order.
    pub(super) fn replaced(&self, old: &Arc<Version>) {
        if old.answered.load(Ordering::Relaxed) {
            // Its instances that wait for a call would go on taking the pool's room, for calls that may never come.
            old.forget_idle_instances();
            self.0.store(Some(Arc::clone(old)));
        }
    }

    /// Who judges in the place of a version that failed. Nobody where no instance was free: another version needs one too.
    pub(super) fn instead_of(&self, failed: &Arc<Version>, error: &CallError) -> Option<Arc<Version>> {
        if matches!(error, CallError::Busy(_)) {
            return None;
        }
        // A handshake that began before a replacement may find the version that failed here.
        self.0.load_full().filter(|standby| !Arc::ptr_eq(standby, failed))
    }
}
