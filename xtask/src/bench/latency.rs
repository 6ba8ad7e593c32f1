//! `latency-…`: how long good handshakes take at a fixed rate, while something else happens to the gateway.
//!
//! The generator asks at its own times and counts from them (`xtask/load/src/pace.rs`), so a stall is not hidden by a client
//! that waits for it. All figures have the same configuration, one policy before the embedded one, and take turns with
//! `latency-rest`, in which nothing else happens: the ratio to that, round by round, is the result. The gateway has one core
//! for everything, its worker and what reads certificates and compiles policies.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use handfast_policy_builder::Language;

use super::certificates::{self, Named};
use super::figure::Keys;
use super::ground::Ground;
use super::load;
use super::report::{Details, Heading, Measured};
use super::round::Length;
use super::samples::Samples;
use super::server::{Server, Setting, pause, start_plugin};

/// Good handshakes a second: about an eighth of what one core does.
const RATE: f64 = 1_000.0;

/// Longer than other turns: the 99.9th percentile of 8,000 is the eighth worst.
const LENGTHS: f64 = 2.0;

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Nothing,
    /// Every 100 ms one of the eight pairs that are asked for is replaced by two renames.
    Reloads,
    /// Every second the policy is replaced by one that was never seen, and has to be compiled.
    Swaps,
    /// The same, and no handshake waits for that: the policy before judges until it is done.
    UnawaitedSwaps,
    /// Every second the policy is replaced by one of two, whose compiled code is kept.
    KnownSwaps,
    /// Another client's connections, one after the other, to a name for which the policy never answers.
    Loop,
    /// 2,000 clients that sent the beginning of a ClientHello and nothing more.
    Hung,
}

const HUNG: usize = 2_000;

/// After which a generator makes connections.
const STARTED: Duration = Duration::from_millis(500);

/// Server names of the good handshakes.
const NAMES: usize = 8;

const FIGURES: [(&str, &str, Event); 7] = [
    ("latency-rest", "at rest", Event::Nothing),
    ("latency-reloads", "while ten certificates a second are replaced", Event::Reloads),
    ("latency-swaps", "while a policy is replaced each second by a new one", Event::Swaps),
    (
        "latency-swaps-unawaited",
        "while a policy is replaced each second by a new one that no handshake waits for",
        Event::UnawaitedSwaps,
    ),
    ("latency-swaps-known", "while a policy is replaced each second by one seen before", Event::KnownSwaps),
    ("latency-loop", "while a policy loops for another name on the same listener", Event::Loop),
    ("latency-hung", "while 2,000 handshakes hang", Event::Hung),
];

pub(super) fn names() -> impl Iterator<Item = String> {
    FIGURES.iter().map(|(name, ..)| (*name).to_owned())
}

/// Measures the figures that were asked for, each in turn with the gateway at rest.
pub(super) fn measure(
    ground: &Ground,
    length: Length,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(Heading, Vec<Measured>, Details)>> {
    let figures: Vec<_> = FIGURES.into_iter().filter(|(name, ..)| wanted(name)).collect();
    if figures.is_empty() {
        return Ok(Vec::new());
    }
    let stage = Stage::set(ground)?;
    let mut rest = Percentiles::default();
    let mut all: Vec<Percentiles> = figures.iter().map(|_| Percentiles::default()).collect();
    for round in 1..=length.rounds {
        let at_rest = turn(ground, &stage, Event::Nothing, length).context("at rest")?;
        said(round, length, "rest", &at_rest);
        rest.add(&at_rest);
        for ((name, _, event), percentiles) in figures.iter().zip(&mut all) {
            if *event == Event::Nothing {
                percentiles.add(&at_rest);
                continue;
            }
            let measured = turn(ground, &stage, *event, length).with_context(|| (*name).to_owned())?;
            said(round, length, name, &measured);
            percentiles.add(&measured);
        }
    }
    let lines = figures.into_iter().zip(all).map(|((name, title, event), percentiles)| {
        let heading = Heading {
            name: name.to_owned(),
            title: format!("The 99th percentile of a full handshake, 1,000 a second, {title}"),
            unit: "µs",
        };
        let server = |name, title, from: &Percentiles| Measured {
            name,
            title,
            values: from.p99.clone(),
            rates: None,
            unready: None,
        };
        let mut servers = vec![server("handfast", "handfast", &percentiles)];
        let mut details = Details::from([("handfast", percentiles.columns())]);
        if event != Event::Nothing {
            servers.push(server("handfast-at-rest", "handfast at rest", &rest));
            details.insert("handfast-at-rest", rest.columns());
        }
        (heading, servers, details)
    });
    Ok(lines.collect())
}

fn said(round: usize, length: Length, name: &str, of: &load::Percentiles) {
    let load::Percentiles { p50, p99, p99_9 } = of;
    eprintln!(
        "bench: latency, round {round} of {}: {name}: p50 {p50}, p99 {p99}, p99.9 {p99_9} µs",
        length.rounds
    );
}

#[derive(Debug, Default)]
struct Percentiles {
    p50: Samples,
    p99: Samples,
    p99_9: Samples,
}

impl Percentiles {
    fn add(&mut self, of: &load::Percentiles) {
        self.p50.add(of.p50);
        self.p99.add(of.p99);
        self.p99_9.add(of.p99_9);
    }

    fn columns(&self) -> BTreeMap<&'static str, Samples> {
        [("p50", &self.p50), ("p99.9", &self.p99_9)].map(|(name, samples)| (name, samples.clone())).into()
    }
}

