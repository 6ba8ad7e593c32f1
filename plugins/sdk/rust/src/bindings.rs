//! What `wit-bindgen` makes of `wit/v1/policy.wit`. Used by the rest of this crate and by what [`export!`](crate::export)
//! expands to; policies see it only through the re-exports in the crate root.
//!
//! A world per hook, and not the world `policy` that has them all: a component must export exactly the hooks its policy
//! implements, for the gateway calls every hook it finds. The hook worlds take the imported interfaces from one module, so
//! each type exists once. Each `generate!` leaves its description of its world in a custom section of the core module;
//! `wit-component` merges the sections, and leaves out every import that the code does not call.

pub use alloc::{string::String, vec::Vec};

/// Everything that can be imported, granted or not.
pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        world: "granted-imports",
        additional_derives: [PartialEq, Eq],
    });
}

/// The types that hooks bring along, from the module of each.
pub mod exports {
    pub use super::{
        select::exports::handfast::policy::select::{Decision, Verdict},
        validate::exports::handfast::policy::validate::{Attribute, Rejection},
    };
}

macro_rules! hook {
    ($(#[$documentation:meta])* $module:ident, $world:literal) => {
        $(#[$documentation])*
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                with: {
                    "handfast:policy/types@1.0.0": crate::bindings::imports::handfast::policy::types,
                    "handfast:policy/log@1.0.0": crate::bindings::imports::handfast::policy::log,
                    "handfast:policy/certificates@1.0.0": crate::bindings::imports::handfast::policy::certificates,
                    "handfast:policy/clock@1.0.0": crate::bindings::imports::handfast::policy::clock,
                    "handfast:policy/random@1.0.0": crate::bindings::imports::handfast::policy::random,
                },
                additional_derives: [PartialEq, Eq],
                pub_export_macro: true,
            });
        }
    };
}

hook!(
    /// `select`
    select,
    "select-policy"
);
hook!(
    /// `validate`
    validate,
    "validate-policy"
);
hook!(
    /// `admit`
    admit,
    "admit-policy"
);
hook!(
    /// `configure`
    configure,
    "configurable"
);
