//! The functions a guest may call, and the state of one instance behind them.
//!
//! Every function counts itself against the call's limit first. None blocks, and only `certificates.find` may wait.
//!
//! # How resources are represented
//!
//! A connection, a hello and a presented chain exist once per call and are only ever borrowed, so their handle needs
//! no table: there is one, number 0, and it means the current call's. Certificates are handed out as owned handles
//! that a guest may keep as long as its instance lives (with `instances = "reuse"`, over calls), so these are kept in
//! [`Handles`]: a number that meant one certificate never means another one's call later. wasmtime's own
//! `ResourceTable` would do the same with a `Box<dyn Any>` and a hash set of children per entry.

mod handles;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::Level;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::handles::Handles;
use crate::bindings::handfast::policy::{certificates, clock, log, random, types};
use crate::error::Stop;
use crate::limits::{Account, LOG_LINE_BYTES, Limits};
use crate::text::printable;
use crate::views;

/// The resource types as wasmtime knows them. Public only in name: the generated code re-exports them.
mod resources {
    #![allow(unreachable_pub)]
    pub struct CurrentConnection;
    pub struct CurrentHello;
    pub struct CurrentChain;
    pub struct LentCertificate;
    pub struct LentPeerCertificate;
}
#[allow(unreachable_pub)]
pub use resources::*;

/// What the current call is about. Empty between calls, so that nothing of one connection is there for the next.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) connection: Option<Arc<dyn views::Connection>>,
    pub(crate) hello: Option<Arc<dyn views::ClientHello>>,
    pub(crate) certificates: Option<Arc<dyn views::Certificates>>,
    pub(crate) chain: Vec<Arc<dyn views::PeerCertificate>>,
}

/// The data of a store: one instance of one policy.
pub(crate) struct State {
    pub(crate) account: Account,
    pub(crate) subject: Subject,
    certificates: Handles<Arc<dyn views::Certificate>>,
    presented: Handles<Arc<dyn views::PeerCertificate>>,
    log: Arc<Log>,
    said: Option<String>,
}

/// Where the messages of one policy go.
pub(crate) struct Log {
    pub(crate) policy: String,
    pub(crate) dropped: AtomicU64,
}

const LIST: usize = 64;
const RANDOM_BYTES: u32 = 4_096;
/// No DNS name is longer (RFC 1035 section 2.3.4), hence none need be looked for.
const DNS_NAME_BYTES: usize = 255;

