//! What the parsers promise, tested through their public interface.

mod builder;
mod client_hello;
mod fingerprint;
mod properties;
mod proxy_header;
mod seeds;
