//! One run: a gateway, a writer for each certificate that goes through its script, and clients that never rest.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use handfast_tests::tool::obey_file_modes;
use handfast_tests::wait::Watched;
use handfast_tests::{Authority, Client, Config, Gateway, Leaf, Pair, eventually};
use rustls::crypto::aws_lc_rs::kx_group;
use tempfile::TempDir;

use crate::ledger::{Book, Ledger, Verdict};
use crate::method::Method;
use crate::place::Place;
use crate::plan::{Plan, Script, Step, When};
use crate::spoil::{Material, Spoil};

/// Clients of each certificate: one speaks TLS 1.3, the other 1.2.
const CLIENTS: u64 = 2;

/// Handshakes with one pair after which its files have rested for longer than a tick of their clock.
const SETTLED: u64 = 12;

/// Handshakes that end while a replacement is half done: those of some 10 ms.
const ELSEWHERE: u64 = 8;

/// Or fewer, where most clients wait for a replacement themselves: a leaf is not to be alone for long.
const MEANWHILE: Duration = Duration::from_millis(30);

/// Pairs that are issued in one go.
const AHEAD: usize = 8;

/// What is wrong is wrong many times; the first few tell.
const FAILURES: usize = 20;

/// Runs the plan to its end, or to the first failures.
pub(crate) fn run(plan: &Plan) -> Vec<Verdict> {
    // For `Spoil::Unreadable`.
    obey_file_modes();
    let (source, archive) =
        (TempDir::new().expect("a scratch folder"), TempDir::new().expect("a scratch folder"));
    let clients = Clients::default();
    let writer = |script| Writer::new(script, &clients, source.path(), archive.path());
    let writers: Vec<Writer> = plan.certificates.iter().map(writer).collect();
    let gateway = Gateway::start(&config(source.path()));
    let address = gateway.address("main");

    let books: Vec<Book> = writers.iter().map(|writer| writer.book.clone()).collect();
    std::thread::scope(|scope| {
        let clients = &clients;
        for (script, book) in plan.certificates.iter().zip(&books) {
            for number in 0..CLIENTS {
                scope.spawn(move || clients.load(&client(number), address, &script.name, book));
            }
        }
        let writers: Vec<_> = writers.into_iter().map(|writer| scope.spawn(move || writer.write())).collect();
        for writer in writers {
            // One that panicked has said why; the clients have to end before this does too.
            if writer.join().is_err() {
                clients.stop();
            }
        }
        clients.stop();
    });

    let verdicts: Vec<Verdict> = books.iter().map(|book| book.change(std::mem::take).verdict()).collect();
    if verdicts.iter().any(|verdict| !verdict.failures.is_empty()) {
        eprintln!("the gateway's log:\n{}", gateway.log_text());
        return verdicts;
    }
    let handshakes: u64 = verdicts.iter().map(|verdict| verdict.handshakes).sum();
    eventually("the gateway to have counted the same handshakes, all of them answered", || {
        let count = |labels: &[(&str, &str)]| gateway.metric("handfast_handshakes_total", labels);
        let (all, answered) = (count(&[]), count(&[("outcome", "certificate")]));
        (all == handshakes as f64 && answered == all).then_some(())
    });
    verdicts
}

/// What a handshake waits for is the reload and nothing else: a bound that a busy machine reaches would excuse.
fn config(source: &Path) -> Config {
    Config::new()
        .gateway("handshake-timeout = \"60s\"")
        .listener("main", "")
        .certificates("files", source)
        .upstream("nobody", ([127, 0, 0, 1], 9).into(), "")
        .route("*", "/", "nobody")
        // A line for each connection would fill the memory of a long run.
        .log_filter("info,handfast::connection=warn")
}

/// Full handshakes, with the cheapest of key exchanges: there are to be many. P-256 is listed for the sake of the
/// certificates: a client of TLS 1.2 accepts ECDSA on the curves that it lists (RFC 8422, section 5.1).
fn client(number: u64) -> Client {
    let client = Client::new().groups(&[kx_group::X25519, kx_group::SECP256R1]);
    if number.is_multiple_of(2) { client.tls13() } else { client.tls12() }
}

/// Goes through the script of one certificate.
struct Writer<'a> {
    script: &'a Script,
    clients: &'a Clients,
    place: Place,
    book: Book,
    /// Chains of two authorities take turns: a mixture of two chains is none.
    authorities: [Authority; 2],
    last: Pair,
    /// The first update after a file was missing.
    after_absence: u64,
    /// The pairs of the next replacements.
    ready: VecDeque<Pair>,
    /// The number of the last update.
    number: u64,
}

impl<'a> Writer<'a> {
    /// Puts the first pair in its place.
    fn new(script: &'a Script, clients: &'a Clients, source: &Path, archive: &Path) -> Self {
        let root = Authority::new("Torture root");
        let authorities = ["Torture authority 1", "Torture authority 2"].map(|name| root.intermediate(name));
        let mut place = Place::new(source, archive, script.name.trim_end_matches(".example"), script.layout);
        let book = Book::new(Ledger::of(&script.name));
        let first = authorities[0].server(&[&script.name]);
        book.change(|ledger| ledger.replacing(0, &first, Instant::now()));
        let alone = Method::of(script.layout)[0].apply(&mut place, &first, &mut || ());
        book.change(|ledger| ledger.replaced(0, alone, Instant::now()));
        Self {
            script,
            clients,
            place,
            book,
            authorities,
            last: first,
            after_absence: 0,
            ready: VecDeque::new(),
            number: 0,
        }
    }

