//! The turns that servers take, and what each turn gives.

use std::time::Duration;

use anyhow::{Context, Result};

use super::figure::Figure;
use super::ground::Ground;
use super::load;
use super::processor::time_of_tree;
use super::report::Measured;
use super::samples::Samples;
use super::server::{Server, Subject};

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
    let mut all: Vec<Measured> = figure.subjects.iter().map(none).collect();
    for round in 1..=length.rounds {
        for (subject, measured) in figure.subjects.iter().zip(&mut all) {
            let name = subject.name;
            let turn = turn(ground, figure, subject, length).with_context(|| name.to_owned())?;
            let (cost, rate) = (turn.cost(), turn.rate());
            eprintln!("bench: round {round} of {}: {name}: {cost:.1} µs, {rate:.0} a second", length.rounds);
            measured.values.add(cost);
            measured.rates.get_or_insert_default().add(rate);
        }
    }
    Ok(all)
}

/// One server's turn: started, warmed up, loaded, stopped.
fn turn(ground: &Ground, figure: &Figure, subject: &Subject, length: Length) -> Result<Turn> {
    let server = (subject.start)(ground)?;
    let names: Vec<&str> = ground.certificates.iter().map(|certificate| certificate.name.as_str()).collect();
    let names = names.join(",");
    let options: Vec<&str> = ["--server-names", &names].iter().chain(figure.load).copied().collect();
    let turn = loaded(ground, &server, &options, length)?;
    server.stop()?;
    Ok(turn)
}

/// Warms a server up, then loads it and looks what that cost.
pub(super) fn loaded(ground: &Ground, server: &Server, options: &[&str], length: Length) -> Result<Turn> {
    load::run(ground, server.address(), options, length.warm_up).context("warming up")?;
    let before = time_of_tree(server.id())?;
    let load = load::run(ground, server.address(), options, length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before);
    Ok(Turn { spent, operations: load.operations as f64, seconds: load.seconds })
}

#[derive(Debug)]
pub(super) struct Turn {
    spent: Duration,
    operations: f64,
    seconds: f64,
}

impl Turn {
    /// Microseconds of processor time per operation.
    pub(super) fn cost(&self) -> f64 {
        self.spent.as_secs_f64() * 1e6 / self.operations
    }

    /// Operations per second.
    fn rate(&self) -> f64 {
        self.operations / self.seconds
    }
}
