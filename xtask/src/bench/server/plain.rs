//! The floors: servers of our own that do less than any server under test has to do (`xtask/load`, `handfast-plain`).

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Plain, Server, Setting, Subject, free_address};
use crate::bench::ground::Ground;

/// A full handshake's turns on the socket and its two asymmetric operations; no key schedule, no record.
pub(in crate::bench) const FLOOR: Subject = Subject {
    name: "floor",
    title: "floor: TCP, the turns of a handshake, key exchange, signature",
    start: |ground, setting| handshake(ground, setting, Some("x25519"), true, Plain::Turns),
};

/// The least that can be called a floor: not a byte goes over the connection.
pub(in crate::bench) const FLOOR_SILENT: Subject = Subject {
    name: "floor-silent",
    title: "floor: TCP accept and close, key exchange, signature",
    start: |ground, setting| handshake(ground, setting, Some("x25519"), true, Plain::Silent),
};

pub(in crate::bench) const FLOOR_TCP: Subject = Subject {
    name: "floor-tcp",
    title: "floor: TCP accept and close alone",
    start: |ground, setting| handshake(ground, setting, None, false, Plain::Silent),
};

pub(in crate::bench) const FLOOR_RESUMED: Subject = Subject {
    name: "floor",
    title: "floor: TCP, the turns of a handshake, key exchange",
    start: |ground, setting| handshake(ground, setting, Some("x25519"), false, Plain::Turns),
};

pub(in crate::bench) const FLOOR_P256: Subject = Subject {
    name: "floor",
    title: "floor: TCP, the turns of a handshake, key exchange, signature",
    start: |ground, setting| handshake(ground, setting, Some("secp256r1"), true, Plain::Turns),
};

pub(in crate::bench) const FLOOR_MLKEM: Subject = Subject {
    name: "floor",
    title: "floor: TCP, the turns of a handshake, key exchange, signature",
    start: |ground, setting| handshake(ground, setting, Some("x25519mlkem768"), true, Plain::Turns),
};

pub(in crate::bench) const FLOOR_RESUMED_MLKEM: Subject = Subject {
    name: "floor",
    title: "floor: TCP, the turns of a handshake, key exchange",
    start: |ground, setting| handshake(ground, setting, Some("x25519mlkem768"), false, Plain::Turns),
};

/// Two sockets for each connection, and the bytes as they are.
pub(in crate::bench) const RELAY: Subject = Subject {
    name: "relay",
    title: "floor: a plain TCP relay",
    start: |ground, setting| {
        let upstream = setting.upstream.context("a relay needs an upstream")?;
        let (mut command, address) = command(ground)?;
        command.arg("relay").arg(upstream.to_string());
        let core = ground.server_core.to_string();
        Ok(Server::start_on(ground, &core, "relay", &command, address)?.plain(Plain::Http))
    },
};

/// An upstream that reads bodies to their end, on the load generator's core.
pub(in crate::bench) fn start_sink(ground: &Ground) -> Result<Server> {
    let (mut command, address) = command(ground)?;
    command.arg("sink");
    Server::start_on(ground, &ground.load_core.to_string(), "sink", &command, address)
}

fn handshake(
    ground: &Ground,
    setting: &Setting<'_>,
    group: Option<&str>,
    sign: bool,
    plain: Plain,
) -> Result<Server> {
    let (mut command, address) = command(ground)?;
    command.arg("handshake").args(group.map(|group| format!("--group={group}")));
    if sign {
        let certificate = setting.certificates.first().context("there is no certificate")?;
        command.arg("--key").arg(&certificate.key);
    }
    if plain == Plain::Silent {
        command.arg("--silent");
    }
    let core = ground.server_core.to_string();
    Ok(Server::start_on(ground, &core, "floor", &command, address)?.plain(plain))
}

fn command(ground: &Ground) -> Result<(Command, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(&ground.plain);
    command.args(["--address", &address.to_string()]);
    Ok((command, address))
}
