//! What happens to each certificate, in order: the seed alone decides it, before anything runs.
//!
//! How the steps of different certificates fall together is up to the machine; their sequences are not.

use std::fmt;

use handfast_tests::Key;

use crate::method::Method;
use crate::place::Layout;
use crate::random::{Bag, Random};
use crate::spoil::{Part, Spoil};

/// Every layout that a source knows, the commonest one twice.
const LAYOUTS: [Layout; 6] = [
    Layout::CrtAndKey,
    Layout::PemAndKey,
    Layout::Certbot,
    Layout::Combined,
    Layout::Kubernetes,
    Layout::CrtAndKey,
];

pub(crate) struct Plan {
    pub(crate) certificates: Vec<Script>,
}

/// The steps of one certificate.
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A valid pair takes the place of whatever is there.
    Replace { method: Method, when: When, key: Key },
    /// What is there is spoiled, once its pair was seen.
    Spoil { spoil: Spoil, part: Part, lasts: bool },
}

/// How soon a replacement follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Whether or not a client has seen the one before.
    AtOnce,
    /// When a client has.
    Seen,
    /// When several handshakes have got it, so that the stamps of its files are behind the clock and the gateway's fast
    /// path is in use.
    Settled,
}

impl Plan {
    pub(crate) fn new(seed: u64, updates: usize) -> Self {
        let script = |(index, layout): (usize, &Layout)| {
            let mut random = Random::new(seed, index as u64);
            let (mut methods, mut spoils) = (Bag::new(Method::of(*layout)), Bag::new(Spoil::ALL));
            let count = updates / LAYOUTS.len() + usize::from(index < updates % LAYOUTS.len());
            let steps = (0..count).map(|_| match random.one_in(4) {
                true => {
                    let part = if random.one_in(2) { Part::Chain } else { Part::Key };
                    // The gateway watches each new state that it refuses for half a second, and so does the client.
                    let lasts = random.one_in(3);
                    Step::Spoil { spoil: spoils.draw(&mut random), part, lasts }
                }
                false => {
                    let method = methods.draw(&mut random);
                    let when = [When::AtOnce, When::Seen, When::Seen, When::Settled][random.below(4)];
                    let key = if random.one_in(3) { Key::Ed25519 } else { Key::EcdsaP256 };
                    Step::Replace { method, when, key }
                }
            });
            Script { name: format!("{}.example", letter(index)), layout: *layout, steps: steps.collect() }
        };
        Self { certificates: LAYOUTS.iter().enumerate().map(script).collect() }
    }

    /// How often each kind of step occurs, in the order of their names.
    pub(crate) fn counts(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for step in self.certificates.iter().flat_map(|script| &script.steps) {
            let name = match step {
                Step::Replace { method, .. } => method.name(),
                Step::Spoil { spoil, .. } => spoil.name(),
            };
            *counts.entry(name).or_insert(0) += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        counts.join(", ")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for script in &self.certificates {
            writeln!(formatter, "{} ({:?})", script.name, script.layout)?;
            for step in &script.steps {
                writeln!(formatter, "    {step:?}")?;
            }
        }
        Ok(())
    }
}

fn letter(index: usize) -> char {
    char::from(b'a' + u8::try_from(index).expect("few certificates"))
}
