//! File descriptors: as many as the system allows, and no more connections than they are enough for.
//!
//! A gateway without descriptors is worse than a full one: established clients get 502 because no upstream connection
//! can be opened. So the soft limit is raised to the hard one, and `max-connections` is held to what is left after a
//! reserve, at two a connection: the client's and the upstream's.

use tracing::{info, warn};

/// For sockets that listen, certificates that are read, logs and metrics.
const RESERVE: u64 = 64;

/// The number of connections that may be open at once: as configured, or fewer where descriptors do not suffice.
pub(super) fn connections(configured: usize) -> usize {
    let Some(descriptors) = raise_limit() else { return configured };
    let affordable = usize::try_from(descriptors.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX).max(1);
    if affordable < configured {
        info!(
            max_connections = affordable,
            descriptors,
            "fewer connections than configured: raise the limit of open files (LimitNOFILE=, ulimit -Hn) for more"
        );
    }
    configured.min(affordable).min(tokio::sync::Semaphore::MAX_PERMITS)
}

/// Raises the soft limit of open files to the hard one, and returns what it is then.
fn raise_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, writable `rlimit`, which is all that getrlimit(2) asks for.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live `rlimit`; setrlimit(2) reads it and nothing else.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        warn!(soft, "the limit of open files could not be raised");
        return Some(soft);
    }
    Some(limit.rlim_max)
}
