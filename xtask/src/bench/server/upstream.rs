//! Where the servers under test send requests: nginx on the load generator's core, which pays for it.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Server, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;

/// The bodies there are, in MiB.
const BODIES: [usize; 2] = [1, 100];

/// How each ends, since the load generator looks for it.
const END: &[u8] = b"ok\n";

/// Answers `/` with `ok`, and `/1mib` and `/100mib` with bodies of that size.
pub(in crate::bench) fn start(ground: &Ground) -> Result<Server> {
    let program = package::ensure("nginx", "nginx-light")?;
    let folder = ground.folder.join("upstream");
    fs::create_dir_all(&folder)?;
    for size in BODIES {
        let filling = vec![b'.'; (size << 20) - END.len()];
        fs::write(folder.join(format!("{size}mib")), [filling, END.to_vec()].concat())?;
    }
    let address = free_address()?;
    let config = format!(
        "daemon off;
user root;
worker_processes 1;
pid upstream.pid;
error_log stderr crit;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    server {{
        listen {address} backlog=4096;
        location = / {{ return 200 \"ok\\n\"; }}
        location / {{ root {folder}; }}
    }}
}}
",
        folder = folder.display()
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path);
    Server::start_on(ground, &ground.load_core.to_string(), "upstream", &command, address)
}
