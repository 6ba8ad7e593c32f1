//! The torture test of certificate replacement: pairs are replaced and spoiled by every method that exists in the field,
//! under a load of real TLS handshakes with the real binary, and every single handshake is judged.
//!
//! `cargo xtask torture` runs it in a large size and `tests/behaviour/torture.rs` in a small one. A seed decides the whole
//! sequence of methods, so a failure can be looked for again. What is asserted, and the one thing that is not, stands in
//! [`ledger`]. It is a program of its own, since a test that is to be run with a seed and a size is one, and since it
//! gives up privileges that other tests may need.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use ledger::{EXCUSABLE, Verdict};
use plan::Plan;

mod ledger;
mod method;
mod place;
mod plan;
mod random;
mod run;
mod spoil;

const USAGE: &str = "usage: handfast-torture [--seed N] [--updates N] [--plan]";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Some(arguments) => arguments,
        None => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Arguments { seed, updates, plan_only } = arguments;
    let plan = Plan::new(seed, updates);
    if plan_only {
        print!("{plan}");
        return ExitCode::SUCCESS;
    }
    // At once: who sees the run fail without an end needs it as well.
    println!("torture: seed {seed}: {}", plan.counts());
    let verdicts = run::run(&plan);
    let sum = |count: fn(&Verdict) -> u64| verdicts.iter().map(count).sum::<u64>();
    let (handshakes, excused) = (sum(|verdict| verdict.handshakes), sum(|verdict| verdict.excused));
    if excused > 0 {
        println!("torture: {excused} handshakes met an update that the machine stalled, and are excused");
    }
    let mut failures: Vec<String> = verdicts.into_iter().flat_map(|verdict| verdict.failures).collect();
    if excused.saturating_mul(EXCUSABLE) > handshakes {
        failures.push(format!(
            "{excused} of {handshakes} handshakes are excused, which is too many to say anything: is the machine busy?"
        ));
    }
    for failure in &failures {
        eprintln!("{failure}");
    }
    let failed = failures.len();
    println!("torture: seed {seed}: {handshakes} handshakes, {updates} updates, {failed} failures");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Arguments {
    seed: u64,
    updates: usize,
    /// Print the steps and do nothing.
    plan_only: bool,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        // Any seed will do, as long as it is another each time and easy to type.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut parsed =
            Self { seed: now.as_millis() as u64 % 1_000_000_000, updates: 300, plan_only: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seed" => parsed.seed = arguments.next()?.parse().ok()?,
                "--updates" => parsed.updates = arguments.next()?.parse().ok()?,
                "--plan" => parsed.plan_only = true,
                _ => return None,
            }
        }
        Some(parsed)
    }
}
