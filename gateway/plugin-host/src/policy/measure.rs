//! What an instance takes, for `handfast policy bench`.

use super::Policy;

impl Policy {
    /// Bytes of linear memory of the instance that waits for the next call; `None` where none waits, as in a policy whose
    /// instances are fresh.
    pub fn idle_memory(&self) -> Option<usize> {
        let idle = self.shared.idle.as_ref()?;
        let lease = idle.take()?;
        let memory = lease.store.data().account.memory();
        idle.give(lease);
        Some(memory)
    }
}
