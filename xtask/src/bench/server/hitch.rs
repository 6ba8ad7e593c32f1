//! Debian's hitch: it ends TLS and nothing else, so it is measured where no request is made.

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use anyhow::Result;

use super::{Server, Setting, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;

pub(in crate::bench) const HITCH: Subject = Subject { name: "hitch", title: "hitch (Debian)", start };

fn start(ground: &Ground, setting: &Setting<'_>) -> Result<Server> {
    let program = package::ensure("hitch", "hitch")?;
    let folder = ground.folder.join("hitch");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    // hitch connects to its backend for every connection. This one accepts, and is not paid by hitch.
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let backend_address = backend.local_addr()?;
    thread::spawn(move || {
        for stream in backend.incoming() {
            drop(stream);
        }
    });
    let mut config = format!(
        "frontend = {{ host = \"{}\" port = \"{}\" }}
backend = \"[{}]:{}\"
workers = 1
backlog = 4096
daemon = off
quiet = on
syslog = off
tls-protos = TLSv1.2 TLSv1.3
",
        address.ip(),
        address.port(),
        backend_address.ip(),
        backend_address.port(),
    );
    for certificate in setting.certificates {
        let file = folder.join(format!("{}.pem", certificate.name));
        fs::write(&file, [fs::read(&certificate.key)?, fs::read(&certificate.chain)?].concat())?;
        writeln!(config, "pem-file = \"{}\"", file.display())?;
    }
    let path = folder.join("hitch.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg(format!("--config={}", path.display())).arg("--user=root");
    Server::start(ground, "hitch", &command, address)
}
