//! `openssl s_client`: another implementation's opinion of a handshake.

use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::gateway::{Finished, finish};
use crate::pki::Authority;
use crate::tool::require_tool;

/// Connects, shakes hands and leaves. The exit code is 0 only if the chain leads to `authority`.
#[track_caller]
pub fn s_client(
    authority: &Authority,
    address: SocketAddr,
    server_name: &str,
    arguments: &[&str],
) -> Finished {
    let mut command = command(authority, address, server_name, arguments);
    command.stdin(Stdio::null());
    finish(command)
}

/// The same, but sends `input` and stays until the gateway ends the connection.
#[track_caller]
pub fn s_client_sending(
    authority: &Authority,
    address: SocketAddr,
    server_name: &str,
    arguments: &[&str],
    input: &str,
) -> Finished {
    let mut file = tempfile::tempfile().expect("a scratch file");
    file.write_all(input.as_bytes()).and_then(|()| file.rewind()).expect("a file is written");
    let mut command = command(authority, address, server_name, arguments);
    command.arg("-ign_eof").stdin(file);
    finish(command)
}

fn command(authority: &Authority, address: SocketAddr, server_name: &str, arguments: &[&str]) -> Command {
    require_tool("openssl", "openssl");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string(), "-servername", server_name]);
    command.arg("-CAfile").arg(authority.root_path());
    command.args(["-verify_return_error", "-verify_hostname", server_name]).args(arguments);
    command
}
