//! Debian's HAProxy.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::{Server, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;
use crate::bench::population::{Pair, Population};
use crate::bench::scale::Contender;

/// A folder of certificates; a changed one is handed over by the runtime API, which spares it a reload of all.
pub(in crate::bench) const HAPROXY_SCALE: Contender =
    Contender { name: "haproxy", title: "HAProxy (Debian)", start, replace };

fn start(ground: &Ground, population: &Population) -> Result<Server> {
    let program = package::ensure("haproxy", "haproxy")?;
    let folder = ground.folder.join("haproxy");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let (certificates, socket) = (population.combined(), socket(ground));
    let config = format!(
        "global
    nbthread 1
    maxconn 8192
    ssl-load-extra-files none
    stats socket {socket} level admin
defaults
    mode http
    timeout client 30s
    timeout connect 5s
    timeout server 30s
frontend bench
    bind {address} ssl crt {certificates} ssl-min-ver TLSv1.2 backlog 4096
    http-request return status 204
",
        socket = socket.display(),
        certificates = certificates.display(),
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&path);
    Server::start(ground, "haproxy", &command, address)
}

fn replace(ground: &Ground, population: &Population, name: &str, pair: &Pair) -> Result<SystemTime> {
    let file = population.combined().join(format!("{name}.pem"));
    let pem = pair.combined();
    fs::write(&file, &pem)?;
    let complete = SystemTime::now();
    let file = file.display();
    said(ground, &format!("set ssl cert {file} <<\n{}\n\n", pem.trim_end()))?;
    let answer = said(ground, &format!("commit ssl cert {file}\n"))?;
    ensure!(answer.contains("Success"), "HAProxy does not take the certificate: {}", answer.trim());
    Ok(complete)
}

/// One command of the runtime API.
fn said(ground: &Ground, command: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket(ground)).context("HAProxy's socket")?;
    stream.write_all(command.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn socket(ground: &Ground) -> PathBuf {
    ground.folder.join("haproxy/admin.sock")
}
