//! Reading a ClientHello off the wire, and showing it to policies.

use std::io;
use std::sync::Arc;

use handfast_plugin_host as plugin_host;
use handfast_wire::{ClientHello, ClientHelloError};

use crate::transport::Transport;

/// A connection whose ClientHello has arrived and still lies unread in the transport.
#[derive(Debug)]
pub struct Greeted {
    pub(super) transport: Transport,
    pub(super) hello: Arc<Hello>,
}

impl Greeted {
    pub fn hello(&self) -> &Arc<Hello> {
        &self.hello
    }

    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Gives up on TLS: for a refusal, a drop or a passthrough.
    pub fn into_transport(self) -> Transport {
        self.transport
    }
}

/// Why no ClientHello could be read.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    #[error("the client sent no valid ClientHello")]
    Invalid(#[source] ClientHelloError),
    /// Before the first byte: a health check or a port scan.
    #[error("the client closed the connection without sending anything")]
    Silent,
    #[error("the client closed the connection within its ClientHello")]
    Closed,
    #[error("reading the ClientHello failed")]
    Read(#[source] io::Error),
}

/// Reads until the ClientHello is complete. On an error the transport comes back for an orderly close.
pub async fn read(mut transport: Transport) -> Result<Greeted, (GreetingError, Transport)> {
    loop {
        if !transport.unread().is_empty() {
            match ClientHello::read(transport.unread()) {
                Ok(Some(hello)) => return Ok(Greeted { transport, hello: Arc::new(Hello(hello)) }),
                Ok(None) => {}
                Err(error) => return Err((GreetingError::Invalid(error), transport)),
            }
        }
        match transport.read_ahead().await {
            Ok(0) if transport.unread().is_empty() => return Err((GreetingError::Silent, transport)),
            Ok(0) => return Err((GreetingError::Closed, transport)),
            Ok(_) => {}
            Err(error) => return Err((GreetingError::Read(error), transport)),
        }
    }
}

/// The hello as the policy interface shows it.
#[derive(Debug)]
pub struct Hello(ClientHello);

impl From<ClientHello> for Hello {
    fn from(hello: ClientHello) -> Self {
        Self(hello)
    }
}

impl Hello {
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name()
    }

    pub fn ja4(&self) -> String {
        self.0.ja4()
    }
}

impl plugin_host::ClientHello for Hello {
    fn server_name(&self) -> Option<&str> {
        self.0.server_name()
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        self.0.alpn().map(<[u8]>::to_vec).collect()
    }

    fn protocol_versions(&self) -> Vec<u16> {
        self.0.protocol_versions().collect()
    }

    fn cipher_suites(&self) -> Vec<u16> {
        self.0.cipher_suites().collect()
    }

    fn signature_schemes(&self) -> Vec<u16> {
        self.0.signature_schemes().collect()
    }

    fn named_groups(&self) -> Vec<u16> {
        self.0.named_groups().collect()
    }

    fn extensions(&self) -> Vec<u16> {
        self.0.extensions().collect()
    }

    fn ja3(&self) -> String {
        self.0.ja3()
    }

    fn ja4(&self) -> String {
        self.0.ja4()
    }

    fn raw(&self) -> Vec<u8> {
        self.0.raw().to_vec()
    }

    fn offers_resumption(&self) -> bool {
        self.0.offers_resumption()
    }
}
