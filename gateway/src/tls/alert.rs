//! Ending a handshake properly: the alert that says why, then a close that lets it arrive.
//!
//! rustls sends the alerts of its own errors. The verdicts of policies are ours to send: before rustls has a
//! configuration as a plaintext record, after the handshake as a record protected with the keys of the session. The
//! latter has no call in rustls, so the record is sealed here with the extracted keys; rustls offers extraction for
//! kernel TLS, and the sequence number that comes with the keys makes this the next record of the connection.
//!
//! A socket closed with unread bytes in its buffer sends RST, and RST discards an alert that is under way. So the
//! write side is shut first and the peer's bytes are read and dropped until it closes, for a bounded time and amount.

use std::io;
use std::time::Duration;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use handfast_wire::AlertDescription;
use rustls::{ConnectionTrafficSecrets, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Established;
use crate::transport::Transport;

/// How long the peer may take to close after an alert.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of the peer that are read and dropped meanwhile.
const LINGER_BYTES: usize = 256 << 10;

/// RFC 8446 section 6: level `fatal`.
const FATAL: u8 = 2;
/// RFC 8446 section 5.1: content type `alert` and `application_data`, and the version every record carries.
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;
const RECORD_VERSION: [u8; 2] = [3, 3];

/// Sends a plaintext alert and closes: for a hello that no handshake was begun with.
pub async fn refuse(mut transport: Transport, alert: AlertDescription) {
    transport.last_words();
    if transport.write_all(&alert.plaintext_record()).await.is_ok() {
        close(transport).await;
    }
}

/// Sends an alert on an established session and closes it: for a client that `validate` does not let in.
pub async fn refuse_established(established: Established, alert: AlertDescription) {
    let (mut transport, session) = established.stream.into_inner();
    let Some(record) = protected_record(session, alert.code()) else { return close(transport).await };
    transport.last_words();
    if transport.write_all(&record).await.is_ok() {
        close(transport).await;
    }
}

/// Shuts the write side and waits, within bounds, for the peer to close its own.
pub async fn close(mut transport: Transport) {
    if transport.shutdown().await.is_err() {
        return;
    }
    let drained = async {
        let mut left = LINGER_BYTES;
        let mut scratch = [0; 1024];
        while let Ok(length @ 1..) = transport.socket().read(&mut scratch).await {
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    // The end of the wait is as good an end as the peer's close.
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// The alert as the next record of the session. `None` where the keys can not be had, which leaves a bare close.
fn protected_record(session: ServerConnection, alert: u8) -> Option<Vec<u8>> {
    let version = session.protocol_version()?;
    let secrets = session.dangerous_extract_secrets().ok()?;
    let (sequence, keys) = secrets.tx;
    match version {
        ProtocolVersion::TLSv1_3 => seal_tls13(&keys, sequence, alert),
        ProtocolVersion::TLSv1_2 => seal_tls12(&keys, sequence, alert),
        _ => None,
    }
}

/// RFC 8446 section 5.2: the content type travels inside, the record header is the additional data.
fn seal_tls13(keys: &ConnectionTrafficSecrets, sequence: u64, alert: u8) -> Option<Vec<u8>> {
    let (key, iv) = open_key(keys)?;
    let mut sealed = vec![FATAL, alert, ALERT];
    let length = u16::try_from(sealed.len() + key.algorithm().tag_len()).ok()?.to_be_bytes();
    let header = [APPLICATION_DATA, RECORD_VERSION[0], RECORD_VERSION[1], length[0], length[1]];
    key.seal_in_place_append_tag(nonce(iv, sequence), Aad::from(header), &mut sealed).ok()?;
    Some([&header[..], &sealed].concat())
}

/// RFC 5246 section 6.2.3.3 and RFC 5288 section 3 (AES-GCM: eight bytes of the nonce are sent), RFC 7905 section 2
/// (ChaCha20-Poly1305: none are).
fn seal_tls12(keys: &ConnectionTrafficSecrets, sequence: u64, alert: u8) -> Option<Vec<u8>> {
    let (key, iv) = open_key(keys)?;
    let mut sealed = vec![FATAL, alert];
    let mut additional = Vec::with_capacity(13);
    additional.extend_from_slice(&sequence.to_be_bytes());
    additional.extend_from_slice(&[ALERT, RECORD_VERSION[0], RECORD_VERSION[1], 0, 2]);
    let nonce_bytes = mixed(iv, sequence);
    let sent: &[u8] = match keys {
        ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => &[],
        _ => nonce_bytes.get(4..)?,
    };
    key.seal_in_place_append_tag(nonce(iv, sequence), Aad::from(additional), &mut sealed).ok()?;
    let length = u16::try_from(sent.len() + sealed.len()).ok()?.to_be_bytes();
    let header = [ALERT, RECORD_VERSION[0], RECORD_VERSION[1], length[0], length[1]];
    Some([&header[..], sent, &sealed].concat())
}

fn open_key(keys: &ConnectionTrafficSecrets) -> Option<(LessSafeKey, [u8; 12])> {
    let (algorithm, key, iv): (&'static Algorithm, _, _) = match keys {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
        _ => return None,
    };
    let key = UnboundKey::new(algorithm, key.as_ref()).ok()?;
    Some((LessSafeKey::new(key), iv.as_ref().try_into().ok()?))
}

fn nonce(iv: [u8; 12], sequence: u64) -> Nonce {
    Nonce::assume_unique_for_key(mixed(iv, sequence))
}

/// RFC 8446 section 5.3: the sequence number, left-padded to the size of the IV, is combined with it by exclusive or.
fn mixed(iv: [u8; 12], sequence: u64) -> [u8; 12] {
    let mut mixed = iv;
    for (byte, number) in mixed.iter_mut().skip(4).zip(sequence.to_be_bytes()) {
        *byte ^= number;
    }
    mixed
}

/// What rustls says of a failed handshake.
pub fn in_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The alert that rustls has sent for an error of its own, for logs. It does not say, so this is read off its source
/// (0.23); `None` for an error that it sends different alerts for, or none.
pub fn sent_for(error: &rustls::Error) -> Option<AlertDescription> {
    use rustls::{Error, PeerIncompatible, PeerMisbehaved};
    Some(match error {
        Error::InvalidMessage(invalid) => named(rustls::AlertDescription::from(*invalid)),
        Error::InvalidCertificate(invalid) => named(rustls::AlertDescription::from(invalid.clone())),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UNEXPECTED_MESSAGE
        }
        Error::NoCertificatesPresented => AlertDescription::CERTIFICATE_REQUIRED,
        Error::NoApplicationProtocol => AlertDescription::NO_APPLICATION_PROTOCOL,
        Error::PeerSentOversizedRecord => AlertDescription::RECORD_OVERFLOW,
        Error::PeerIncompatible(incompatible) => match incompatible {
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired => AlertDescription::PROTOCOL_VERSION,
            PeerIncompatible::NullCompressionRequired | PeerIncompatible::UncompressedEcPointsRequired => {
                AlertDescription::ILLEGAL_PARAMETER
            }
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::ExtendedMasterSecretExtensionRequired
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired
            | PeerIncompatible::NamedGroupsExtensionRequired => AlertDescription::HANDSHAKE_FAILURE,
            _ => return None,
        },
        Error::PeerMisbehaved(misbehaved) => match misbehaved {
            PeerMisbehaved::MissingPskModesExtension
            | PeerMisbehaved::MissingPskExtensionInSecondClientHello => AlertDescription::MISSING_EXTENSION,
            PeerMisbehaved::MissingBinderInPskExtension => AlertDescription::DECODE_ERROR,
            PeerMisbehaved::IncorrectBinder => AlertDescription::DECRYPT_ERROR,
            PeerMisbehaved::OfferedDuplicateKeyShares
            | PeerMisbehaved::OfferedIncorrectCompressions
            | PeerMisbehaved::PskExtensionWithMismatchedIdsAndBinders
            | PeerMisbehaved::RefusedToFollowHelloRetryRequest
            | PeerMisbehaved::CipherSuiteDifferedOnRetry
            | PeerMisbehaved::HandshakeHashVariedAfterRetry
            | PeerMisbehaved::ServerNameMustContainOneHostName => AlertDescription::ILLEGAL_PARAMETER,
            _ => return None,
        },
        _ => return None,
    })
}

/// An alert of rustls under its registered name.
pub fn named(alert: rustls::AlertDescription) -> AlertDescription {
    AlertDescription::new(alert.into())
}
