//! curl: the client that verifies chains and names, and speaks HTTP/1.1 and HTTP/2 as the world does.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::client::http1::{Response, parse_head};
use crate::gateway::{Finished, finish};
use crate::pki::{Authority, Pair};
use crate::tool::require_tool;

/// A command line of curl that trusts one authority and connects to one address, whatever the URL says.
pub struct Curl {
    command: Command,
    folder: TempDir,
}

/// What curl got.
#[derive(Debug)]
pub struct Transfer {
    /// curl's own exit code: 0 only if the transfer was complete.
    pub code: Option<i32>,
    /// The last response; `None` if there was none.
    pub response: Option<Response>,
    /// `1.1` or `2`.
    pub version: String,
    pub stderr: String,
}

impl Curl {
    #[track_caller]
    pub fn new(authority: &Authority, address: SocketAddr) -> Self {
        require_tool("curl", "curl");
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]);
        command.arg("--cacert").arg(authority.root_path());
        command.arg("--connect-to").arg(format!("::{address}"));
        Self { command, folder: TempDir::new().expect("a scratch folder") }
    }

    pub fn http1(self) -> Self {
        self.arguments(&["--http1.1"])
    }

    pub fn http2(self) -> Self {
        self.arguments(&["--http2"])
    }

    /// Presents a client certificate.
    pub fn identity(mut self, pair: &Pair) -> Self {
        let path = self.folder.path().join("client.pem");
        fs::write(&path, format!("{}{}", pair.certificates_pem, pair.key_pem)).expect("a file is written");
        self.command.arg("--cert").arg(path);
        self
    }

    /// Sends these bytes as the body.
    pub fn body(mut self, bytes: &[u8]) -> Self {
        let path = self.folder.path().join("request-body");
        fs::write(&path, bytes).expect("a file is written");
        self.command.arg("--data-binary").arg(format!("@{}", path.display()));
        self.arguments(&["--header", "content-type: application/octet-stream", "--header", "expect:"])
    }

    pub fn header(self, field: &str) -> Self {
        self.arguments(&["--header", field])
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs it, whatever comes of it.
    #[track_caller]
    pub fn transfer(mut self, url: &str) -> Transfer {
        let (head, body) = (self.folder.path().join("head"), self.folder.path().join("body"));
        self.command.arg("--dump-header").arg(&head).arg("--output").arg(&body);
        self.command.args(["--write-out", "%{http_version}", url]);
        let Finished { code, stdout, stderr } = finish(self.command);
        let head = fs::read_to_string(head).unwrap_or_default();
        // The heads of 1xx responses come before that of the last one, trailers behind it.
        let last = head.split_inclusive("\r\n\r\n").filter(|block| block.starts_with("HTTP/")).last();
        let response = last.map(|block| {
            let trailers = head.rsplit_once(block).map(|(_, trailers)| trailers).unwrap_or_default();
            let all = format!("{}{trailers}", block.trim_end_matches("\r\n").to_owned() + "\r\n");
            let (status, headers) = parse_head(all.as_bytes()).expect("curl writes heads well");
            Response { status, headers, body: fs::read(&body).unwrap_or_default() }
        });
        Transfer { code, response, version: stdout, stderr }
    }

    /// Runs it and insists on a complete response.
    #[track_caller]
    pub fn get(self, url: &str) -> Response {
        let transfer = self.transfer(url);
        assert_eq!(transfer.code, Some(0), "curl {url}: {}", transfer.stderr);
        transfer.response.expect("curl succeeded with a response")
    }
}
