//! What the two sides of a plain connection agree on: the turns of a TLS 1.3 handshake, without TLS.
//!
//! The load generator takes the client's part, `handfast-plain handshake` the server's. Each message is one write of
//! about as many bytes as the handshakes of the benchmarks have there, so what the kernel has to do for a handshake is
//! done and nothing else.

/// The client's first message.
pub const HELLO: usize = 240;

/// The server's answer: its hello, the certificate, the signature, Finished.
pub const FLIGHT: usize = 800;

/// The client's Finished.
pub const FINISHED: usize = 80;

/// Two tickets.
pub const TICKETS: usize = 480;

/// The client's goodbye.
pub const GOODBYE: usize = 24;
