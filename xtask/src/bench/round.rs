//! The turns that servers take, and what each turn gives.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::figure::{Figure, Work};
use super::ground::Ground;
use super::load::{self, Load};
use super::processor::{memory_of_tree, time_of_tree};
use super::report::{Details, Measured};
use super::samples::Samples;
use super::server::{Server, Setting, Subject, pause, start_sink, start_upstream};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) rounds: usize,
    pub(super) warm_up: f64,
    pub(super) seconds: f64,
}

impl Length {
    /// Counting in ticks of 10 ms is wrong by less than 0.5 % over 4 s.
    pub(super) const FULL: Self = Self { rounds: 9, warm_up: 1.0, seconds: 4.0 };
    pub(super) const QUICK: Self = Self { rounds: 3, warm_up: 0.5, seconds: 2.0 };
}

pub(super) fn measure(
    ground: &Ground,
    figure: &'static Figure,
    length: Length,
) -> Result<(Vec<Measured>, Details)> {
    let none = |subject: &&'static Subject| Measured {
        name: subject.name,
        title: subject.title,
        values: Samples::default(),
        rates: None,
        unready: None,
    };
    let (folder, certificates) = ground.certificates(figure.keys)?;
    let start = if figure.work.uploads() { start_sink } else { start_upstream };
    let upstream = figure.work.needs_upstream().then(|| start(ground)).transpose()?;
    let setting = Setting {
        folder: &folder,
        certificates: &certificates,
        upstream: upstream.as_ref().map(Server::address),
    };
    let mut all: Vec<Measured> = figure.subjects.iter().map(none).collect();
    let mut details = Details::new();
    for round in 1..=length.rounds {
        let mut turns: Vec<_> = figure.subjects.iter().zip(&mut all).collect();
        // There and back, so that none is always the one behind a server that leaves the kernel with work.
        if round % 2 == 0 {
            turns.reverse();
        }
        for (subject, measured) in turns {
            let name = subject.name;
            let turn = turn(ground, figure, subject, &setting, length).with_context(|| name.to_owned())?;
            eprintln!("bench: {}, round {round} of {}: {name}: {turn}", figure.name, length.rounds);
            measured.values.add(turn.value);
            if let Some(rate) = turn.rate {
                measured.rates.get_or_insert_default().add(rate);
            }
            for (what, value) in turn.details {
                details.entry(name).or_default().entry(what).or_default().add(value);
            }
        }
    }
    if let Some(upstream) = upstream {
        upstream.stop()?;
    }
    Ok((all, details))
}

/// One server's turn: started, warmed up, loaded, stopped.
fn turn(
    ground: &Ground,
    figure: &Figure,
    subject: &Subject,
    setting: &Setting<'_>,
    length: Length,
) -> Result<Turn> {
    let server = (subject.start)(ground, setting)?;
    let names = setting.names();
    let turn = match figure.work {
        Work::Connections(options) => {
            let mut options: Vec<&str> = ["--server-names", &names].iter().chain(options).copied().collect();
            // Not where the upstream is on the same core.
            options.extend(setting.upstream.is_none().then_some("--awake"));
            options.extend(server.load_option());
            let run = |seconds| load::run(ground, server.address(), &options, seconds);
            loaded(&server, length, run)?
        }
        Work::Requests { protocol } => {
            let run = |seconds| load::requests(ground, &server, protocol, seconds);
            loaded(&server, length, run)?
        }
        Work::Saturation { protocol } => saturated(ground, &server, protocol, length)?,
        Work::Bodies { mebibytes, upload } => bodies(ground, &server, mebibytes, upload, length)?,
        Work::Idle { protocol } => Turn::of(idle(ground, &server, protocol, &names)?),
    };
    server.stop()?;
    Ok(turn)
}

