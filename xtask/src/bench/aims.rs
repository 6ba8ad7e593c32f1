//! What the gateway is to cost beside others, and whether it does.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::report::{Document, Line};

/// The most that the gateway's figure may be of each of these servers' figures.
struct Aim {
    what: &'static str,
    file: &'static str,
    figure: &'static str,
    servers: &'static [&'static str],
    most: f64,
}

const fn aim(
    what: &'static str,
    file: &'static str,
    figure: &'static str,
    servers: &'static [&'static str],
    most: f64,
) -> Aim {
    Aim { what, file, figure, servers, most }
}

const NGINX_HAPROXY: &[&str] = &["nginx", "haproxy"];

const AIMS: &[Aim] = {
    const FULL: &str = "full TLS 1.3 handshake, embedded policy";
    const HANDSHAKES: &str = "handshakes.json";
    const REQUESTS: &str = "requests.json";
    const BODIES: &str = "bodies.json";
    const REST: &[&str] = &["handfast-at-rest"];
    &[
        aim(FULL, HANDSHAKES, "tls13-full-ecdsa", &["nginx", "haproxy", "hitch", "caddy", "nginx-lua"], 0.50),
        aim(FULL, HANDSHAKES, "tls13-full-ecdsa", &["handfast-no-policy"], 1.06),
        aim(FULL, HANDSHAKES, "tls13-full-ecdsa", &["floor"], 1.30),
        aim("the same and a request", HANDSHAKES, "connection-one-request", NGINX_HAPROXY, 0.50),
        aim("resumed handshake", HANDSHAKES, "tls13-resumed-ecdsa", NGINX_HAPROXY, 0.50),
        aim("full handshake, RSA-2048", HANDSHAKES, "tls13-full-rsa", NGINX_HAPROXY, 0.80),
        aim("HTTP/1.1 request", REQUESTS, "h1-keepalive", NGINX_HAPROXY, 0.95),
        aim("HTTP/2 request", REQUESTS, "h2-keepalive", &["nginx"], 0.75),
        aim("HTTP/2 request", REQUESTS, "h2-keepalive", &["haproxy"], 1.05),
        aim("1 MiB responses", BODIES, "body-1mib", NGINX_HAPROXY, 0.60),
        aim("1 MiB responses", BODIES, "body-1mib", &["relay"], 1.15),
        aim("1 MiB uploads", BODIES, "body-1mib-upload", NGINX_HAPROXY, 0.60),
        aim("1 MiB uploads", BODIES, "body-1mib-upload", &["relay"], 1.15),
        aim("idle HTTP/1.1 connection", "idle.json", "idle-memory", NGINX_HAPROXY, 1.00),
        aim("idle HTTP/2 connection", "idle.json", "idle-memory-h2", NGINX_HAPROXY, 1.00),
        aim("p99 while certificates are replaced", "latency.json", "latency-reloads", REST, 1.50),
        aim("p99 while policies are replaced", "latency.json", "latency-swaps", REST, 1.50),
        aim("the same, and no handshake waits", "latency.json", "latency-swaps-unawaited", REST, 1.50),
        aim("p99 beside a policy that loops", "latency.json", "latency-loop", REST, 1.50),
        aim("p99 beside handshakes that hang", "latency.json", "latency-hung", REST, 1.50),
    ]
};

/// Each aim with what was measured, in Markdown.
pub(super) fn table<'a>(mut document: impl FnMut(&str) -> Result<&'a Document>) -> Result<String> {
    let mut table = String::from("| what | beside | at most | measured |\n|---|---|---:|---|\n");
    for Aim { what, file, figure, servers, most } in AIMS {
        let line: &Line = document(file)?.figure(figure).with_context(|| (*file).to_owned())?;
        let ratios = servers.iter().map(|server| {
            let (title, ratio) = line.compared(server)?;
            // As it is shown, so that nothing is met or missed by what nobody sees.
            let ratio = (ratio * 100.0).round() / 100.0;
            Ok((title, format!("{ratio:.2} ×{}", if ratio > *most { ", **missed**" } else { "" })))
        });
        let (titles, measured): (Vec<_>, Vec<_>) = ratios.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        writeln!(table, "| {what} | {} | {most:.2} × | {} |", titles.join("; "), measured.join("; "))?;
    }
    Ok(table)
}
