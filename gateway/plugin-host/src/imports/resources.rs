//! The resources of `wit/v1`, interface `types`: one line for each getter.
//!
//! # Why inputs are resources, and not records
//!
//! A method can be added in 1.x without breaking a component that was built before; a field of a record can not, and so
//! everything that a hook may ever look at would have to be there at the start. What that costs or saves was measured before
//! the interface was settled, with the same small policy over both: it reads some of the 16 values of a connection and a
//! hello, asks for the certificate of the name by one import, and answers. Microseconds of CPU time a call, in a fresh
//! instance and in a reused one:
//!
//! | values read | resources | a record without JA3, JA4 and raw bytes | a record with all |
//! |---|---|---|---|
//! | the server name | 4.6, 1.1 | 5.7, 2.3 | 7.9, 4.4 |
//! | and ALPN, versions, client address | 5.4, 1.6 | 5.8, 2.3 | 8.0, 4.4 |
//! | all but JA3, JA4 and raw bytes (13) | 7.2, 2.6 | 5.8, 2.3 | 8.0, 4.4 |
//! | all (16) | 9.5, 4.7 | – | 8.0, 4.4 |
//!
//! A getter costs about 0.2 µs in a fresh instance and 0.1 µs in a reused one. Some of the former is the import: a guest that
//! imports all 16 and reads the name takes 1.2 µs more than one that imports what it reads. A record costs the same
//! whatever of it is read, and JA3 and JA4 would be computed for each handshake. Records are cheaper from about 6 values on
//! (reused, 10), if they leave the fingerprints out. The first-party policies with `select` read one to three.
//!
//! Rust guests with the SDK's allocator and stack, Chrome's hello (1,720 bytes, 18 extensions), the settings of
//! [`host`](crate::host) and [`policy`](crate::policy); medians of 30 rounds of 10,000 calls, the shapes taking turns, on 2
//! cores of an AMD EPYC that had other work too (the best rounds are about 4 % lower, in the same order). Of interpreters, which
//! make an object of each field, nothing was measured. The program is not kept: two shapes of an interface of which one was
//! never built would need guests and bindings of their own.

use std::net::{IpAddr, SocketAddr};

use wasmtime::Result;
use wasmtime::component::Resource;

use super::State;
use crate::bindings::handfast::policy::types;
use crate::error::Stop;
use crate::views;

/// The resource types as wasmtime knows them. Public only in name: the generated code re-exports them.
#[allow(unreachable_pub)]
pub struct CurrentConnection;
#[allow(unreachable_pub)]
pub struct CurrentHello;
#[allow(unreachable_pub)]
pub struct CurrentChain;
#[allow(unreachable_pub)]
pub struct LentCertificate;
#[allow(unreachable_pub)]
pub struct LentPeerCertificate;

impl types::Host for State {}

impl types::HostConnection for State {
    fn listener(&mut self, _: Resource<CurrentConnection>) -> Result<String> {
        Ok(self.connection()?.listener().to_owned())
    }

    fn client_address(&mut self, _: Resource<CurrentConnection>) -> Result<types::SocketAddress> {
        Ok(socket_address(self.connection()?.client_address()))
    }

    fn server_address(&mut self, _: Resource<CurrentConnection>) -> Result<types::SocketAddress> {
        Ok(socket_address(self.connection()?.server_address()))
    }

    fn proxied(&mut self, _: Resource<CurrentConnection>) -> Result<bool> {
        Ok(self.connection()?.proxied())
    }

    fn proxy_tlvs(&mut self, _: Resource<CurrentConnection>) -> Result<Vec<(u8, Vec<u8>)>> {
        Ok(self.connection()?.proxy_tlvs())
    }

    fn drop(&mut self, _: Resource<CurrentConnection>) -> Result<()> {
        Ok(())
    }
}

impl types::HostClientHello for State {
    fn server_name(&mut self, _: Resource<CurrentHello>) -> Result<Option<String>> {
        Ok(self.hello()?.server_name().map(str::to_owned))
    }

    fn alpn(&mut self, _: Resource<CurrentHello>) -> Result<Vec<Vec<u8>>> {
        Ok(self.hello()?.alpn())
    }

