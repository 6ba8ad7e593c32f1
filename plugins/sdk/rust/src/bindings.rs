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

/// `wasi:http` and `wasi:io` of version 0.2.0, as much of them as [`http`](crate::http) calls: an interface may be imported
/// in part. Spelling, order and cases are those of the standard.
pub mod http {
    wit_bindgen::generate!({
        inline: r#"
            package handfast:outgoing;

            package wasi:io@0.2.0 {
                interface error { resource error; }
                interface poll { resource pollable { block: func(); } }
                interface streams {
                    use error.{error};
                    variant stream-error { last-operation-failed(error), closed }
                    resource input-stream {
                        blocking-read: func(len: u64) -> result<list<u8>, stream-error>;
                    }
                    resource output-stream {
                        blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                    }
                }
            }

            package wasi:http@0.2.0 {
                interface types {
                    use wasi:io/streams@0.2.0.{input-stream, output-stream};
                    use wasi:io/poll@0.2.0.{pollable};
                    variant method {
                        get, head, post, put, delete, connect, options, trace, patch, other(string)
                    }
                    variant scheme { HTTP, HTTPS, other(string) }
                    record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
                    record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
                    record field-size-payload { field-name: option<string>, field-size: option<u32> }
                    variant error-code {
                        DNS-timeout,
                        DNS-error(DNS-error-payload),
                        destination-not-found,
                        destination-unavailable,
                        destination-IP-prohibited,
                        destination-IP-unroutable,
                        connection-refused,
                        connection-terminated,
                        connection-timeout,
                        connection-read-timeout,
                        connection-write-timeout,
                        connection-limit-reached,
                        TLS-protocol-error,
                        TLS-certificate-error,
                        TLS-alert-received(TLS-alert-received-payload),
                        HTTP-request-denied,
                        HTTP-request-length-required,
                        HTTP-request-body-size(option<u64>),
                        HTTP-request-method-invalid,
                        HTTP-request-URI-invalid,
                        HTTP-request-URI-too-long,
                        HTTP-request-header-section-size(option<u32>),
                        HTTP-request-header-size(option<field-size-payload>),
                        HTTP-request-trailer-section-size(option<u32>),
                        HTTP-request-trailer-size(field-size-payload),
                        HTTP-response-incomplete,
                        HTTP-response-header-section-size(option<u32>),
                        HTTP-response-header-size(field-size-payload),
                        HTTP-response-body-size(option<u64>),
                        HTTP-response-trailer-section-size(option<u32>),
                        HTTP-response-trailer-size(field-size-payload),
                        HTTP-response-transfer-coding(option<string>),
                        HTTP-response-content-coding(option<string>),
                        HTTP-response-timeout,
                        HTTP-upgrade-failed,
                        HTTP-protocol-error,
                        loop-detected,
                        configuration-error,
                        internal-error(option<string>)
                    }
                    variant header-error { invalid-syntax, forbidden, immutable }
                    resource fields {
                        from-list: static func(entries: list<tuple<string, list<u8>>>)
                            -> result<fields, header-error>;
                        entries: func() -> list<tuple<string, list<u8>>>;
                    }
                    resource outgoing-request {
                        constructor(headers: fields);
                        body: func() -> result<outgoing-body>;
                        set-method: func(method: method) -> result;
                        set-path-with-query: func(path-with-query: option<string>) -> result;
                        set-scheme: func(scheme: option<scheme>) -> result;
                        set-authority: func(authority: option<string>) -> result;
                    }
                    resource request-options {
                        constructor();
                        set-first-byte-timeout: func(duration: option<u64>) -> result;
                    }
                    resource outgoing-body {
                        write: func() -> result<output-stream>;
                        finish: static func(this: outgoing-body, trailers: option<fields>)
                            -> result<_, error-code>;
                    }
                    resource future-incoming-response {
                        subscribe: func() -> pollable;
                        get: func() -> option<result<result<incoming-response, error-code>>>;
                    }
                    resource incoming-response {
                        status: func() -> u16;
                        headers: func() -> fields;
                        consume: func() -> result<incoming-body>;
                    }
                    resource incoming-body {
                        %stream: func() -> result<input-stream>;
                    }
                }
                interface outgoing-handler {
                    use types.{outgoing-request, request-options, future-incoming-response, error-code};
                    handle: func(request: outgoing-request, options: option<request-options>)
                        -> result<future-incoming-response, error-code>;
                }
            }

            world calls {
                import wasi:http/outgoing-handler@0.2.0;
            }
        "#,
        world: "handfast:outgoing/calls",
        generate_all,
    });
}
