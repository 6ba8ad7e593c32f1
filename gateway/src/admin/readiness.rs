//! Whether clients should be sent here: not while a certificate that is required is missing or expired.
//!
//! Load balancers ask every few seconds, so a probe costs a look-up for each required certificate. Which ones those are
//! may stand in files beside the pairs, and finding that out means looking at every certificate (some 10 ms where there are
//! 100,000), so it is done anew only after a change of any kind.

use std::sync::{Arc, Mutex, PoisonError};

use crate::certificate::CertificateStore;

/// Reasons that are named.
const REASONS: usize = 20;

/// What is required, as of the last probe.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    /// The number of the newest change before the look.
    changes: u64,
    required: Arc<[Arc<str>]>,
}

impl Readiness {
    /// Why the gateway is not ready, a line each.
    pub(super) fn judge(&self, certificates: &CertificateStore) -> Result<(), String> {
        let reasons = certificates.unready(&self.required(certificates));
        if reasons.is_empty() {
            return Ok(());
        }
        let mut lines: String = reasons.iter().take(REASONS).map(|reason| format!("{reason}\n")).collect();
        if let Some(more) = reasons.len().checked_sub(REASONS).filter(|more| *more > 0) {
            lines.push_str(&format!("and {more} more\n"));
        }
        Err(lines)
    }

    fn required(&self, certificates: &CertificateStore) -> Arc<[Arc<str>]> {
        let changes = certificates.changes();
        // Held during the look, so that probes that come together look once.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(last) if last.changes == changes => Arc::clone(&last.required),
            _ => {
                let required: Arc<[Arc<str>]> = certificates.required().into();
                *last = Some(Last { changes, required: Arc::clone(&required) });
                required
            }
        }
    }
}
