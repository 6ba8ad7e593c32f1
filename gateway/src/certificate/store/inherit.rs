//! What a new store takes over from the one before it: last good pairs.
//!
//! `reload` calls this at SIGHUP, when the settings of the sources changed and the store was built anew from the files. What
//! the files hold is judged by the new settings. Where they hold nothing that may be served (a pair was broken or deleted
//! since it went live), the pair that is being served goes on: changing an unrelated key of the configuration must not
//! take a site down. Nothing else is taken over, so a pair whose files are sound is never an older one.
//!
//! A source is the same as before if it has the same folder; its name, and so the ids, may have changed. A pair keeps the
//! tags that it went live with, since those of its own cannot be told from those of the source any more; but of a key that the
//! source has now, its value counts.

use std::sync::Arc;

use super::entry::Entry;
use super::{CertificateStore, Finding, Severity, lock};
use crate::certificate::Certificate;
use crate::certificate::source::directory::Candidate;
use crate::config::OnDelete;
use crate::telemetry::{error_chain, one_line};

/// A pair of the store before, under the id it has here.
struct Heirloom {
    candidate: Candidate,
    certificate: Arc<Certificate>,
}

impl CertificateStore {
    /// Goes on serving what `previous` serves and the files do not hold any more. Returns what became of the findings that
    /// [`open`](Self::open) had.
    pub async fn inherit(self: &Arc<Self>, previous: &Self, mut findings: Vec<Finding>) -> Vec<Finding> {
        self.tally.follow(&previous.tally);
        for position in 0..self.sources.len() {
            let heirlooms = self.heirlooms(position, previous);
            let store = Arc::clone(self);
            let kept = self.each_blocking(heirlooms, move |heirloom| store.keep(position, heirloom)).await;
            for entry in kept.into_iter().flatten() {
                findings
                    .retain(|finding| finding.severity != Severity::Error || finding.subject != *entry.id);
                if let Some(reason) = entry.fresh.last_error() {
                    let text =
                        format!("{}; the last good pair keeps serving", one_line(&error_chain(&*reason)));
                    findings.push(Finding::new(Severity::Warning, entry.id.to_string(), text));
                }
                self.take_over(position, &[entry]);
            }
        }
        findings
    }

    /// The pairs of the same folder that this store has nothing for.
    fn heirlooms(&self, position: usize, previous: &Self) -> Vec<Heirloom> {
        let Some(source) = self.sources.get(position) else { return Vec::new() };
        let mut heirlooms = Vec::new();
        for entry in previous.by_id.values().filter(|entry| entry.source.path == source.config.path) {
            let files = entry.fresh.files().to_vec();
            let Ok(id) = lock(&source.tree).id_of(&files) else { continue };
            let is_new = !heirlooms.iter().any(|heirloom: &Heirloom| heirloom.candidate.id == id);
            if is_new && self.by_id.find(&id).is_none() {
                let candidate = Candidate { id, files };
                heirlooms.push(Heirloom { candidate, certificate: entry.fresh.current() });
            }
        }
        heirlooms
    }

    /// Blocks. `None` if it is to be withdrawn.
    fn keep(&self, position: usize, heirloom: Heirloom) -> Option<Arc<Entry>> {
        let source = self.sources.get(position)?;
        let id = Arc::clone(&heirloom.candidate.id);
        // Looked at once more, so that what is known of the files and what they are cannot differ.
        let not_loaded = match self.load(position, heirloom.candidate) {
            Ok(entry) => return Some(entry),
            Err(refused) => refused.not_loaded?,
        };
        if not_loaded.is_gone() && source.config.on_delete == OnDelete::Withdraw {
            return None;
        }
        let serve_expired = source.config.serve_expired;
        let certificate = heirloom.certificate.under(Arc::clone(&id), &source.tags, serve_expired);
        let certificate = Arc::new(certificate);
        self.stapler.adopt(&certificate, &source.config);
        let fresh = self.resume(source, &id, certificate, not_loaded);
        Some(Entry::new(id, Arc::clone(&source.config), fresh))
    }
}
