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
//! gateway takes for a file at rest is a whole chain. Whatever is excused is counted, and the count is printed; where it is
//! more than a tenth of all handshakes ([`EXCUSABLE`]), the run has shown nothing and fails.
//!
//! Nothing here reads the clock, so that the tests below can say when things happen.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use handfast_tests::wait::Watched;
use handfast_tests::{Pair, Refusal};
use rustls_pki_types::CertificateDer;

/// Less than the half second of the gateway, whose clock starts when it sees the first half, not when that is written.
const STALL: Duration = Duration::from_millis(450);

/// Less than the 150 ms after which a file is at rest.
const ALONE: Duration = Duration::from_millis(100);

/// One handshake in so many may be excused. On a quiet machine it is one in five hundred.
pub(crate) const EXCUSABLE: u64 = 10;

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
    pub(crate) fn replacing(&mut self, number: u64, pair: &Pair, now: Instant) {
        let issued = Issued::Valid { number, chain: pair.chain() };
        self.issued.insert(pair.leaf.clone(), issued);
        self.replacing = Some((now, self.seen));
    }

    /// It has its place; on the way its leaf was alone in the chain's file for `alone`.
    pub(crate) fn replaced(&mut self, number: u64, alone: Duration, until: Instant) {
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

    pub(crate) fn begin(&mut self, now: Instant) -> Ticket {
        self.begun += 1;
        Ticket { number: self.begun, begun: now, complete: self.complete, seen: self.seen, whole: self.whole }
    }

    /// It has: with the chain that the client was sent, or because it was refused.
    pub(crate) fn end(
        &mut self,
        ticket: Ticket,
        outcome: Result<Vec<CertificateDer<'static>>, Refusal>,
        now: Instant,
    ) {
        self.ended += 1;
        self.newest_ended = self.newest_ended.max(ticket.number);
        match outcome {
            Ok(sent) => self.judge(ticket, &sent, now),
            Err(refusal) => self.fail(ticket, &format!("failed: {refusal:?}")),
        }
    }

    fn judge(&mut self, ticket: Ticket, sent: &[CertificateDer<'static>], now: Instant) {
        let (got, chain) = match sent.first().and_then(|leaf| self.issued.get(leaf)) {
            Some(Issued::Valid { number, chain }) => (*number, chain),
            Some(Issued::Forbidden) => return self.fail(ticket, "got a certificate that must not be served"),
            None => return self.fail(ticket, "got a certificate that was never issued"),
        };
        if sent == chain {
            self.whole = self.whole.max(got);
        } else if sent == &chain[..1] {
            self.doubt(ticket, got, Doubt::LeafAlone, now);
        } else {
            self.fail(ticket, &format!("got update {got} with the chain of another"));
        }
        if got < ticket.seen {
            self.fail(ticket, &format!("got update {got}, and {} had been seen", ticket.seen));
        } else if got < ticket.complete {
            self.doubt(ticket, got, Doubt::Older, now);
        }
        self.seen = self.seen.max(got);
    }

    fn doubt(&mut self, ticket: Ticket, got: u64, why: Doubt, ended: Instant) {
        self.doubtful.push(Doubtful { ticket, ended, got, why });
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

#[cfg(test)]
mod tests {
    use handfast_tests::Authority;

    use super::*;

    /// A ledger, the pairs that its certificate has one after the other, and the time.
    struct Scene {
        ledger: Ledger,
        pairs: Vec<Pair>,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let root = Authority::new("Ledger root");
            let authorities =
                ["Ledger authority 1", "Ledger authority 2"].map(|name| root.intermediate(name));
            let pairs = (0..4).map(|number| authorities[number % 2].server(&["a.example"])).collect();
            let mut scene = Self { ledger: Ledger::of("a.example"), pairs, now: Instant::now() };
            scene.replace(0, Duration::ZERO);
            scene
        }

        /// Puts a pair in its place, which takes so long.
        fn replace(&mut self, number: usize, takes: Duration) {
            self.half_replace(number);
            self.now += takes;
            self.ledger.replaced(number as u64, Duration::ZERO, self.now);
        }

        fn half_replace(&mut self, number: usize) {
            self.ledger.replacing(number as u64, &self.pairs[number], self.now);
        }

        fn begin(&mut self) -> Ticket {
            self.ledger.begin(self.now)
        }

        fn end(&mut self, ticket: Ticket, chain: Vec<CertificateDer<'static>>) {
            self.now += Duration::from_millis(1);
            self.ledger.end(ticket, Ok(chain), self.now);
        }

        /// A handshake with a pair, from its begin to its end.
        fn get(&mut self, number: usize) {
            let ticket = self.begin();
            self.end(ticket, self.pairs[number].chain());
        }

        /// How many handshakes were excused, and what was wrong.
        fn verdict(self) -> (u64, Vec<String>) {
            let Verdict { excused, failures, .. } = self.ledger.verdict();
            (excused, failures)
        }

        #[track_caller]
        fn assert_fails_with(self, what: &str) {
            let (excused, failures) = self.verdict();
            assert_eq!(excused, 0);
            assert!(failures.len() == 1 && failures[0].contains(what), "{failures:?}");
        }
    }

    #[test]
    fn the_newest_complete_pair_and_one_that_is_on_its_way_are_right() {
        let mut scene = Scene::new();
        scene.get(0);
        let early = scene.begin();
        scene.half_replace(1);
        scene.get(1);
        scene.get(1);
        scene.end(early, scene.pairs[0].chain());
        scene.ledger.replaced(1, Duration::ZERO, scene.now);
        scene.get(1);
        assert_eq!(scene.verdict(), (0, Vec::new()));
    }

    #[test]
    fn an_older_pair_than_the_last_complete_one_is_wrong() {
        let mut scene = Scene::new();
        scene.get(0);
        scene.replace(1, Duration::ZERO);
        scene.get(0);
        scene.assert_fails_with("got update 0, which was older");
    }

    #[test]
    fn nothing_goes_back_behind_what_was_seen() {
        let mut scene = Scene::new();
        scene.half_replace(1);
        scene.get(1);
        scene.get(0);
        scene.ledger.replaced(1, Duration::ZERO, scene.now);
        scene.assert_fails_with("got update 0, and 1 had been seen");
    }

    #[test]
    fn a_mixed_chain_a_forbidden_leaf_and_one_of_nobody_are_wrong() {
        let of = |sent: fn(&mut Scene) -> Vec<CertificateDer<'static>>, what| {
            let mut scene = Scene::new();
            let ticket = scene.begin();
            let sent = sent(&mut scene);
            scene.end(ticket, sent);
            scene.assert_fails_with(what);
        };
        let mixed = |scene: &mut Scene| [&scene.pairs[0].chain()[..1], &scene.pairs[1].chain()[1..]].concat();
        of(mixed, "got update 0 with the chain of another");
        let forbidden = |scene: &mut Scene| {
            let pair = scene.pairs[3].clone();
            scene.ledger.forbid(&pair);
            pair.chain()
        };
        of(forbidden, "got a certificate that must not be served");
        of(|scene| scene.pairs[2].chain(), "got a certificate that was never issued");
        of(|_| Vec::new(), "got a certificate that was never issued");
    }

    #[test]
    fn a_refused_handshake_is_wrong() {
        let mut scene = Scene::new();
        let ticket = scene.begin();
        scene.ledger.end(ticket, Err(Refusal::Closed), scene.now);
        scene.assert_fails_with("failed: Closed");
    }

    #[test]
    fn a_leaf_alone_is_excused_where_it_was_alone_for_long() {
        for (alone, excused) in [(ALONE, 0), (ALONE + Duration::from_millis(1), 1)] {
            let mut scene = Scene::new();
            scene.half_replace(1);
            let ticket = scene.begin();
            scene.end(ticket, scene.pairs[1].chain()[..1].to_vec());
            scene.ledger.replaced(1, alone, scene.now);
            let (counted, failures) = scene.verdict();
            assert_eq!((counted, failures.len() as u64), (excused, 1 - excused), "{failures:?}");
        }
    }

    #[test]
    fn an_older_pair_is_excused_during_a_stall_that_nobody_had_seen_the_start_of() {
        let excused_by = |takes: Duration, is_seen: bool, is_late: bool| {
            let mut scene = Scene::new();
            scene.get(0);
            scene.replace(1, Duration::ZERO);
            let before = scene.begin();
            if is_seen {
                scene.get(1);
            }
            scene.replace(2, takes);
            let ticket = if is_late { scene.begin() } else { before };
            scene.end(ticket, scene.pairs[0].chain());
            scene.verdict().0
        };
        let long = STALL + Duration::from_millis(2);
        assert_eq!(excused_by(long, false, false), 1);
        assert_eq!(excused_by(STALL, false, false), 0, "it was not that long");
        assert_eq!(excused_by(long, true, false), 0, "its predecessor had been seen");
        assert_eq!(excused_by(long, false, true), 0, "it was over");
    }
}
