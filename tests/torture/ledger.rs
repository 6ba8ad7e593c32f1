//! What was issued for one certificate, what its clients got, and whether that was right.
//!
//! Every pair has the number of its update. A client notes, before it connects, the number of the last update that was
//! complete; the writer counts an update as complete when its last system call has returned. What is asserted of each
//! handshake:
//!
//! 1. It succeeds. The client verifies the signature of the handshake, so a key that is not the leaf's makes it fail.
//! 2. It gets a leaf that was issued to be served, with exactly the chain that was issued with it.
//! 3. Its number is at least that of any handshake that had ended before this one began.
//! 4. Its number is at least that of the last update that was complete when it began.
//!
//! Of the fourth, `gateway/src/freshness.rs` excepts one case: an update that no handshake had asked for, overwritten by
//! one that stays half done for longer than the gateway watches (half a second), is nowhere any more. So the writer
//! spoils nothing before a client has seen it, and does not pause within a replacement whose predecessor nobody has
//! seen; where the machine made such a replacement take long all the same, that is noted here with its time
//! ([`Stall`]), and handshakes that were under way meanwhile may have got what was seen before. A missing file has no
//! identity that would tell one absence from another, so between two of them the writer waits until a client has seen
//! what was there. The second has an exception of the same kind: a leaf that stands alone in its file for as long as the
//! gateway takes for a file at rest is a whole chain. Whatever is excused is counted, and the count is printed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use handfast_tests::wait::Watched;
use handfast_tests::{Pair, Refusal, Session};
use rustls_pki_types::CertificateDer;

/// Less than the half second of the gateway, whose clock starts when it sees the first half, not when that is written.
const STALL: Duration = Duration::from_millis(450);

/// Less than the 150 ms after which a file is at rest.
const ALONE: Duration = Duration::from_millis(100);

/// One certificate's, shared by its writer and its clients.
pub(crate) type Book = Watched<Ledger>;

#[derive(Default)]
pub(crate) struct Ledger {
    name: String,
    /// By leaf.
    issued: HashMap<CertificateDer<'static>, Issued>,
    /// The newest update that is complete.
    complete: u64,
    /// The newest update that a client got.
    seen: u64,
    /// The newest that a client got with its whole chain.
    whole: u64,
    begun: u64,
    ended: u64,
    /// The greatest number of a handshake that has ended.
    newest_ended: u64,
    /// The replacement under way: since when, and what had been seen by then.
    replacing: Option<(Instant, u64)>,
    stalls: Vec<Stall>,
    /// The updates whose leaf was alone for long.
    alone: HashSet<u64>,
    /// Right only if the machine stalled a replacement, which may not be over yet.
    doubtful: Vec<Doubtful>,
    /// Those that were right.
    excused: u64,
    failures: Vec<String>,
}

enum Issued {
    Valid {
        number: u64,
        chain: Vec<CertificateDer<'static>>,
    },
    /// Sound by itself, and not to be served.
    Forbidden,
}

/// A replacement of an update that nobody had seen, and that took long.
struct Stall {
    from: Instant,
    until: Instant,
    /// What had been seen, and so is the least that is served meanwhile.
    seen: u64,
}

struct Doubtful {
    ticket: Ticket,
    ended: Instant,
    got: u64,
    why: Doubt,
}

#[derive(Clone, Copy)]
enum Doubt {
    /// Older than the last update that was complete: right only if its successor was stalled.
    Older,
    /// Without the rest of its chain: right only if its leaf was alone for long.
    LeafAlone,
}

/// A handshake that is about to begin.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    number: u64,
    begun: Instant,
    complete: u64,
    seen: u64,
    whole: u64,
}

impl Ledger {
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// A pair takes its place from now on.
    pub(crate) fn replacing(&mut self, number: u64, pair: &Pair) {
        let issued = Issued::Valid { number, chain: pair.chain() };
        self.issued.insert(pair.leaf.clone(), issued);
        self.replacing = Some((Instant::now(), self.seen));
    }

