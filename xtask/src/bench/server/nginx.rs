//! Debian's nginx, with its own choice of a certificate and with a hook in Lua.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use super::{Server, Setting, Subject, free_address, handfast};
use crate::bench::ground::Ground;
use crate::bench::package;
use crate::bench::population::Population;
use crate::bench::scale::Contender;

pub(in crate::bench) const NGINX: Subject =
    Subject { name: "nginx", title: "nginx (Debian)", start: |ground, setting| start(ground, setting, "") };

/// `ssl_certificate_by_lua`: the nearest thing to a policy that anyone has. The choice is from certificates that were
/// parsed before: no file is read and no key parsed in a handshake.
pub(in crate::bench) const NGINX_LUA: Subject = Subject {
    name: "nginx-lua",
    title: "nginx (Debian), certificate chosen in Lua",
    start: |ground, setting| {
        package::ensure("nginx", "nginx-light")?;
        package::ensure_file("/usr/share/lua/5.1/ngx/ssl.lua", "libnginx-mod-http-lua")?;
        start(ground, setting, &lua(setting))
    },
};

/// The form that scales and needs no reload: the name is a variable, and each handshake reads and parses its files.
pub(in crate::bench) const NGINX_SCALE: Contender = Contender {
    name: "nginx",
    title: "nginx (Debian), variable",
    start: start_with_variable,
    replace: handfast::replace,
};

/// A server block for each name, as an operator would write them.
fn start(ground: &Ground, setting: &Setting<'_>, hook: &str) -> Result<Server> {
    let address = free_address()?;
    let mut servers = String::new();
    let answer = match setting.upstream {
        Some(_) => "location / { proxy_pass http://origin; }",
        None => "return 204;",
    };
    if let Some(upstream) = setting.upstream {
        writeln!(servers, "    upstream origin {{ server {upstream}; keepalive 512; }}")?;
    }
    for (number, certificate) in setting.certificates.iter().enumerate() {
        // Options of a listening socket are given once.
        let options = if number == 0 { " http2 backlog=4096" } else { " http2" };
        let (name, chain, key) = (&certificate.name, certificate.chain.display(), certificate.key.display());
        let hook = if hook.is_empty() { "" } else { "ssl_certificate_by_lua_block { choose() }" };
        write!(
            servers,
            "    server {{
        listen {address} ssl{options};
        server_name {name};
        ssl_certificate {chain};
        ssl_certificate_key {key};
        {hook}
        {answer}
    }}
"
        )?;
    }
    run(ground, address, &servers, hook)
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
    run(ground, address, &server, "")
}

/// Parses all pairs once, and chooses by the server name.
fn lua(setting: &Setting<'_>) -> String {
    let mut text = String::from(
        "    init_by_lua_block {
        local ssl = require 'ngx.ssl'
        local function read(path) local file = io.open(path) local text = file:read('*a') file:close() return text end
        local pairs_by_name = {}
        local function add(name, chain, key)
            pairs_by_name[name] =
                { chain = assert(ssl.parse_pem_cert(read(chain))), key = assert(ssl.parse_pem_priv_key(read(key))) }
        end
        function choose()
            local pair = pairs_by_name[ssl.server_name()]
            if not pair then return ngx.exit(ngx.ERROR) end
            assert(ssl.clear_certs())
            assert(ssl.set_cert(pair.chain))
            assert(ssl.set_priv_key(pair.key))
        end
",
    );
    for certificate in setting.certificates {
        let (name, chain, key) = (&certificate.name, certificate.chain.display(), certificate.key.display());
        text.push_str(&format!("        add('{name}', '{chain}', '{key}')\n"));
    }
    text.push_str("    }\n");
    text
}

fn run(ground: &Ground, address: SocketAddr, servers: &str, hook: &str) -> Result<Server> {
    let program = package::ensure("nginx", "nginx-light")?;
    let folder = ground.folder.join("nginx");
    fs::create_dir_all(&folder)?;
    let modules = if hook.is_empty() {
        ""
    } else {
        "load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
"
    };
    // Root: keys that are read in each handshake are read by the worker. Connections are kept for as many requests as
    // come. A body that its receiver is slow to take waits in memory, not in a temporary file; one of any size is passed on
    // as it comes, as the others do it.
    let config = format!(
        "{modules}daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    ssl_session_cache off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_max_temp_file_size 0;
    proxy_request_buffering off;
    client_max_body_size 0;
{hook}{servers}}}
"
    );
    let path = folder.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path);
    Server::start(ground, "nginx", &command, address)
}