fn turn(ground: &Ground, stage: &Stage, event: Event, length: Length) -> Result<load::Percentiles> {
    let setting = Setting { folder: &stage.folder, certificates: &stage.certificates, upstream: None };
    let keys = if event == Event::UnawaitedSwaps { "reload-wait = \"0s\"\n" } else { "" };
    let server = start_plugin(ground, &setting, stage.plugin.clone(), keys)?;
    let names = setting.names();
    let seconds = length.seconds * LENGTHS;
    load::paced(ground, server.address(), &names, RATE, length.warm_up).context("warming up")?;
    let over = AtomicBool::new(false);
    let paced = thread::scope(|scope| {
        let background = scope.spawn(|| stage.happen(event, &over));
        let paced = during(ground, event, &server, &names, seconds);
        over.store(true, Ordering::Relaxed);
        let happened = background.join().map_err(|_| anyhow::anyhow!("a thread of the rig ended early"))?;
        happened.and(paced)
    })?;
    server.stop()?;
    Ok(paced)
}

/// The load, with what other clients do meanwhile.
fn during(
    ground: &Ground,
    event: Event,
    server: &Server,
    names: &str,
    seconds: f64,
) -> Result<load::Percentiles> {
    let address = server.address();
    let paced = || load::paced(ground, address, names, RATE, seconds).map(|paced| paced.latency_us);
    match event {
        Event::Loop => {
            let _looping = load::disturb(ground, address, "loop.bench.example")?;
            // Its start takes the generator's core for longer than any handshake.
            pause(STARTED);
            paced()
        }
        Event::Hung => {
            let hung = load::hang(ground, address, names, HUNG)?;
            let percentiles = paced();
            hung.release()?;
            percentiles
        }
        _ => paced(),
    }
}

/// The files that change.
struct Stage {
    folder: PathBuf,
    /// In the folder.
    certificates: Vec<Named>,
    /// Two pairs for each name, elsewhere.
    pairs: [Vec<Named>; 2],
    plugin: PathBuf,
    /// What is in the plugin, with no opinion of any good name.
    component: Vec<u8>,
    swaps: AtomicU64,
}

impl Stage {
    fn set(ground: &Ground) -> Result<Self> {
        let folder = ground.folder.join("latency");
        let pairs = ["first", "second"].map(|turn| {
            certificates::generate(&ground.folder.join(format!("latency-{turn}")), Keys::EcdsaP256, NAMES)
        });
        let [first, second] = pairs;
        let (first, second) = (first?, second?);
        fs::create_dir_all(&folder)?;
        let certificates = first.iter().map(|Named { name, .. }| {
            let file = |ending| folder.join(format!("{name}.{ending}"));
            Named { name: name.clone(), chain: file("crt"), key: file("key") }
        });
        let certificates: Vec<Named> = certificates.collect();
        for (to, from) in certificates.iter().zip(&first) {
            put_pair(to, from)?;
        }
        let component = ground.policy(Language::C, "loop")?;
        let component =
            fs::read(&component).with_context(|| format!("cannot read {}", component.display()))?;
        let plugin = ground.folder.join("latency.wasm");
        fs::write(&plugin, &component)?;
        let pairs = [first, second];
        Ok(Self { folder, certificates, pairs, plugin, component, swaps: AtomicU64::new(2) })
    }

    /// What happens to files, until it is over.
    fn happen(&self, event: Event, over: &AtomicBool) -> Result<()> {
        let every = match event {
            Event::Reloads => Duration::from_millis(100),
            Event::Swaps | Event::UnawaitedSwaps | Event::KnownSwaps => Duration::from_secs(1),
            _ => return Ok(()),
        };
        for number in 0.. {
            pause(every);
            if over.load(Ordering::Relaxed) {
                break;
            }
            match event {
                Event::Reloads => self.replace_pair(number)?,
                Event::KnownSwaps => self.replace_plugin(number as u64 % 2)?,
                _ => self.replace_plugin(self.swaps.fetch_add(1, Ordering::Relaxed))?,
            }
        }
        Ok(())
    }

    /// Of each name in turn; when all had theirs, the other pairs take their turn.
    fn replace_pair(&self, number: usize) -> Result<()> {
        let position = number % NAMES;
        let pairs = self.pairs.get((number / NAMES + 1) % 2);
        let pair = pairs.and_then(|pairs| pairs.get(position)).context("no pair")?;
        put_pair(self.certificates.get(position).context("no certificate")?, pair)
    }

    /// The same code under another digest: a custom section with a number.
    fn replace_plugin(&self, number: u64) -> Result<()> {
        let name = b"bench";
        let mut bytes = self.component.clone();
        // Section 0: its length, the length of its name, the name, anything (the component model's binary format).
        bytes.extend([0, (1 + name.len() + 8) as u8, name.len() as u8]);
        bytes.extend(name);
        bytes.extend(number.to_le_bytes());
        put(&bytes, &self.plugin)
    }
}

fn put_pair(to: &Named, from: &Named) -> Result<()> {
    put(&fs::read(&from.chain)?, &to.chain)?;
    put(&fs::read(&from.key)?, &to.key)
}

/// By a rename, with the mode that private keys have to have.
fn put(bytes: &[u8], to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, to).with_context(|| format!("cannot replace {}", to.display()))
}