    /// It has its place; on the way its leaf was alone in the chain's file for `alone`.
    pub(crate) fn replaced(&mut self, number: u64, alone: Duration) {
        let until = Instant::now();
        if let Some((from, seen)) = self.replacing.take()
            && seen < self.complete
            && until - from > STALL
        {
            self.stalls.push(Stall { from, until, seen });
        }
        if alone > ALONE {
            self.alone.insert(number);
        }
        self.complete = number;
        self.settle();
    }

    /// A pair that must not be served.
    pub(crate) fn forbid(&mut self, pair: &Pair) {
        self.issued.insert(pair.leaf.clone(), Issued::Forbidden);
    }

    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn under_way(&self) -> u64 {
        self.begun - self.ended
    }

    /// The greatest number of a handshake that has ended; handshakes are numbered as they begin.
    pub(crate) fn newest_ended(&self) -> u64 {
        self.newest_ended
    }

    pub(crate) fn begin(&mut self) -> Ticket {
        self.begun += 1;
        Ticket {
            number: self.begun,
            begun: Instant::now(),
            complete: self.complete,
            seen: self.seen,
            whole: self.whole,
        }
    }

    pub(crate) fn end(&mut self, ticket: Ticket, outcome: Result<Session, Refusal>) {
        self.ended += 1;
        self.newest_ended = self.newest_ended.max(ticket.number);
        match outcome {
            Ok(session) => self.judge(ticket, &session),
            Err(refusal) => self.fail(ticket, &format!("failed: {refusal:?}")),
        }
    }

    fn judge(&mut self, ticket: Ticket, session: &Session) {
        let (got, chain) = match self.issued.get(&session.leaf) {
            Some(Issued::Valid { number, chain }) => (*number, chain),
            Some(Issued::Forbidden) => return self.fail(ticket, "got a certificate that must not be served"),
            None => return self.fail(ticket, "got a certificate that was never issued"),
        };
        if session.chain == *chain {
            self.whole = self.whole.max(got);
        } else if session.chain == chain[..1] {
            self.doubt(ticket, got, Doubt::LeafAlone);
        } else {
            self.fail(ticket, &format!("got update {got} with the chain of another"));
        }
        if got < ticket.seen {
            self.fail(ticket, &format!("got update {got}, and {} had been seen", ticket.seen));
        } else if got < ticket.complete {
            self.doubt(ticket, got, Doubt::Older);
        }
        self.seen = self.seen.max(got);
    }

    fn doubt(&mut self, ticket: Ticket, got: u64, why: Doubt) {
        self.doubtful.push(Doubtful { ticket, ended: Instant::now(), got, why });
        if self.replacing.is_none() {
            self.settle();
        }
    }

    fn fail(&mut self, ticket: Ticket, what: &str) {
        let Ticket { number, complete, .. } = ticket;
        let text = format!("{}: handshake {number}, after update {complete}: {what}", self.name);
        self.failures.push(text);
    }

    /// A step that could not be done.
    pub(crate) fn abandon(&mut self, why: String) {
        self.failures.push(format!("{}: {why}", self.name));
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.len()
    }

    /// Judges what was doubtful, now that no replacement is under way.
    fn settle(&mut self) {
        for Doubtful { ticket, ended, got, why } in std::mem::take(&mut self.doubtful) {
            let met = |stall: &&Stall| ticket.begun < stall.until && ended > stall.from;
            let (is_excused, what) = match why {
                Doubt::Older => (self.stalls.iter().filter(met).any(|stall| got >= stall.seen), "was older"),
                // Or its predecessor's: a chain is not shorter than one that was cut short itself.
                Doubt::LeafAlone => {
                    let is_open = |alone: &u64| (ticket.whole + 1..=got).contains(alone);
                    (self.alone.iter().any(is_open), "came without its chain")
                }
            };
            match is_excused {
                true => self.excused += 1,
                false => self.fail(ticket, &format!("got update {got}, which {what}")),
            }
        }
    }

    /// When all is over.
    pub(crate) fn verdict(mut self) -> Verdict {
        self.settle();
        Verdict { handshakes: self.ended, excused: self.excused, failures: self.failures }
    }
}

/// What became of one certificate's handshakes.
pub(crate) struct Verdict {
    pub(crate) handshakes: u64,
    pub(crate) excused: u64,
    pub(crate) failures: Vec<String>,
}
