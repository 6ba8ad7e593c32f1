//! What the demo prints: commands to paste, each on a line of its own, each of which exits 0.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use super::scratch::Scratch;
use crate::server::Addresses;

/// Prints the commands to standard output, two spaces before each.
pub(super) fn print(scratch: &Scratch, addresses: &Addresses) {
    let port = addresses.listeners.values().next().map_or(0, SocketAddr::port);
    let admin_port = addresses.admin.as_ref().map_or(0, SocketAddr::port);
    // The gateway runs on even if nobody reads this.
    let _ = io::stdout().write_all(text(scratch.path(), scratch.is_kept(), port, admin_port).as_bytes());
}

fn text(folder: &Path, kept: bool, port: u16, admin_port: u16) -> String {
    let end = if kept { "kept" } else { "removed when it ends" };
    let at = quoted(folder);
    let curl =
        format!("curl --silent --show-error --cacert {at}/ca.pem --resolve shop.localhost:{port}:127.0.0.1");
    let openssl = format!("openssl s_client -connect 127.0.0.1:{port} -CAfile {at}/ca.pem");
    let shown = "</dev/null 2>/dev/null | grep -E 'subject|Peer signature type|Verification'";
    format!(
        "\
Handfast demo in {folder} ({end}). Ctrl-C ends it.

A page through the gateway, over HTTP/2 and over HTTP/1.1:
  {curl} --write-out 'HTTP/%{{http_version}}\\n' https://shop.localhost:{port}/
  {curl} --write-out 'HTTP/%{{http_version}}\\n' --http1.1 https://shop.localhost:{port}/

The certificate that the policy chose, for a modern client and for one that only verifies RSA:
  {openssl} -servername shop.localhost {shown}
  {openssl} -servername shop.localhost -sigalgs RSA-PSS+SHA256 {shown}

A name that the gateway has no certificate for gets an alert:
  {openssl} -servername nobody.localhost </dev/null 2>&1 | grep 'unrecognized name'

Replace a certificate while it runs; the next handshake gets the new one:
  cp {at}/next/shop.localhost.* {at}/incoming/ && mv {at}/incoming/* {at}/certificates/
  {openssl} -servername shop.localhost {shown}

Replace the policy while it runs, by one that lets nobody in; and back:
  cp {at}/plugins/closed.wat {at}/incoming/live && mv {at}/incoming/live {at}/plugins/live
  {openssl} -servername shop.localhost </dev/null 2>&1 | grep 'access denied'
  cp {at}/plugins/open.wasm {at}/incoming/live && mv {at}/incoming/live {at}/plugins/live
  {curl} --output /dev/null --write-out '%{{http_code}}\\n' https://shop.localhost:{port}/

What it counted:
  curl --silent http://127.0.0.1:{admin_port}/metrics | grep handfast_handshakes_total

",
        folder = folder.display(),
    )
}

/// A path as one word of a POSIX shell.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_odd_characters_stays_one_word() {
        assert_eq!(quoted(Path::new("/tmp/handfast-demo-1")), "/tmp/handfast-demo-1");
        assert_eq!(quoted(Path::new("/tmp/it's mine")), r"'/tmp/it'\''s mine'");
    }
}
