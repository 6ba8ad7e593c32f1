//! The least that a full handshake can cost: its asymmetric operations and its turns on the socket.
//!
//! The operations are those of the gateway's own library (rustls' provider over aws-lc-rs): an ephemeral key and the
//! exchange with the client's, and a signature. No key schedule, no transcript, no record is made.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use handfast_load::{FINISHED, FLIGHT, HELLO, TICKETS};
use rustls::SignatureScheme;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{kx_group, sign::any_supported_type};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Sign with this key, as a full handshake does
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Exchange keys by this
    #[arg(long, value_enum)]
    group: Option<Group>,
    /// Close after the operations, without a byte in either direction
    #[arg(long)]
    silent: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Group {
    X25519,
    Secp256r1,
    X25519mlkem768,
}

/// What a CertificateVerify signs with SHA-256: 64 spaces, a label of 33 bytes, a zero, the hash (RFC 8446 section 4.4.3).
const SIGNED: [u8; 130] = [b' '; 130];

pub(crate) async fn serve(listener: TcpListener, arguments: &Arguments) -> Result<()> {
    let operations = Arc::new(Operations::of(arguments)?);
    let silent = arguments.silent;
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept")?;
        let operations = Arc::clone(&operations);
        // An error is the client's to report: it waits for what does not come.
        tokio::spawn(async move { connection(stream, &operations, silent).await });
    }
}

async fn connection(mut stream: TcpStream, operations: &Operations, silent: bool) -> io::Result<()> {
    if silent {
        return operations.perform();
    }
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4_096];
    read(&mut stream, &mut buffer, HELLO).await?;
    operations.perform()?;
    stream.write_all(&[b'.'; FLIGHT]).await?;
    read(&mut stream, &mut buffer, FINISHED).await?;
    stream.write_all(&[b'.'; TICKETS]).await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// As a server reads: what there is, until it is enough.
async fn read(stream: &mut TcpStream, buffer: &mut [u8], enough: usize) -> io::Result<()> {
    let mut got = 0;
    while got < enough {
        match stream.read(buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => got += more,
        }
    }
    Ok(())
}

struct Operations {
    exchange: Option<(&'static dyn SupportedKxGroup, Vec<u8>)>,
    key: Option<Arc<dyn SigningKey>>,
}

impl Operations {
    fn of(arguments: &Arguments) -> Result<Self> {
        let exchange = arguments.group.map(|group| -> Result<_> {
            let group = match group {
                Group::X25519 => kx_group::X25519,
                Group::Secp256r1 => kx_group::SECP256R1,
                Group::X25519mlkem768 => kx_group::X25519MLKEM768,
            };
            // One client share does for all: what the server does with it is always as much.
            let share = group.start().context("no key of this group")?.pub_key().to_vec();
            Ok((group, share))
        });
        let key = arguments.key.as_ref().map(|path| -> Result<_> {
            let key = PrivateKeyDer::from_pem_file(path)
                .with_context(|| format!("no private key in {}", path.display()))?;
            any_supported_type(&key).context("this private key is not supported")
        });
        Ok(Self { exchange: exchange.transpose()?, key: key.transpose()? })
    }

    fn perform(&self) -> io::Result<()> {
        if let Some((group, share)) = &self.exchange {
            let done = group.start_and_complete(share).map_err(io::Error::other)?;
            std::hint::black_box(done.secret.secret_bytes());
        }
        if let Some(key) = &self.key {
            let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];
            let signer = key.choose_scheme(&schemes).ok_or_else(|| io::Error::other("no scheme"))?;
            std::hint::black_box(signer.sign(&SIGNED).map_err(io::Error::other)?);
        }
        Ok(())
    }
}
