//! The turns that servers take, and what each turn gives.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};

use super::figure::{Figure, Work};
use super::ground::Ground;
use super::load::{self, Load};
use super::processor::{memory_of_tree, time_of_tree};
use super::report::Measured;
use super::samples::Samples;
use super::server::{Server, Setting, Subject, pause, start_upstream};

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

pub(super) fn measure(ground: &Ground, figure: &'static Figure, length: Length) -> Result<Vec<Measured>> {
    let none = |subject: &&'static Subject| Measured {
        name: subject.name,
        title: subject.title,
        values: Samples::default(),
        rates: None,
    };
    let (folder, certificates) = ground.certificates(figure.keys)?;
    let upstream = figure.work.needs_upstream().then(|| start_upstream(ground)).transpose()?;
    let setting = Setting {
        folder: &folder,
        certificates: &certificates,
        upstream: upstream.as_ref().map(Server::address),
    };
    let mut all: Vec<Measured> = figure.subjects.iter().map(none).collect();
    for round in 1..=length.rounds {
        for (subject, measured) in figure.subjects.iter().zip(&mut all) {
            let name = subject.name;
            let turn = turn(ground, figure, subject, &setting, length).with_context(|| name.to_owned())?;
            eprintln!("bench: {}, round {round} of {}: {name}: {turn}", figure.name, length.rounds);
            measured.values.add(turn.value);
            if let Some(rate) = turn.rate {
                measured.rates.get_or_insert_default().add(rate);
            }
        }
    }
    if let Some(upstream) = upstream {
        upstream.stop()?;
    }
    Ok(all)
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
    let names: Vec<&str> = setting.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
    let names = names.join(",");
    let turn = match figure.work {
        Work::Connections(options) => {
            let mut options: Vec<&str> = ["--server-names", &names].iter().chain(options).copied().collect();
            // Not where the upstream is on the same core.
            options.extend(setting.upstream.is_none().then_some("--awake"));
            let run = |seconds| load::run(ground, server.address(), &options, seconds);
            loaded(&server, length, run)?
        }
        Work::Requests { protocol, path } => {
            let run = |seconds| load::requests(ground, server.address(), protocol, path, seconds);
            loaded(&server, length, run)?
        }
        Work::Idle { protocol } => Turn { value: idle(ground, &server, protocol, &names)?, rate: None },
    };
    server.stop()?;
    Ok(turn)
}

/// Connections held at once.
const IDLE: usize = 10_000;

/// KiB that each idle connection adds.
fn idle(ground: &Ground, server: &Server, protocol: &str, names: &str) -> Result<f64> {
    // A server that has worked already does not count what it keeps for any number of connections.
    load::hold(ground, server.address(), protocol, names, IDLE / 10)?.release()?;
    let before = memory_of_tree(server.id())?;
    let held = load::hold(ground, server.address(), protocol, names, IDLE)?;
    let during = settled(server)?;
    held.release()?;
    Ok(during.saturating_sub(before) as f64 / 1024.0 / IDLE as f64)
}

/// The memory of a server that has nothing to do, once it does not shrink any more.
fn settled(server: &Server) -> Result<u64> {
    let mut last = memory_of_tree(server.id())?;
    loop {
        pause(Duration::from_secs(2));
        let now = memory_of_tree(server.id())?;
        if now >= last {
            return Ok(now);
        }
        last = now;
    }
}

/// Warms a server up, then loads it and looks what that cost.
pub(super) fn loaded(server: &Server, length: Length, run: impl Fn(f64) -> Result<Load>) -> Result<Turn> {
    run(length.warm_up).context("warming up")?;
    let before = time_of_tree(server.id())?;
    let load = run(length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before);
    let operations = load.operations as f64;
    Ok(Turn { value: spent.as_secs_f64() * 1e6 / operations, rate: Some(operations / load.seconds) })
}

/// What a turn gave.
#[derive(Debug)]
pub(super) struct Turn {
    /// Microseconds of processor time per operation, or KiB per connection.
    pub(super) value: f64,
    /// Operations per second.
    rate: Option<f64>,
}

impl fmt::Display for Turn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            Some(rate) => write!(formatter, "{:.1} µs, {rate:.0} a second", self.value),
            None => write!(formatter, "{:.1} KiB", self.value),
        }
    }
}