    fn write(mut self) {
        for (index, step) in self.script.steps.iter().enumerate() {
            if self.clients.have_stopped() {
                return;
            }
            self.issue_ahead(index);
            if self.take(*step).is_none() {
                let why = format!("waited in vain for clients, at step {index}, {step:?}");
                return self.book.change(|ledger| ledger.abandon(why));
            }
        }
        if self.wait_until_seen().is_none() {
            self.book.change(|ledger| ledger.abandon("the last update is not served".to_owned()));
        }
    }

    /// So that nothing but system calls lies between replacements that follow at once.
    fn issue_ahead(&mut self, index: usize) {
        if !self.ready.is_empty() {
            return;
        }
        let keys = self.script.steps[index..].iter().filter_map(|step| match step {
            Step::Replace { key, .. } => Some(*key),
            Step::Spoil { .. } => None,
        });
        for (number, key) in (self.number + 1..).zip(keys.take(AHEAD)) {
            let authority = &self.authorities[usize::from(!number.is_multiple_of(2))];
            self.ready.push_back(authority.issue(Leaf::server(&[&self.script.name]).key(key)));
        }
    }

    /// `None` if what it waited for did not come.
    fn take(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Replace { method, when, .. } => {
                match when {
                    When::AtOnce if method.is_through_absence() && self.is_absence_open() => {
                        self.wait_until_seen()?;
                    }
                    When::AtOnce => {}
                    When::Seen => self.wait_until_seen()?,
                    When::Settled => {
                        self.wait_until_seen()?;
                        let goal = self.book.lock().ended() + SETTLED;
                        self.wait(|ledger| ledger.ended() >= goal)?;
                    }
                }
                self.number += 1;
                if method.is_through_absence() {
                    self.after_absence = self.number;
                }
                let pair = self.ready.pop_front().expect("a pair for each step");
                self.book.change(|ledger| ledger.replacing(self.number, &pair, Instant::now()));
                let (book, clients) = (self.book.clone(), self.clients);
                // What nobody has seen must not be half done for long.
                let mut half = || {
                    if when != When::AtOnce {
                        clients.meet(&book);
                    }
                };
                let alone = method.apply(&mut self.place, &pair, &mut half);
                self.book.change(|ledger| ledger.replaced(self.number, alone, Instant::now()));
                self.last = pair;
            }
            Step::Spoil { spoil, part, lasts } => {
                self.wait_until_seen()?;
                let issue = |leaf: Leaf| self.authorities[0].issue(leaf);
                let leaf = || Leaf::server(&[&self.script.name]);
                let material = Material {
                    last: self.last.clone(),
                    stranger: issue(leaf()),
                    expired: issue(leaf().expired()),
                };
                self.book.change(|ledger| ledger.forbid(&material.expired));
                spoil.apply(&mut self.place, part, &material);
                if spoil == Spoil::Missing {
                    self.after_absence = self.number + 1;
                }
                if lasts {
                    let before = self.book.lock().begun();
                    self.wait(|ledger| ledger.newest_ended() > before)?;
                }
            }
        }
        Some(())
    }

    /// Whether nobody has seen an update since a file was missing.
    fn is_absence_open(&self) -> bool {
        self.book.lock().whole() < self.after_absence
    }

    fn wait_until_seen(&self) -> Option<()> {
        self.wait(|ledger| ledger.whole() >= self.number)
    }

    /// Until it is so, or the run ends.
    fn wait(&self, is_so: impl Fn(&Ledger) -> bool) -> Option<()> {
        self.clients.wait(&self.book, is_so)
    }
}

/// The clients of all certificates.
#[derive(Default)]
struct Clients {
    stop: AtomicBool,
    /// How many handshakes have ended.
    ended: Watched<u64>,
}

impl Clients {
    fn have_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// One handshake after the other.
    fn load(&self, client: &Client, address: SocketAddr, name: &str, book: &Book) {
        while !self.have_stopped() {
            let ticket = book.change(|ledger| ledger.begin(Instant::now()));
            let outcome = client.connect(address, name).map(|session| session.chain);
            book.change(|ledger| ledger.end(ticket, outcome, Instant::now()));
            self.ended.change(|ended| *ended += 1);
            if book.lock().failures() >= FAILURES {
                self.stop();
            }
        }
        // Writers that wait for a client are to see that there is none any more.
        book.change(|_| ());
        self.ended.change(|_| ());
    }

    /// Lets handshakes meet the files as they are: one of this certificate begins, or all its clients are in one that
    /// waits, and meanwhile others end elsewhere, which takes as long as scripts take between two files.
    fn meet(&self, book: &Book) {
        let before = book.lock().begun();
        let met = self.wait(book, |ledger| ledger.begun() > before || ledger.under_way() >= CLIENTS);
        let (goal, begun) = (*self.ended.lock() + ELSEWHERE, Instant::now());
        let gone = self.wait(&self.ended, |ended| *ended >= goal || begun.elapsed() > MEANWHILE);
        assert!(
            met.is_some() && gone.is_some(),
            "waited in vain for clients, half way through a replacement"
        );
    }

    /// Until it is so, or the clients have stopped.
    fn wait<T>(&self, watched: &Watched<T>, is_so: impl Fn(&T) -> bool) -> Option<()> {
        watched.wait(|value| (is_so(value) || self.have_stopped()).then_some(()))
    }
}
