//! What many certificates cost: to start with, to keep, to choose from, to replace.
//!
//! Four figures for each size, from the same turns, since starting HAProxy with 100,000 certificates takes minutes:
//!
//! - `certificates-N-ready`: from the start of the process to the first completed handshake, on the server's one core;
//! - `certificates-N-memory`: what the server's processes have in memory once at rest, shared pages counted once;
//! - `certificates-N-handshake`: a full TLS 1.3 handshake, over at most 1,000 names spread over all of them;
//! - `certificates-N-update`: from the moment a changed pair is on disk to the end of the first handshake that is
//!   answered with it. HAProxy has to be told, by its runtime API; the others are not.
//!
//! nginx gets the form that needs no reload: a variable in `ssl_certificate`, for which it reads and parses both files
//! in each handshake.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};

use super::ground::Ground;
use super::load::{self, Watch};
use super::population::{Pair, Population};
use super::processor::{memory_of_tree, time_of_tree};
use super::report::{Heading, Measured};
use super::round::{Length, loaded};
use super::samples::Samples;
use super::server::{HANDFAST_SCALE, HAPROXY_SCALE, NGINX_SCALE, NotReady, Server, pause};

pub(super) const SIZES: [usize; 3] = [1, 1_000, 100_000];

/// What is measured of each size, with its unit.
const FIGURES: [(&str, &str, &str); 4] = [
    ("ready", "ready to serve", "ms"),
    ("memory", "memory at rest", "MiB"),
    ("handshake", "a full TLS 1.3 handshake, ECDSA P-256", "server CPU µs per operation"),
    ("update", "a changed pair is served", "ms"),
];

/// Times a pair is replaced in one turn; the median counts.
const UPDATES: usize = 15;

/// Rounds at the largest size: a turn of HAProxy's takes minutes.
const LARGE_ROUNDS: usize = 3;

/// A server with a folder of certificates.
pub(super) struct Contender {
    /// Public: the JSON has it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) start: fn(&Ground, &Population) -> Result<Server>,
    /// Replaces the pair of a name. Returns when it is complete, which is where the clock starts.
    pub(super) replace: fn(&Ground, &Population, &str, &Pair) -> Result<SystemTime>,
}

const CONTENDERS: [&Contender; 3] = [&HANDFAST_SCALE, &NGINX_SCALE, &HAPROXY_SCALE];

/// What a contender's turns gave.
#[derive(Default)]
struct Standing {
    /// In the order of [`FIGURES`].
    samples: [Samples; 4],
    unready: Option<String>,
}

/// The names of a size's figures.
pub(super) fn names(size: usize) -> impl Iterator<Item = String> {
    FIGURES.iter().map(move |(figure, _, _)| name(size, figure))
}

pub(super) fn measure(ground: &Ground, size: usize, length: Length) -> Result<Vec<(Heading, Vec<Measured>)>> {
    let population = Population::prepare(&ground.kept, size)?;
    let rounds = if size > 10_000 { length.rounds.min(LARGE_ROUNDS) } else { length.rounds };
    let mut all: Vec<Standing> = CONTENDERS.iter().map(|_| Standing::default()).collect();
    for round in 1..=rounds {
        for (contender, standing) in CONTENDERS.iter().zip(&mut all) {
            let name = contender.name;
            if standing.unready.is_some() {
                continue;
            }
            let values = match turn(ground, &population, contender, length) {
                Ok(values) => values,
                Err(error) => {
                    // Of a peer only: without the gateway there is nothing to compare.
                    let unready = error.downcast_ref::<NotReady>().filter(|_| name != "handfast");
                    let Some(unready) = unready else { return Err(error.context(name)) };
                    eprintln!("bench: {size} certificates, round {round} of {rounds}: {name}: {unready}");
                    standing.unready = Some(unready.shortly());
                    continue;
                }
            };
            eprintln!("bench: {size} certificates, round {round} of {rounds}: {name}: {values:.1?}");
            for (samples, value) in standing.samples.iter_mut().zip(values) {
                samples.add(value);
            }
        }
    }
    let figures = FIGURES.iter().enumerate().map(|(position, (figure, title, unit))| {
        let heading =
            Heading { name: name(size, figure), title: format!("{size} certificates: {title}"), unit };
        let measured = CONTENDERS.iter().zip(&all).map(|(contender, standing)| Measured {
            name: contender.name,
            title: contender.title,
            values: standing.samples.get(position).cloned().unwrap_or_default(),
            rates: None,
            unready: standing.unready.clone(),
        });
        (heading, measured.collect())
    });
    Ok(figures.collect())
}

fn name(size: usize, figure: &str) -> String {
    format!("certificates-{size}-{figure}")
}

/// In the order of [`FIGURES`].
fn turn(ground: &Ground, population: &Population, contender: &Contender, length: Length) -> Result<[f64; 4]> {
    let replaced = population.replaced();
    let begun = Instant::now();
    let server = (contender.start)(ground, population)?;
    load::one(ground, server.address(), &replaced).context("the first handshake")?;
    let ready = begun.elapsed();
    at_rest(&server)?;
    let memory = memory_of_tree(server.id())?;
    let asked = population.asked()?.display().to_string();
    let options =
        ["--version=1.3", "--group=x25519", "--cipher=aes128", "--awake", "--server-names-file", &asked];
    let run = |seconds| load::run(ground, server.address(), &options, seconds);
    let handshake = loaded(&server, length, run)?.value;
    let (mut updates, mut failed) = (Vec::with_capacity(UPDATES), 0);
    for _ in 0..UPDATES {
        let update = update(ground, population, contender, &server, &replaced)?;
        updates.push(milliseconds(update.took));
        failed += update.failed;
    }
    if failed > 0 {
        eprintln!("bench: {}: {failed} handshakes failed while the pair was replaced", contender.name);
    }
    server.stop()?;
    updates.sort_by(f64::total_cmp);
    let update = updates.get(UPDATES / 2).copied().context("no updates")?;
    Ok([milliseconds(ready), memory as f64 / f64::from(1 << 20), handshake, update])
}

fn update(
    ground: &Ground,
    population: &Population,
    contender: &Contender,
    server: &Server,
    name: &str,
) -> Result<Update> {
    let pair = population.new_pair()?;
    let watch = Watch::start(ground, server.address(), name)?;
    let complete = (contender.replace)(ground, population, name, &pair)?;
    let (changed, failed) = watch.changed()?;
    // A handshake that began in between may be answered with the new pair before the clock here is read.
    Ok(Update { took: changed.duration_since(complete).unwrap_or_default(), failed })
}

struct Update {
    took: Duration,
    /// Handshakes that met a pair of which only one file was replaced.
    failed: u64,
}

/// Waits until the server has done what it does once after its start.
fn at_rest(server: &Server) -> Result<()> {
    let mut last = time_of_tree(server.id())?;
    loop {
        pause(Duration::from_secs(1));
        let now = time_of_tree(server.id())?;
        if now.saturating_sub(last) < Duration::from_millis(50) {
            return Ok(());
        }
        last = now;
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
