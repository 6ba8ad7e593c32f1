//! `scaling-…`: whether two workers do twice as much as one.
//!
//! On a machine of two cores the generator has none of its own, so throughput at a stopwatch would say what the generator
//! left over. Instead, what an operation costs with two workers on two cores is put beside what it costs with one worker on
//! one: what the workers contend for (locks, shared cache lines, the kernel's listening sockets) makes an operation dearer,
//! and twice the one over the other is the speed-up that two cores of the server's own would give. Each time there is one
//! generator on either core, so that both have the same neighbours. The generators' share of the machine is beside it.

use std::time::Instant;

use anyhow::Result;

use super::figure::Keys;
use super::ground::Ground;
use super::load;
use super::processor::time_of_tree;
use super::report::{Details, Heading, Measured};
use super::round::Length;
use super::samples::Samples;
use super::server::{Server, Setting, start_upstream, start_workers};

/// Each figure's name, its title, and the protocol of its requests, if it makes any.
const FIGURES: [(&str, &str, Option<&str>); 2] = [
    ("scaling-handshake", "Full TLS 1.3 handshakes with two workers and with one", None),
    (
        "scaling-request",
        "HTTP/1.1 requests over kept connections with two workers and with one",
        Some("http/1.1"),
    ),
];

pub(super) fn names() -> impl Iterator<Item = String> {
    FIGURES.iter().map(|(name, ..)| (*name).to_owned())
}

/// Measures the figures that were asked for.
pub(super) fn measure(
    ground: &Ground,
    length: Length,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(Heading, Vec<Measured>, Details)>> {
    let (folder, certificates) = ground.certificates(Keys::EcdsaP256)?;
    let mut measured = Vec::new();
    for (name, title, requests) in FIGURES.into_iter().filter(|(name, ..)| wanted(name)) {
        let upstream = requests.map(|_| start_upstream(ground)).transpose()?;
        let upstream_address = upstream.as_ref().map(Server::address);
        let setting = Setting { folder: &folder, certificates: &certificates, upstream: upstream_address };
        let (mut both, mut one, mut details) = (Samples::default(), Samples::default(), Details::new());
        for round in 1..=length.rounds {
            let alone = turn(ground, &setting, 1, requests, length)?;
            let pair = turn(ground, &setting, 2, requests, length)?;
            let speed_up = 2.0 * alone.cost / pair.cost;
            eprintln!(
                "bench: {name}, round {round} of {}: {:.1} µs, one worker {:.1} µs, speed-up {speed_up:.2}",
                length.rounds, pair.cost, alone.cost,
            );
            both.add(pair.cost);
            one.add(alone.cost);
            let mut detail = |server, what, value| {
                let numbers = details.entry(server).or_default();
                numbers.entry(what).or_insert_with(Samples::default).add(value);
            };
            detail("handfast", "speed-up", speed_up);
            detail("handfast", "others' share of the machine, %", pair.others * 100.0);
            detail("handfast-one-worker", "speed-up", 1.0);
            detail("handfast-one-worker", "others' share of the machine, %", alone.others * 100.0);
        }
        if let Some(upstream) = upstream {
            upstream.stop()?;
        }
        let heading = Heading {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: "server CPU µs per operation, cores shared with the generators",
        };
        let server = |name, title, values| Measured { name, title, values, rates: None, unready: None };
        let servers = vec![
            server("handfast", "handfast, two workers on two cores", both),
            server("handfast-one-worker", "handfast, one worker on one core", one),
        ];
        measured.push((heading, servers, details));
    }
    Ok(measured)
}

struct Turn {
    /// µs of the server's time for each operation.
    cost: f64,
    /// What the server left of the two cores' time: to the generators, to the upstream, to nobody.
    others: f64,
}

fn turn(
    ground: &Ground,
    setting: &Setting<'_>,
    workers: usize,
    requests: Option<&str>,
    length: Length,
) -> Result<Turn> {
    let cores = match workers {
        1 => ground.server_core.to_string(),
        _ => format!("{},{}", ground.server_core, ground.load_core),
    };
    let server = start_workers(ground, setting, workers, &cores)?;
    let names = setting.names();
    load::on_both_cores(ground, &server, &names, requests, length.warm_up)?;
    let (before, begun) = (time_of_tree(server.id())?, Instant::now());
    let operations = load::on_both_cores(ground, &server, &names, requests, length.seconds)?;
    let spent = time_of_tree(server.id())?.saturating_sub(before).as_secs_f64();
    let machine = begun.elapsed().as_secs_f64() * 2.0;
    server.stop()?;
    Ok(Turn { cost: spent * 1e6 / operations as f64, others: 1.0 - spent / machine })
}
