//! Debian's nginx.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Server, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;

pub(in crate::bench) const NGINX: Subject = Subject { name: "nginx", title: "nginx (Debian)", start };

/// A server block for each name, as an operator would write them. HTTP is answered by nginx itself: no handshake
/// figure gets that far.
fn start(ground: &Ground) -> Result<Server> {
    let program = package::ensure("nginx", "nginx-light")?;
    let folder = ground.folder.join("nginx");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let mut config = String::from(
        "daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {
    worker_connections 4096;
}
http {
    access_log off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    ssl_session_cache off;
",
    );
    for (number, certificate) in ground.certificates.iter().enumerate() {
        // Options of a listening socket are given once.
        let backlog = if number == 0 { " backlog=4096" } else { "" };
        let (name, chain, key) = (&certificate.name, certificate.chain.display(), certificate.key.display());
        write!(
            config,
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
    config.push_str("}\n");
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path);
    Server::start(ground, "nginx", &command, address)
}
