//! The configuration file of a test, built from the tables it needs.
//!
//! A test names what matters to it; the rest is a listener on a free loopback port, an admin listener, JSON on stderr
//! and two workers (so that what must hold across workers is exercised everywhere). Keys that only one test needs are
//! given as TOML text.

use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::pki::{Authority, CertificateFolder};

/// The text of a configuration file.
#[derive(Debug, Clone)]
pub struct Config {
    gateway: String,
    tables: String,
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    pub fn new() -> Self {
        Self { gateway: "workers = 2\nstate-directory = \"state\"\n".to_owned(), tables: String::new() }
            .with("[admin]\naddress = \"127.0.0.1:0\"")
            .with("[log]\nformat = \"json\"\nfilter = \"info\"")
    }

    /// What most tests start from: the listener `main`, a source of certificates, and one upstream for every host.
    pub fn serving(certificates: &CertificateFolder, upstream: SocketAddr) -> Self {
        Self::new()
            .certificates("files", certificates.path())
            .listener("main", "")
            .upstream("echo", upstream, "")
            .route("*", "/", "echo")
    }

    /// Keys of the table `[gateway]`.
    pub fn gateway(mut self, keys: &str) -> Self {
        let _ = writeln!(self.gateway, "{keys}");
        self
    }

    /// One that outlives the gateway.
    pub fn state_directory(mut self, path: &Path) -> Self {
        let state = format!("state-directory = \"{}\"", path.display());
        self.gateway = self.gateway.replacen("state-directory = \"state\"", &state, 1);
        self
    }

    /// A listener on a free port of the loopback interface. `keys` are further keys of its table.
    pub fn listener(self, name: &str, keys: &str) -> Self {
        self.listener_at(name, "127.0.0.1:0", keys)
    }

    pub fn listener_at(self, name: &str, address: impl Display, keys: &str) -> Self {
        self.with(&format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n{keys}"))
    }

    /// Replaces the keys of the listener `main` that [`Config::serving`] made.
    pub fn main_listener(mut self, keys: &str) -> Self {
        let plain = "[[listener]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n";
        assert!(self.tables.contains(plain), "no listener \"main\" to give keys to");
        self.tables = self.tables.replacen(plain, &format!("{plain}{keys}\n"), 1);
        self
    }

    /// `text` or `json`, which every other test reads.
    pub fn log_format(mut self, format: &str) -> Self {
        self.tables = self.tables.replacen("format = \"json\"", &format!("format = \"{format}\""), 1);
        self
    }

    /// What is logged, in place of everything from `info` on.
    pub fn log_filter(mut self, filter: &str) -> Self {
        self.tables = self.tables.replacen("filter = \"info\"", &format!("filter = \"{filter}\""), 1);
        self
    }

    /// With patience: a machine that compiles something else meanwhile may need longer for a reload than a handshake
    /// waits by default, and is then right to answer with the last good pair.
    pub fn certificates(self, name: &str, path: &Path) -> Self {
        let path = path.display();
        self.with(&format!(
            "[[certificate-source]]\nname = \"{name}\"\nkind = \"directory\"\npath = \"{path}\"\nreload-wait = \"60s\""
        ))
    }

    pub fn policy(self, name: &str, plugin: &Path, keys: &str) -> Self {
        self.with(&format!("[[policy]]\nname = \"{name}\"\nplugin = \"{}\"\n{keys}", plugin.display()))
    }

    pub fn upstream(self, name: &str, endpoint: SocketAddr, keys: &str) -> Self {
        self.with(&format!("[[upstream]]\nname = \"{name}\"\nendpoints = [\"{endpoint}\"]\n{keys}"))
    }

    pub fn route(self, host: &str, path: &str, upstream: &str) -> Self {
        self.with(&format!("[[route]]\nhosts = [\"{host}\"]\npath = \"{path}\"\nupstream = \"{upstream}\""))
    }

    /// Any further tables, as TOML text.
    pub fn with(mut self, tables: &str) -> Self {
        let _ = writeln!(self.tables, "{tables}\n");
        self
    }

    /// Further keys of the table that was added last.
    pub fn with_last(mut self, keys: &str) -> Self {
        self.tables.truncate(self.tables.trim_end().len());
        let _ = writeln!(self.tables, "\n{keys}\n");
        self
    }

    pub fn text(&self) -> String {
        format!("[gateway]\n{}\n{}", self.gateway, self.tables)
    }
}

/// A listener's key for client certificates that lead to `authority`. `mode` is `request` or `require`.
pub fn client_certificates(mode: &str, authority: &Authority) -> String {
    let anchors = authority.root_path();
    format!("client-certificates = {{ mode = \"{mode}\", trust-anchors = \"{}\" }}", anchors.display())
}
