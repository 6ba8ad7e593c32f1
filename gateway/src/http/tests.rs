//! The HTTP side against real sockets: plain TCP in place of TLS, scripted peers on both ends.

mod bodies;
mod bounds;
mod drain;
mod harness;
mod headers;
mod http2;
mod leaving;
mod refusals;
mod rest;
mod timeouts;
mod upstreams;
mod websocket;
