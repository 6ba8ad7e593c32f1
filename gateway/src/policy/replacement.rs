//! What a plugin must have to take another's place while handshakes go on.
//!
//! Not to export a hook is to have no say there, and where a policy has none the next one decides: a policy for client
//! certificates that lost its `validate` would let in everybody whom its predecessor kept out. So `slot` puts no plugin in
//! the place of one that has more hooks. Whoever means it says so by a start, or by a new configuration, both of which ask
//! for a policy as its file is; `reload` then logs what was lost.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use handfast_plugin_host::Hooks;

/// The hooks of the plugin in use.
#[derive(Default)]
pub(super) struct InUse(Mutex<Hooks>);

impl InUse {
    pub(super) fn set(&self, hooks: Hooks) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = hooks;
    }

    /// Whether a plugin of these hooks may take its place.
    pub(super) fn check(&self, hooks: Hooks) -> Result<(), FewerHooks> {
        let old = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lost(old, hooks).map_or(Ok(()), |lost| Err(FewerHooks { lost }))
    }
}

/// A plugin that would have no say where the one in use has one.
#[derive(Debug, thiserror::Error)]
#[error(
    "it does not export {lost}, as the plugin in use does, and what that one judges there nobody of this policy would judge: \
     build it with the hook; or, if it is meant, restart the gateway, or give the plugin a file name of its own, write that \
     to the [[policy]] table and send SIGHUP"
)]
pub struct FewerHooks {
    lost: Lost,
}

/// Hooks that were there and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost(Hooks);

/// `configure` is none that judges; a table that nobody reads any more is refused where a policy is made.
pub fn lost(old: Hooks, new: Hooks) -> Option<Lost> {
    let lost = Hooks {
        select: old.select && !new.select,
        validate: old.validate && !new.validate,
        admit: old.admit && !new.admit,
        configure: false,
    };
    (lost != Hooks::default()).then_some(Lost(lost))
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(hooks) = self;
        let names = [(hooks.select, "`select`"), (hooks.validate, "`validate`"), (hooks.admit, "`admit`")];
        let names: Vec<&str> = names.iter().filter(|(is_lost, _)| *is_lost).map(|(_, name)| *name).collect();
        formatter.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_may_come_and_none_may_go() {
        let select = Hooks { select: true, ..Hooks::default() };
        let all = Hooks { select: true, validate: true, admit: true, configure: true };
        let in_use = InUse::default();
        in_use.check(select).unwrap();
        in_use.set(select);
        in_use.check(all).unwrap();
        in_use.set(all);
        in_use.check(Hooks { configure: false, ..all }).unwrap();
        let error = in_use.check(select).unwrap_err().to_string();
        assert!(error.starts_with("it does not export `validate`, `admit`, as"), "{error}");
        assert!(in_use.check(Hooks { select: false, ..all }).unwrap_err().to_string().contains("`select`"));
    }
}
