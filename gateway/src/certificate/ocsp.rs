//! OCSP stapling (RFC 6066 section 8, RFC 6960): the issuer's word that a certificate is not revoked, sent with it.
//!
//! The store hands every certificate to the [`Stapler`] before it goes live; `tls` asks [`Slot::staple`] at each handshake.
//! A staple comes from the `.ocsp` file beside the pair, from the cache of an earlier run, or from the responder that the
//! certificate names, and each of them goes through [`response::check`] first: nothing is stapled that is not about this
//! certificate, signed by who may, current and *good*. Nothing here ever holds up a handshake or refuses a certificate.
//!
//! # The library
//!
//! Requests and responses are read and written by `x509-ocsp` (RustCrypto; Apache-2.0 OR MIT). It brings seven small
//! crates, derives its parsers from the ASN.1 and was last released in 2024, for a format that was last changed in 2013;
//! the repository it comes from is maintained. Rejected: `rasn-ocsp`, released more often, which brings 40 crates with a
//! runtime for all of ASN.1; `x509-parser`, which the gateway has anyway, knows no OCSP. The library reads structure only:
//! what is signed, by whom, for what, and until when is decided in [`response`] over the bytes as they came, with the
//! signature algorithms that rustls verifies certificates with. So SHA-1 signatures count for nothing; SHA-1 names the
//! certificate in requests, as RFC 5019 has it, and there nothing rests on it.
//!
//! # What is decided here
//!
//! - *Revoked is not stapled*, and ends the staple there was. nginx and Caddy staple nothing either, HAProxy staples the
//!   bad news. Nothing of ours should vouch for a certificate that its issuer gave up, and clients that care ask further;
//!   the operator is told, loudly. *Unknown* is a responder that does not know its own certificate, most often for a few
//!   minutes after issuance: the last good staple stays.
//! - *A revocation is ended by newer responses only*. A good one from before it holds for days, plain HTTP lets anybody
//!   on the way replay it, and caches of responders do so without meaning to. With a state directory this holds across
//!   restarts.
//! - *No `nextUpdate`, no staple* (RFC 5019 section 2.2.4 requires it): clients could not tell old from new.
//! - *Must-staple certificates are served without a staple* where there is none (RFC 7633 leaves that to the server).
//!   Clients that enforce it refuse them, all others do not, and refusing them all here would help nobody. They are
//!   reported until there is one.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use crate::freshness::ReadError;

pub mod request;
pub mod response;
pub mod slot;
pub mod stapler;

mod cache;
mod features;
mod fetch;
mod schedule;
mod turns;

pub use response::Staple;
pub use slot::{Slot, Status};
pub use stapler::{Counters, Stapler};

/// The most that is read of a response. One with a delegated responder's certificate has about 2 KiB.
pub const MAX_RESPONSE: usize = 64 << 10;

/// Why a response is not stapled, or could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OcspError {
    #[error(
        "the chain holds no issuer, and without its key no response can be checked; add the issuer's certificate behind the leaf"
    )]
    NoIssuer,
    #[error(
        "clients insist on a staple and there is none; put a response beside the pair as .ocsp, or, if the certificate \
         names a responder, set ocsp = \"fetch\""
    )]
    NoSource,
    #[error("it cannot be read")]
    Unreadable { source: Arc<ReadError> },
    #[error("it is not an OCSP response in DER; if it is text, convert it: `base64 -d`")]
    Malformed { source: der::Error },
    #[error(
        "it has more than {MAX_RESPONSE} bytes, as no OCSP response has; take the right file or responder"
    )]
    Long,
    #[error("it says \"{status}\" instead of a certificate's status; {hint}")]
    Unsuccessful { status: &'static str, hint: &'static str },
    #[error("it is of the type {oid}, which no client knows; ask for a basic response (id-pkix-ocsp-basic)")]
    Type { oid: String },
    #[error("it is about another certificate; take the response for serial number {serial} of this issuer")]
    OtherCertificate { serial: String },
    #[error(
        "its signer is not the certificate's issuer, and no certificate in it says who else; take it from the responder that the certificate names"
    )]
    UnknownSigner,
    #[error(
        "its signer \"{signer}\" may not speak for the issuer: {reason}; take it from the responder that the certificate names"
    )]
    NotAuthorised { signer: String, reason: &'static str },
    #[error("its signature is not its signer's, so it was changed on the way; fetch it again")]
    Signature,
    #[error(
        "its signature algorithm is not one that certificates are verified with (SHA-1?); ask the authority for another"
    )]
    Algorithm,
    #[error(
        "it does not say until when it holds, so clients could not tell it from an old one; ask the authority for another"
    )]
    NoNextUpdate,
    #[error("it holds only from {from} on; is this machine's clock right?")]
    NotYet { from: String },
    #[error("it held until {until}; fetch a newer one")]
    Expired { until: String },
    #[error("the issuer has REVOKED the certificate{}; replace it with one of a new key", Since(.since))]
    Revoked {
        since: Option<String>,
        /// Since when the response holds that says so, in seconds since 1970.
        as_of: i64,
    },
    #[error(
        "it is no newer than the response by which the issuer revoked the certificate, so somebody passes an old one on; it will be asked again"
    )]
    BeforeRevocation,
    #[error(
        "the responder does not know the certificate; if it was issued just now that passes, else ask the authority"
    )]
    Unknown,
    #[error(
        "the responder's address \"{url}\" is not an http URL with a host; take the certificate's from another authority, or use .ocsp files"
    )]
    Url { url: String },
    #[error(
        "the responder's address {address} is one where no responder lives (link-local, a cloud's own or no host's); use .ocsp files"
    )]
    Address { address: IpAddr },
    #[error("the responder {responder} cannot be reached; may this machine open connections to it?")]
    Connect { responder: String, source: io::Error },
    #[error("the responder {responder} took longer than {seconds} seconds; it will be asked again")]
    Timeout { responder: String, seconds: u64 },
    #[error("the responder {responder} does not speak HTTP as it should; it will be asked again")]
    Http { responder: String, source: hyper::Error },
    #[error("the responder {responder} answers with the HTTP status {status}{}; it will be asked again", Redirect(*.status))]
    HttpStatus { responder: String, status: u16 },
    #[error("the request cannot be put together; is the certificate's serial number longer than 20 bytes?")]
    Request { source: der::Error },
}

impl OcspError {
    /// Whether the responder as a whole is in trouble, not this one answer.
    fn is_about_the_responder(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Timeout { .. } | Self::Http { .. })
    }
}

struct Since<'a>(&'a Option<String>);

impl fmt::Display for Since<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(since) => write!(formatter, " as of {since}"),
            None => Ok(()),
        }
    }
}

struct Redirect(u16);

impl fmt::Display for Redirect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            300..400 => formatter.write_str(" (redirects are not followed)"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod test_responder;
