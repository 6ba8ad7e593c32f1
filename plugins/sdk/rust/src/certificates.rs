//! The gateway's certificates: those whose key and chain are sound and which the `admit` policies let in. Lists hold at
//! most 64. Always available.

use alloc::vec::Vec;

use crate::{Certificate, gateway};

/// Those for a DNS name: exact before wildcard, of either the newest first. Compared without regard to case.
pub fn find(name: &str) -> Vec<Certificate> {
    gateway::certificates::find(name)
}

/// The one of this id.
pub fn by_id(id: &str) -> Option<Certificate> {
    gateway::certificates::by_id(id)
}

/// Those with this tag, ordered by id.
pub fn tagged(key: &str, value: &str) -> Vec<Certificate> {
    gateway::certificates::tagged(key, value)
}

/// The listener's default, for clients without a server name or with an unknown one.
pub fn fallback() -> Option<Certificate> {
    gateway::certificates::fallback()
}
