//! The turns that servers take, and what each turn gives.

use std::time::Duration;

use anyhow::{Context, Result};

use super::figure::Figure;
use super::ground::Ground;
use super::load;
use super::processor::time_of_tree;
use super::samples::Samples;
use super::server::Subject;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    pub(super) rounds: usize,
    warm_up: f64,
    seconds: f64,
}

impl Length {
    /// Counting in ticks of 10 ms is wrong by less than 0.5 % over 4 s.
    pub(super) const FULL: Self = Self { rounds: 9, warm_up: 1.0, seconds: 4.0 };
    pub(super) const QUICK: Self = Self { rounds: 3, warm_up: 0.5, seconds: 2.0 };
}

/// All turns of one server, in order: turn n of every server belongs to the same round.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) subject: &'static Subject,
    /// Microseconds of processor time per operation.
    pub(super) cost: Samples,
    /// Operations per second.
    pub(super) rate: Samples,
}

pub(super) fn measure(ground: &Ground, figure: &'static Figure, length: Length) -> Result<Vec<Measured>> {
    let none =
        |subject: &&'static Subject| Measured { subject, cost: Samples::default(), rate: Samples::default() };
    let mut all: Vec<Measured> = figure.subjects.iter().map(none).collect();
    for round in 1..=length.rounds {
        for measured in &mut all {
            let name = measured.subject.name;
            let turn = turn(ground, figure, measured.subject, length).with_context(|| name.to_owned())?;
            let (cost, rate) = (turn.cost(), turn.rate());
            eprintln!("bench: round {round} of {}: {name}: {cost:.1} µs, {rate:.0} a second", length.rounds);
            measured.cost.add(cost);
            measured.rate.add(rate);
        }
    }
    Ok(all)
}

/// One server's turn: started, warmed up, loaded, stopped.
fn turn(ground: &Ground, figure: &Figure, subject: &Subject, length: Length) -> Result<Turn> {
    let server = (subject.start)(ground)?;
    load::run(ground, figure, server.address(), length.warm_up).context("warming up")?;
    let before = time_of_tree(server.id())?;
    let load = load::run(ground, figure, server.address(), length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before);
    server.stop()?;
    Ok(Turn { spent, operations: load.operations as f64, seconds: load.seconds })
}

#[derive(Debug)]
struct Turn {
    spent: Duration,
    operations: f64,
    seconds: f64,
}

impl Turn {
    fn cost(&self) -> f64 {
        self.spent.as_secs_f64() * 1e6 / self.operations
    }

    fn rate(&self) -> f64 {
        self.operations / self.seconds
    }
}
