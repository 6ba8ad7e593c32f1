//! Debian's HAProxy.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use super::{Server, Setting, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;
use crate::bench::population::{Pair, Population};
use crate::bench::scale::Contender;

pub(in crate::bench) const HAPROXY: Subject = Subject { name: "haproxy", title: "HAProxy (Debian)", start };

/// A folder of certificates; a changed one is handed over by the runtime API, which spares it a reload of all.
pub(in crate::bench) const HAPROXY_SCALE: Contender = Contender {
    name: "haproxy",
    title: "HAProxy (Debian)",
    start: |ground, population| run(ground, &population.combined(), None),
    replace,
};

fn start(ground: &Ground, setting: &Setting<'_>) -> Result<Server> {
    let folder = ground.folder.join("haproxy/certificates");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for certificate in setting.certificates {
        let file = folder.join(format!("{}.pem", certificate.name));
        fs::write(file, [fs::read(&certificate.chain)?, fs::read(&certificate.key)?].concat())?;
    }
    run(ground, &folder, setting.upstream)
}

fn run(ground: &Ground, certificates: &Path, upstream: Option<SocketAddr>) -> Result<Server> {
    let program = package::ensure("haproxy", "haproxy")?;
    let folder = ground.folder.join("haproxy");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let answer = match upstream {
        Some(upstream) => format!(
            "    default_backend origin
backend origin
    http-reuse always
    server origin {upstream}
"
        ),
        None => "    http-request return status 204\n".to_owned(),
    };
    // A client that closes without a request is not told off: that would be work no other server does.
    let config = format!(
        "global
    nbthread 1
    no strict-limits
    maxconn 11000
    ssl-load-extra-files none
    stats socket {socket} level admin
defaults
    mode http
    option http-ignore-probes
    timeout client 600s
    timeout http-keep-alive 600s
    timeout connect 5s
    timeout server 30s
frontend bench
    bind {address} ssl crt {certificates} alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 4096
{answer}",
        socket = socket(ground).display(),
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
