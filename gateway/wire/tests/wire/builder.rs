//! Builds ClientHello messages byte by byte, well-formed or not.

use handfast_wire::{ClientHello, ClientHelloError};

pub(crate) type Extension = (u16, Vec<u8>);

/// The fields of a ClientHello. The lengths around them are always right; the fields may be anything.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) legacy_version: u16,
    pub(crate) session_id: Vec<u8>,
    pub(crate) cipher_suites: Vec<u16>,
    pub(crate) compression_methods: Vec<u8>,
    pub(crate) extensions: Option<Vec<Extension>>,
}

impl Hello {
    /// A small TLS 1.3 hello for `www.example.com`.
    pub(crate) fn modern() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: vec![7; 32],
            cipher_suites: vec![0x1301, 0x1302, 0x1303],
            compression_methods: vec![0],
            extensions: Some(vec![
                server_name("www.example.com"),
                supported_groups(&[0x11ec, 0x001d, 0x0017]),
                signature_algorithms(&[0x0403, 0x0804]),
                alpn(&[b"h2", b"http/1.1"]),
                supported_versions(&[0x0304, 0x0303]),
            ]),
        }
    }

    /// A TLS 1.2 hello without extensions.
    pub(crate) fn old() -> Self {
        Self {
            legacy_version: 0x0303,
            session_id: Vec::new(),
            cipher_suites: vec![0x002f],
            compression_methods: vec![0],
            extensions: None,
        }
    }

    pub(crate) fn with(mut self, extension: Extension) -> Self {
        self.extensions.get_or_insert_default().push(extension);
        self
    }

    /// The handshake message with its header.
    pub(crate) fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend([0x5a; 32]);
        body.extend(vector8(&self.session_id));
        body.extend(vector16(&integers(&self.cipher_suites)));
        body.extend(vector8(&self.compression_methods));
        if let Some(extensions) = &self.extensions {
            let list: Vec<u8> = extensions
                .iter()
                .flat_map(|(kind, body)| [kind.to_be_bytes().to_vec(), vector16(body)].concat())
                .collect();
            body.extend(vector16(&list));
        }
        handshake(1, &body)
    }

    /// What a client sends: the message in records of at most `fragment` bytes.
    pub(crate) fn records(&self, fragment: usize) -> Vec<u8> {
        records(&self.message(), fragment)
    }

    pub(crate) fn read(&self) -> Result<ClientHello, ClientHelloError> {
        ClientHello::read(&self.records(16_384)).map(|hello| hello.expect("the hello is complete"))
    }
}

pub(crate) fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], body].concat()
}

pub(crate) fn records(message: &[u8], fragment: usize) -> Vec<u8> {
    message.chunks(fragment).flat_map(|part| [&[22, 3, 1][..], &vector16(part)].concat()).collect()
}

pub(crate) fn server_name(name: &str) -> Extension {
    (0, vector16(&[&[0][..], &vector16(name.as_bytes())].concat()))
}

pub(crate) fn supported_groups(groups: &[u16]) -> Extension {
    (10, vector16(&integers(groups)))
}

pub(crate) fn ec_point_formats(formats: &[u8]) -> Extension {
    (11, vector8(formats))
}

pub(crate) fn signature_algorithms(schemes: &[u16]) -> Extension {
    (13, vector16(&integers(schemes)))
}

pub(crate) fn alpn(protocols: &[&[u8]]) -> Extension {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| vector8(protocol)).collect();
    (16, vector16(&list))
}

pub(crate) fn supported_versions(versions: &[u16]) -> Extension {
    (43, vector8(&integers(versions)))
}

pub(crate) fn integers(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

pub(crate) fn vector8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub(crate) fn vector16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