/// Requests as fast as they are answered; beside it, how much of its core the server took. Below 100 % the generator, which
/// shares its own core with the upstream, was the bottleneck.
fn saturated(ground: &Ground, server: &Server, protocol: &str, length: Length) -> Result<Turn> {
    let run = |seconds| match protocol {
        "h2" => load::requests(ground, server, protocol, seconds),
        _ => load::wrk(ground, server.address(), seconds),
    };
    run(length.warm_up.max(1.0)).context("warming up")?;
    let (before, begun) = (time_of_tree(server.id())?, Instant::now());
    let load = run(length.seconds)?;
    let busy =
        (time_of_tree(server.id())?.saturating_sub(before)).as_secs_f64() / begun.elapsed().as_secs_f64();
    let details = vec![("server core busy, %", busy * 100.0)];
    Ok(Turn { details, ..Turn::of(load.operations as f64 / load.seconds) })
}

/// MiB passed in a turn, for each second it should last: a server that takes half a second for a GiB is busy for long
/// enough to be measured, and one that takes two does not take all day.
const MEBIBYTES_A_SECOND: f64 = 300.0;

/// So many bodies, all of them to their end: of those that are cut off nobody knows what they cost.
fn bodies(ground: &Ground, server: &Server, mebibytes: usize, upload: bool, length: Length) -> Result<Turn> {
    let body = ground.folder.join(format!("body-{mebibytes}mib"));
    if upload && !body.exists() {
        fs::write(&body, vec![b'.'; mebibytes << 20])?;
    }
    let path = if upload { "/".to_owned() } else { format!("/{mebibytes}mib") };
    let run = |seconds: f64| {
        let count = ((seconds * MEBIBYTES_A_SECOND) as usize / mebibytes).max(2);
        load::bodies(ground, server, &path, upload.then_some(&body), count)
    };
    run(length.warm_up).context("warming up")?;
    let before = time_of_tree(server.id())?;
    let load = run(length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before).as_secs_f64();
    let gibibytes = (load.operations as usize * mebibytes) as f64 / 1024.0;
    let details = vec![("GiB a second", gibibytes / load.seconds)];
    Ok(Turn { details, ..Turn::of(spent / gibibytes) })
}

/// Connections held at once. 10,000 would need a hard limit of more than 20,000 descriptors, which is what an
/// unprivileged machine has: the gateway reserves two for each connection, since a request may need an upstream's.
const IDLE: usize = 9_000;

/// KiB that each idle connection adds.
fn idle(ground: &Ground, server: &Server, protocol: &str, names: &str) -> Result<f64> {
    // A server that has worked already does not count what it keeps for any number of connections.
    load::hold(ground, server.address(), protocol, names, IDLE / 10)?.release()?;
    let before = settled(server)?;
    let held = load::hold(ground, server.address(), protocol, names, IDLE)?;
    let during = settled(server)?;
    held.release()?;
    Ok(during.saturating_sub(before) as f64 / 1024.0 / IDLE as f64)
}

/// How long a server must not have shrunk to be at rest: allocators give back what was freed with a delay, jemalloc's of 10 s.
const STILL: Duration = Duration::from_secs(12);

/// The memory of a server that has nothing to do, once it is at rest.
fn settled(server: &Server) -> Result<u64> {
    let (mut least, mut since) = (memory_of_tree(server.id())?, Instant::now());
    while since.elapsed() < STILL {
        pause(Duration::from_secs(2));
        let now = memory_of_tree(server.id())?;
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    Ok(least)
}

/// Warms a server up, then loads it and looks what that cost.
pub(super) fn loaded(server: &Server, length: Length, run: impl Fn(f64) -> Result<Load>) -> Result<Turn> {
    run(length.warm_up).context("warming up")?;
    let before = time_of_tree(server.id())?;
    let load = run(length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before);
    let operations = load.operations as f64;
    let value = spent.as_secs_f64() * 1e6 / operations;
    Ok(Turn { rate: Some(operations / load.seconds), ..Turn::of(value) })
}

/// What a turn gave.
#[derive(Debug)]
pub(super) struct Turn {
    /// In the unit of the figure.
    pub(super) value: f64,
    /// Operations per second.
    rate: Option<f64>,
    details: Vec<(&'static str, f64)>,
}

impl Turn {
    fn of(value: f64) -> Self {
        Self { value, rate: None, details: Vec::new() }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.2}", self.value)?;
        if let Some(rate) = self.rate {
            write!(formatter, ", {rate:.0} a second")?;
        }
        for (what, value) in &self.details {
            write!(formatter, ", {what} {value:.2}")?;
        }
        Ok(())
    }
}
