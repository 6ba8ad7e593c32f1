//! Policies that judge client certificates where nobody is asked for one.
//!
//! `validate` is called with a client's chain, and without a chain there is nothing to call it for: so a listener whose
//! policy was written to keep people out, and which asks nobody who he is, lets everybody in. `slot` loads no plugin that
//! does nothing else for the connections of such a listener, neither at first nor in the place of another; where it also
//! selects, the listener may be meant, and `reload` and `handfast check` say so.
//!
//! Whether a listener asks is the configuration's, so a slot is made for one answer: `reload` makes another one where a new
//! configuration has another.

use std::fmt;
use std::sync::Arc;

use handfast_plugin_host::Hooks;

use super::Policies;
use crate::config::Listener;

/// A policy of a listener that exports `validate`, which nobody is judged by there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    pub listener: String,
    pub policy: String,
}

impl fmt::Display for Unasked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listener, policy } = self;
        write!(
            formatter,
            "the listener `{listener}` asks for no client certificates, so the `validate` of its policy `{policy}` judges nobody"
        )
    }
}

/// A plugin that has no other say about a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{unasked}, and everybody would come in: add [listener.client-certificates] to the listener, or take `{}` out of its \
     `policies`",
    unasked.policy
)]
pub struct JudgesNobody {
    unasked: Unasked,
}

/// A listener that has the policy and asks for no client certificates.
pub fn listener_of<'a>(policy: &str, listeners: &'a [Arc<Listener>]) -> Option<&'a str> {
    let unasking = listeners.iter().filter(|listener| listener.client_certificates.is_none());
    let mut of = unasking.filter(|listener| listener.policies.iter().any(|name| name == policy));
    of.next().map(|listener| listener.name.as_str())
}

/// Whether a plugin of these hooks may be the policy's; `listener` as [`listener_of`] has it.
pub(super) fn check(policy: &str, listener: Option<&str>, hooks: Hooks) -> Result<(), JudgesNobody> {
    match listener {
        Some(listener) if hooks.validate && !hooks.select => {
            let unasked = Unasked { listener: listener.to_owned(), policy: policy.to_owned() };
            Err(JudgesNobody { unasked })
        }
        _ => Ok(()),
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
            .filter(|(_, slot)| slot.current().hooks().validate)
            .map(|(listener, slot)| Unasked { listener, policy: slot.name().to_owned() })
            .collect()
    }
}
