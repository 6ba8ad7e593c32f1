//! Randomness from the operating system's generator. Always available.

use alloc::vec::Vec;
use core::hash::BuildHasher;
#[allow(
    deprecated,
    reason = "std's own is not there without std, and its keys are fixed on this target; SipHash itself is sound"
)]
use core::hash::SipHasher;

use crate::gateway;

/// At most 4,096 bytes.
pub fn bytes(length: u32) -> Vec<u8> {
    gateway::random::bytes(length)
}

/// A number to seed a generator or a hasher with.
pub fn unsigned() -> u64 {
    gateway::random::unsigned()
}

/// What the standard library's type of this name is elsewhere: hashes with keys that nobody can guess (SipHash-2-4), so that a
/// client cannot choose names which all meet in one place of a map and make it slow.
///
/// ```
/// use std::collections::HashMap;
///
/// use handfast_policy::random::RandomState;
///
/// let mut seen: HashMap<String, u32, RandomState> = HashMap::default();
/// *seen.entry("a.example".to_owned()).or_default() += 1;
/// ```
///
/// Each draws its keys from [`unsigned`] when it is made: two calls of the gateway. So maps of one instance differ, too.
#[derive(Debug, Clone)]
pub struct RandomState {
    keys: [u64; 2],
}

impl RandomState {
    /// One with new keys.
    pub fn new() -> Self {
        Self { keys: [unsigned(), unsigned()] }
    }
}

impl Default for RandomState {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(deprecated, reason = "as above")]
impl BuildHasher for RandomState {
    type Hasher = SipHasher;

    fn build_hasher(&self) -> SipHasher {
        let [first, second] = self.keys;
        SipHasher::new_with_keys(first, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Gateway;

    #[test]
    fn each_state_has_keys_of_its_own() {
        Gateway::default().run(|| {
            let (one, other) = (RandomState::new(), RandomState::new());
            assert_eq!(one.hash_one("a.example"), one.clone().hash_one("a.example"));
            assert_ne!(one.hash_one("a.example"), other.hash_one("a.example"));
        });
    }
}