    fn protocol_versions(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u16>> {
        Ok(self.hello()?.protocol_versions())
    }

    fn cipher_suites(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u16>> {
        Ok(self.hello()?.cipher_suites())
    }

    fn signature_schemes(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u16>> {
        Ok(self.hello()?.signature_schemes())
    }

    fn named_groups(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u16>> {
        Ok(self.hello()?.named_groups())
    }

    fn extensions(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u16>> {
        Ok(self.hello()?.extensions())
    }

    fn ja3(&mut self, _: Resource<CurrentHello>) -> Result<String> {
        Ok(self.hello()?.ja3())
    }

    fn ja4(&mut self, _: Resource<CurrentHello>) -> Result<String> {
        Ok(self.hello()?.ja4())
    }

    fn raw(&mut self, _: Resource<CurrentHello>) -> Result<Vec<u8>> {
        Ok(self.hello()?.raw())
    }

    fn offers_resumption(&mut self, _: Resource<CurrentHello>) -> Result<bool> {
        Ok(self.hello()?.offers_resumption())
    }

    fn drop(&mut self, _: Resource<CurrentHello>) -> Result<()> {
        Ok(())
    }
}

impl types::HostCertificate for State {
    fn id(&mut self, handle: Resource<LentCertificate>) -> Result<String> {
        Ok(self.certificate(&handle)?.id().to_owned())
    }

    fn names(&mut self, handle: Resource<LentCertificate>) -> Result<Vec<String>> {
        Ok(self.certificate(&handle)?.names())
    }

    fn key_algorithm(&mut self, handle: Resource<LentCertificate>) -> Result<types::KeyAlgorithm> {
        Ok(match self.certificate(&handle)?.key_algorithm() {
            views::KeyAlgorithm::Rsa => types::KeyAlgorithm::Rsa,
            views::KeyAlgorithm::EcdsaP256 => types::KeyAlgorithm::EcdsaP256,
            views::KeyAlgorithm::EcdsaP384 => types::KeyAlgorithm::EcdsaP384,
            views::KeyAlgorithm::EcdsaP521 => types::KeyAlgorithm::EcdsaP521,
            views::KeyAlgorithm::Ed25519 => types::KeyAlgorithm::Ed25519,
            views::KeyAlgorithm::Other => types::KeyAlgorithm::Other,
        })
    }

    fn key_bits(&mut self, handle: Resource<LentCertificate>) -> Result<u32> {
        Ok(self.certificate(&handle)?.key_bits())
    }

    fn not_before(&mut self, handle: Resource<LentCertificate>) -> Result<i64> {
        Ok(self.certificate(&handle)?.not_before())
    }

    fn not_after(&mut self, handle: Resource<LentCertificate>) -> Result<i64> {
        Ok(self.certificate(&handle)?.not_after())
    }

    fn issuer(&mut self, handle: Resource<LentCertificate>) -> Result<String> {
        Ok(self.certificate(&handle)?.issuer())
    }

    fn serial(&mut self, handle: Resource<LentCertificate>) -> Result<String> {
        Ok(self.certificate(&handle)?.serial())
    }

    fn fingerprint(&mut self, handle: Resource<LentCertificate>) -> Result<String> {
        Ok(self.certificate(&handle)?.fingerprint())
    }

    fn der(&mut self, handle: Resource<LentCertificate>) -> Result<Vec<u8>> {
        Ok(self.certificate(&handle)?.der())
    }

    fn tags(&mut self, handle: Resource<LentCertificate>) -> Result<Vec<(String, String)>> {
        Ok(self.certificate(&handle)?.tags())
    }

    fn tag(&mut self, handle: Resource<LentCertificate>, key: String) -> Result<Option<String>> {
        let tags = self.certificate(&handle)?.tags();
        Ok(tags.into_iter().find_map(|(name, value)| (name == key).then_some(value)))
    }

    fn usable_by(&mut self, handle: Resource<LentCertificate>, _: Resource<CurrentHello>) -> Result<bool> {
        let hello = self.subject.hello.clone();
        let hello = hello.ok_or(Stop::Misuse("there is no client hello in this call"))?;
        Ok(self.certificate(&handle)?.usable_by(&*hello))
    }

    fn drop(&mut self, handle: Resource<LentCertificate>) -> Result<()> {
        self.certificates.remove(handle.rep());
        Ok(())
    }
}

impl types::HostPeerCertificate for State {
    fn subject(&mut self, handle: Resource<LentPeerCertificate>) -> Result<String> {
        Ok(self.presented(&handle)?.subject())
    }

    fn issuer(&mut self, handle: Resource<LentPeerCertificate>) -> Result<String> {
        Ok(self.presented(&handle)?.issuer())
    }

    fn serial(&mut self, handle: Resource<LentPeerCertificate>) -> Result<String> {
        Ok(self.presented(&handle)?.serial())
    }

    fn fingerprint(&mut self, handle: Resource<LentPeerCertificate>) -> Result<String> {
        Ok(self.presented(&handle)?.fingerprint())
    }

    fn not_before(&mut self, handle: Resource<LentPeerCertificate>) -> Result<i64> {
        Ok(self.presented(&handle)?.not_before())
    }

    fn not_after(&mut self, handle: Resource<LentPeerCertificate>) -> Result<i64> {
        Ok(self.presented(&handle)?.not_after())
    }

    fn dns_names(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Vec<String>> {
        Ok(self.presented(&handle)?.dns_names())
    }

    fn uris(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Vec<String>> {
        Ok(self.presented(&handle)?.uris())
    }

    fn email_addresses(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Vec<String>> {
        Ok(self.presented(&handle)?.email_addresses())
    }

    fn organizational_units(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Vec<String>> {
        Ok(self.presented(&handle)?.organizational_units())
    }

    fn common_name(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Option<String>> {
        Ok(self.presented(&handle)?.common_name())
    }

    fn der(&mut self, handle: Resource<LentPeerCertificate>) -> Result<Vec<u8>> {
        Ok(self.presented(&handle)?.der())
    }

    fn drop(&mut self, handle: Resource<LentPeerCertificate>) -> Result<()> {
        self.presented.remove(handle.rep());
        Ok(())
    }
}

impl types::HostPeerChain for State {
    fn length(&mut self, _: Resource<CurrentChain>) -> Result<u32> {
        self.account.host_call()?;
        Ok(u32::try_from(self.subject.chain.len()).unwrap_or(u32::MAX))
    }

    fn certificate(
        &mut self,
        _: Resource<CurrentChain>,
        index: u32,
    ) -> Result<Option<Resource<LentPeerCertificate>>> {
        self.account.host_call()?;
        let certificate = usize::try_from(index).ok().and_then(|index| self.subject.chain.get(index));
        let certificate = certificate.cloned();
        Ok(certificate.map(|certificate| Resource::new_own(self.presented.insert(certificate))))
    }

    fn drop(&mut self, _: Resource<CurrentChain>) -> Result<()> {
        Ok(())
    }
}

/// IPv4-mapped addresses come out as IPv4, whichever kind of socket they were accepted on.
fn socket_address(address: SocketAddr) -> types::SocketAddress {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) => types::IpAddress::Ipv4(ip.octets().into()),
        IpAddr::V6(ip) => types::IpAddress::Ipv6(ip.segments().into()),
    };
    types::SocketAddress { ip, port: address.port() }
}
