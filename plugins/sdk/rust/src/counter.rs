//! Metrics. Must be granted: `grants = ["counter"]`.

use crate::gateway;

/// Adds to `handfast_policy_counter_total{policy, name}`. A policy has at most 64 names, each of `[a-z0-9_]` and at most 64
/// bytes; others are dropped and counted.
pub fn add(name: &str, delta: u64) {
    gateway::counter::add(name, delta);
}
