//! The functions a guest may call, and the state of one instance behind them.
//!
//! Every function counts itself against the call's limit first. None blocks, and only `certificates.find` and the waits of
//! WASI, for a time or a response, may wait.
//!
//! # How resources are represented
//!
//! A connection, a hello and a presented chain exist once per call and are only ever borrowed, so their handle needs
//! no table: there is one, number 0, and it means the current call's. Certificates are handed out as owned handles
//! that a guest may keep as long as its instance lives (with `instances = "reuse"`, over calls), so these are kept in
//! [`Handles`]: a number that meant one certificate never means another one's call later. wasmtime's own
//! `ResourceTable` would do the same with a `Box<dyn Any>` and a hash set of children per entry.

mod handles;
pub(crate) mod http;
pub(crate) mod resources;
pub(crate) mod wasi;

use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::Level;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};

use self::handles::Handles;
use self::http::Http;
use self::resources::{LentCertificate, LentPeerCertificate};
use self::wasi::Wasi;
use crate::bindings::handfast::policy::{certificates, clock, counter, key_value, log, random, types};
use crate::error::Stop;
use crate::http::HttpClient;
use crate::kept::Ledger;
use crate::key_value::KeyValue;
use crate::limits::{Account, LOG_LINE_BYTES, Limits};
use crate::text::printable;
use crate::views;

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
    /// `None` without the grant.
    key_value: Option<Arc<KeyValue>>,
    wasi: Wasi,
    http: Http,
    /// The last words of the call, for the explanation of a trap.
    said: Option<String>,
}

const LIST: usize = 64;
/// What `certificates.tagged` counts for beyond one call: it looks through all certificates, some 10 ms where there are
/// 100,000, and no tick of the clock interrupts it.
const LOOK_THROUGH_ALL: u32 = 255;
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
    counter::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    key_value::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}

impl State {
    pub(crate) fn new(
        limits: Limits,
        ledger: Arc<Ledger>,
        key_value: Option<Arc<KeyValue>>,
        http: Option<Arc<dyn HttpClient>>,
    ) -> Self {
        Self {
            account: Account::new(limits, ledger),
            subject: Subject::default(),
            certificates: Handles::default(),
            presented: Handles::default(),
            key_value,
            wasi: Wasi::default(),
            http: Http::new(http),
            said: None,
        }
    }

    /// Starts the account of the next call into the guest.
    pub(crate) fn begin(&mut self) {
        self.account.begin();
        self.http.begin();
        self.said = None;
    }

    /// The last message of this call at level `error`, or what its runtime wrote to standard error.
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

    /// One message of the guest, if the call has any left.
    fn message(&mut self, level: log::Level, message: &str) {
        if !self.account.log_line() {
            self.account.ledger().drop_message();
            return;
        }
        let (ledger, rate) = (self.account.ledger(), self.account.limits().log_rate);
        match level {
            log::Level::Trace => emit!(Level::TRACE, ledger, rate, message),
            log::Level::Debug => emit!(Level::DEBUG, ledger, rate, message),
            log::Level::Info => emit!(Level::INFO, ledger, rate, message),
            log::Level::Warn => emit!(Level::WARN, ledger, rate, message),
            log::Level::Error => emit!(Level::ERROR, ledger, rate, message),
        }
    }

    fn key_value(&mut self) -> Result<&KeyValue> {
        self.account.host_call()?;
        // A policy without the grant is not loaded if it imports the interface.
        Ok(self.key_value.as_deref().ok_or(Stop::Misuse("`key-value` is not granted"))?)
    }

    fn hand_out(&mut self, certificate: Arc<dyn views::Certificate>) -> Resource<LentCertificate> {
        Resource::new_own(self.certificates.insert(certificate))
    }

    fn hand_out_all(&mut self, found: Vec<Arc<dyn views::Certificate>>) -> Vec<Resource<LentCertificate>> {
        found.into_iter().take(LIST).map(|certificate| self.hand_out(certificate)).collect()
    }
}

impl certificates::Host for State {
    async fn find(&mut self, name: String) -> Result<Vec<Resource<LentCertificate>>> {
        let store = self.store()?;
        if name.len() > DNS_NAME_BYTES {
            return Ok(Vec::new());
        }
        let mut found = store.find(&name);
        if found.is_empty() {
            self.account.pause().await;
            let is_news = store.refresh(&name).await;
            self.account.go_on();
            if is_news {
                found = store.find(&name);
            }
        }
        Ok(self.hand_out_all(found))
    }

    fn by_id(&mut self, id: String) -> Result<Option<Resource<LentCertificate>>> {
        let found = self.store()?.by_id(&id);
        Ok(found.map(|certificate| self.hand_out(certificate)))
    }

    fn tagged(&mut self, key: String, value: String) -> Result<Vec<Resource<LentCertificate>>> {
        let store = self.store()?;
        self.account.host_calls(LOOK_THROUGH_ALL)?;
        Ok(self.hand_out_all(store.tagged(&key, &value)))
    }

    fn fallback(&mut self) -> Result<Option<Resource<LentCertificate>>> {
        let found = self.store()?.fallback();
        Ok(found.map(|certificate| self.hand_out(certificate)))
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        self.account.host_call()?;
        if level == log::Level::Error {
            self.said = Some(printable(&message, LOG_LINE_BYTES));
        }
        self.message(level, &message);
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
        self.account.host_call()?;
        Ok(nanoseconds_since_start())
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

impl counter::Host for State {
    fn add(&mut self, name: String, delta: u64) -> Result<()> {
        self.account.host_call()?;
        let ledger = self.account.ledger();
        ledger.counters.add(&ledger.policy, &name, delta);
        Ok(())
    }
}

impl key_value::Host for State {
    fn get(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.key_value()?.get(&key))
    }

    fn set(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        time_to_live: u64,
    ) -> Result<Result<(), key_value::Error>> {
        Ok(self.key_value()?.set(&key, &value, time_to_live))
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.key_value()?.delete(&key);
        Ok(())
    }

    fn increment(
        &mut self,
        key: Vec<u8>,
        delta: i64,
        time_to_live: u64,
    ) -> Result<Result<i64, key_value::Error>> {
        Ok(self.key_value()?.increment(&key, delta, time_to_live))
    }

    fn compare_and_set(
        &mut self,
        key: Vec<u8>,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
        time_to_live: u64,
    ) -> Result<Result<bool, key_value::Error>> {
        Ok(self.key_value()?.compare_and_set(&key, expected.as_deref(), &value, time_to_live))
    }
}

/// The moment that monotonic clocks count from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn nanoseconds_since_start() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One message of a guest, if anybody listens at that level and the policy's rate allows for it.
macro_rules! emit {
    ($level:expr, $ledger:expr, $rate:expr, $message:expr) => {
        if tracing::enabled!(target: "handfast::policy", $level) && $ledger.takes_line($rate) {
            let message = printable($message, LOG_LINE_BYTES);
            tracing::event!(target: "handfast::policy", $level, policy = $ledger.policy, "{message}");
        }
    };
}
use emit;
