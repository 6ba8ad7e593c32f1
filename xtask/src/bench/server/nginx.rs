//! Debian's nginx.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use super::{Server, Subject, free_address, handfast};
use crate::bench::ground::Ground;
use crate::bench::package;
use crate::bench::population::Population;
use crate::bench::scale::Contender;

pub(in crate::bench) const NGINX: Subject = Subject { name: "nginx", title: "nginx (Debian)", start };

/// The form that scales and needs no reload: the name is a variable, and each handshake reads and parses its files.
pub(in crate::bench) const NGINX_SCALE: Contender = Contender {
    name: "nginx",
    title: "nginx (Debian), variable",
    start: start_with_variable,
    replace: handfast::replace,
};

/// A server block for each name, as an operator would write them. HTTP is answered by nginx itself: no handshake
/// figure gets that far.
fn start(ground: &Ground) -> Result<Server> {
    let address = free_address()?;
    let mut servers = String::new();
    for (number, certificate) in ground.certificates.iter().enumerate() {
        // Options of a listening socket are given once.
        let backlog = if number == 0 { " backlog=4096" } else { "" };
        let (name, chain, key) = (&certificate.name, certificate.chain.display(), certificate.key.display());
        write!(
            servers,
            "    server {{
        listen {address} ssl{backlog};
        server_name {name};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        return 204;
    }}
"
        )?;
    }
    run(ground, address, &servers)
}

fn start_with_variable(ground: &Ground, population: &Population) -> Result<Server> {
    let address = free_address()?;
    let folder = population.separate();
    let folder = folder.display();
    let server = format!(
        "    server {{
        listen {address} ssl backlog=4096;
        ssl_certificate {folder}/$ssl_server_name.crt;
        ssl_certificate_key {folder}/$ssl_server_name.key;
        return 204;
    }}
"
    );
    run(ground, address, &server)
}

fn run(ground: &Ground, address: SocketAddr, servers: &str) -> Result<Server> {
    let program = package::ensure("nginx", "nginx-light")?;
    let folder = ground.folder.join("nginx");
    fs::create_dir_all(&folder)?;
    // Root: keys that are read in each handshake are read by the worker.
    let config = format!(
        "daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    ssl_session_cache off;
{servers}}}
"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path);
    Server::start(ground, "nginx", &command, address)
}
