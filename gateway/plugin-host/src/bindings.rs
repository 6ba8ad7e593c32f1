//! The interface of `wit/v1` as Rust types and traits.
//!
//! Generated once for the world that has everything; which hooks a component really exports is found out per
//! interface (`exports::handfast::policy::*::GuestIndices`), so the world's own struct is never built. Imports are
//! plain functions that may trap, except `certificates.find`, the only one that may have to wait: a future per host
//! call costs more than most of the calls themselves.

#![allow(unreachable_pub, dead_code, reason = "generated for the whole world, more than is called")]

wasmtime::component::bindgen!({
    path: "../../wit/v1",
    world: "handfast:policy/policy",
    imports: {
        "handfast:policy/certificates.find": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "handfast:policy/types.connection": crate::imports::resources::CurrentConnection,
        "handfast:policy/types.client-hello": crate::imports::resources::CurrentHello,
        "handfast:policy/types.certificate": crate::imports::resources::LentCertificate,
        "handfast:policy/types.peer-certificate": crate::imports::resources::LentPeerCertificate,
        "handfast:policy/types.peer-chain": crate::imports::resources::CurrentChain,
    },
});
