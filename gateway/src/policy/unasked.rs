//! Policies that judge client certificates where nobody is asked for one.
//!
//! `validate` is called with a client's chain, and without a chain there is nothing to call it for: so a listener whose
//! policy was written to keep people out, and which asks nobody who he is, lets everybody in. `reload` refuses to build
//! that where the policy does nothing else for a connection; where it also selects, the listener may be meant, and
//! `reload` and `handfast check` say so.
//!
//! What counts is the plugin as it is when a configuration is built. One that is replaced later changes what its policy
//! does, and not whether the listener asks.

use std::fmt;

use super::Policies;
use crate::config::Listener;

/// A policy of a listener that exports `validate`, which nobody is judged by there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    pub listener: String,
    pub policy: String,
    /// Whether it has no other say about a connection.
    pub judges_nothing_else: bool,
}

impl fmt::Display for Unasked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, policy, .. } = self;
        write!(
            formatter,
            "the listener `{listener}` asks for no client certificates, so the `validate` of its policy `{policy}` judges nobody"
        )
    }
}

impl Policies {
    /// All of them, listener by listener.
    pub fn unasked<'a>(&self, listeners: impl IntoIterator<Item = &'a Listener>) -> Vec<Unasked> {
        let without = listeners.into_iter().filter(|listener| listener.client_certificates.is_none());
        let policies = without.flat_map(|listener| {
            let of = |name: &String| self.slots().iter().find(|slot| slot.name() == name);
            listener.policies.iter().filter_map(of).map(|slot| (listener.name.clone(), slot))
        });
        policies
            .filter_map(|(listener, slot)| {
                let hooks = slot.current().hooks();
                let unasked =
                    Unasked { listener, policy: slot.name().to_owned(), judges_nothing_else: !hooks.select };
                hooks.validate.then_some(unasked)
            })
            .collect()
    }
}
