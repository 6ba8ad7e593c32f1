//! Debian's caddy.

use std::fs;
use std::process::Command;

use anyhow::Result;

use super::{Server, Setting, Subject, free_address};
use crate::bench::ground::Ground;
use crate::bench::package;

/// On one core, so Go's runtime takes one processor too. It sends one ticket, where the others send two.
pub(in crate::bench) const CADDY: Subject = Subject { name: "caddy", title: "caddy (Debian)", start };

fn start(ground: &Ground, setting: &Setting<'_>) -> Result<Server> {
    let program = package::ensure("caddy", "caddy")?;
    let folder = ground.folder.join("caddy");
    fs::create_dir_all(&folder)?;
    let address = free_address()?;
    let answer = match setting.upstream {
        // Compression is off unless asked for; idle connections to the upstream as nginx keeps them.
        Some(upstream) => format!(
            "reverse_proxy {upstream} {{
        transport http {{
            keepalive_idle_conns_per_host 64
        }}
    }}"
        ),
        None => "respond 204".to_owned(),
    };
    // No administration, no certificates of its own making, no HTTP/3; connections are kept as long as by the others.
    let mut config = "{
    admin off
    auto_https off
    log {
        output discard
    }
    servers {
        protocols h1 h2
        timeouts {
            idle 10m
        }
    }
}
"
    .to_owned();
    for certificate in setting.certificates {
        let (name, chain, key) = (&certificate.name, certificate.chain.display(), certificate.key.display());
        config.push_str(&format!(
            "https://{name}:{port} {{
    bind {ip}
    tls {chain} {key}
    {answer}
}}
",
            port = address.port(),
            ip = address.ip(),
        ));
    }
    let path = folder.join("Caddyfile");
    fs::write(&path, config)?;
    let mut command = Command::new("env");
    // Where it would keep what it need not keep.
    command.arg(format!("HOME={}", folder.display())).arg(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&path);
    Server::start(ground, "caddy", &command, address)
}