pub(crate) fn linker(engine: &wasmtime::Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    certificates::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    clock::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    random::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl State {
    pub(crate) fn new(limits: Limits, log: Arc<Log>) -> Self {
        Self {
            account: Account::new(limits),
            subject: Subject::default(),
            certificates: Handles::default(),
            presented: Handles::default(),
            log,
            said: None,
        }
    }

    /// Starts the account of the next call into the guest.
    pub(crate) fn begin(&mut self) {
        self.account.begin();
        self.said = None;
    }

    /// The last message of this call at level `error`.
    pub(crate) fn said(&mut self) -> Option<String> {
        self.said.take()
    }

    /// Lends a certificate for one call; to be given back with [`Self::give_back`].
    pub(crate) fn lend(&mut self, certificate: Arc<dyn views::Certificate>) -> u32 {
        self.certificates.insert(certificate)
    }

    pub(crate) fn give_back(&mut self, number: u32) {
        self.certificates.remove(number);
    }

    fn connection(&mut self) -> Result<&dyn views::Connection> {
        self.account.host_call()?;
        Ok(&**self.subject.connection.as_ref().ok_or(Stop::Misuse("there is no connection in this call"))?)
    }

    fn hello(&mut self) -> Result<&dyn views::ClientHello> {
        self.account.host_call()?;
        Ok(&**self.subject.hello.as_ref().ok_or(Stop::Misuse("there is no client hello in this call"))?)
    }

    fn certificate(&mut self, handle: &Resource<LentCertificate>) -> Result<&dyn views::Certificate> {
        self.account.host_call()?;
        let certificate = self.certificates.get(handle.rep());
        Ok(&**certificate.ok_or(Stop::Misuse("the handle of the certificate is not valid"))?)
    }

    fn presented(&mut self, handle: &Resource<LentPeerCertificate>) -> Result<&dyn views::PeerCertificate> {
        self.account.host_call()?;
        let certificate = self.presented.get(handle.rep());
        Ok(&**certificate.ok_or(Stop::Misuse("the handle of the peer certificate is not valid"))?)
    }

    fn store(&mut self) -> Result<Arc<dyn views::Certificates>> {
        self.account.host_call()?;
        let store = self.subject.certificates.clone();
        Ok(store.ok_or(Stop::Misuse("`certificates` can be asked in hooks, not in `configure`"))?)
    }

    fn hand_out(&mut self, certificate: Arc<dyn views::Certificate>) -> Resource<LentCertificate> {
        Resource::new_own(self.certificates.insert(certificate))
    }

    fn hand_out_all(&mut self, found: Vec<Arc<dyn views::Certificate>>) -> Vec<Resource<LentCertificate>> {
        found.into_iter().take(LIST).map(|certificate| self.hand_out(certificate)).collect()
    }
}

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

impl certificates::Host for State {
    async fn find(&mut self, name: String) -> Result<Vec<Resource<LentCertificate>>> {
        let store = self.store()?;
        if name.len() > DNS_NAME_BYTES {
            return Ok(Vec::new());
        }
        let mut found = store.find(&name);
        if found.is_empty() && store.refresh(&name).await {
            found = store.find(&name);
        }
        Ok(self.hand_out_all(found))
    }

    fn by_id(&mut self, id: String) -> Result<Option<Resource<LentCertificate>>> {
        let found = self.store()?.by_id(&id);
        Ok(found.map(|certificate| self.hand_out(certificate)))
    }

    fn tagged(&mut self, key: String, value: String) -> Result<Vec<Resource<LentCertificate>>> {
        let found = self.store()?.tagged(&key, &value);
        Ok(self.hand_out_all(found))
    }

    fn fallback(&mut self) -> Result<Option<Resource<LentCertificate>>> {
        let found = self.store()?.fallback();
        Ok(found.map(|certificate| self.hand_out(certificate)))
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.account.host_call()?;
        if !self.account.log_line() {
            self.log.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if level == log::Level::Error {
            self.said = Some(printable(&message, LOG_LINE_BYTES));
        }
        let policy = self.log.policy.as_str();
        match level {
            log::Level::Trace => emit!(Level::TRACE, policy, message),
            log::Level::Debug => emit!(Level::DEBUG, policy, message),
            log::Level::Info => emit!(Level::INFO, policy, message),
            log::Level::Warn => emit!(Level::WARN, policy, message),
            log::Level::Error => emit!(Level::ERROR, policy, message),
        }
        Ok(())
    }
}

impl clock::Host for State {
    fn now(&mut self) -> Result<(i64, u32)> {
        self.account.host_call()?;
        // Before 1970 only where the machine's clock was never set: then the epoch itself is as good.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok((i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos()))
    }

    fn monotonic(&mut self) -> Result<u64> {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        self.account.host_call()?;
        Ok(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

impl random::Host for State {
    fn bytes(&mut self, length: u32) -> Result<Vec<u8>> {
        self.account.host_call()?;
        if length > RANDOM_BYTES {
            // Fewer bytes than asked for would be a trap of another kind.
            return Err(Stop::Misuse("`random.bytes` gives at most 4,096 bytes a call").into());
        }
        let mut bytes = vec![0; usize::try_from(length)?];
        getrandom::fill(&mut bytes)?;
        Ok(bytes)
    }

    fn unsigned(&mut self) -> Result<u64> {
        self.account.host_call()?;
        Ok(getrandom::u64()?)
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

/// One message of a guest, if anybody listens at that level.
macro_rules! emit {
    ($level:expr, $policy:expr, $message:expr) => {
        if tracing::enabled!(target: "handfast::policy", $level) {
            let message = printable(&$message, LOG_LINE_BYTES);
            tracing::event!(target: "handfast::policy", $level, policy = $policy, "{message}");
        }
    };
}
use emit;
