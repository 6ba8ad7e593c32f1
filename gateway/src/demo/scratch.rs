//! The demo's folder: what is in it, and its end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pki::{Authority, KeyType, Pair};
use super::{DemoError, Ports};
use crate::reload::EMBEDDED_PLUGIN;

/// A policy that lets nobody in, as WebAssembly text: what the demo swaps in.
const CLOSED: &str = include_str!("closed.wat");

/// The folder. Removed when dropped, unless the user chose its place.
pub(super) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub(super) fn create(chosen: Option<PathBuf>) -> Result<Self, DemoError> {
        let keep = chosen.is_some();
        let path = chosen
            .unwrap_or_else(|| std::env::temp_dir().join(format!("handfast-demo-{}", std::process::id())));
        let failed = |source| DemoError::Folder { path: path.clone(), source };
        // Only this user may look inside: there are private keys.
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_dir(&path).map_err(failed)?.next().is_some() {
                    return Err(DemoError::NotEmpty { path });
                }
            }
            created => created.map_err(failed)?,
        }
        let path = fs::canonicalize(&path).map_err(failed)?;
        Ok(Self { path, keep })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_kept(&self) -> bool {
        self.keep
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path.join("handfast.toml")
    }

    /// Writes certificates and plugins.
    pub(super) fn fill(&self) -> Result<(), DemoError> {
        let authority = Authority::new("Handfast demo CA")?;
        self.write("ca.pem", authority.pem().as_bytes())?;
        for name in ["shop.localhost", "blog.localhost"] {
            let pair = authority.issue(&[name], name, KeyType::EcdsaP256)?;
            self.write_pair(&format!("certificates/{name}"), &pair)?;
            let pair = authority.issue(&[name], name, KeyType::Rsa2048)?;
            self.write_pair(&format!("certificates/{name}-rsa"), &pair)?;
        }
        let pair = authority.issue(&["*.apps.localhost"], "any app", KeyType::EcdsaP256)?;
        self.write_pair("certificates/apps.localhost", &pair)?;
        let pair = authority.issue(&["shop.localhost"], "shop.localhost, renewed", KeyType::EcdsaP256)?;
        self.write_pair("next/shop.localhost", &pair)?;

        self.write("plugins/open.wasm", EMBEDDED_PLUGIN)?;
        self.write("plugins/closed.wat", CLOSED.as_bytes())?;
        self.write("plugins/live", EMBEDDED_PLUGIN)?;
        self.folder("incoming")
    }

    /// Writes the configuration, over one that was there.
    pub(super) fn configure(&self, ports: Ports, upstream: SocketAddr) -> Result<(), DemoError> {
        let path = self.config();
        fs::write(&path, configuration(ports, upstream)).map_err(|source| DemoError::Folder { path, source })
    }

    fn write_pair(&self, stem: &str, pair: &Pair) -> Result<(), DemoError> {
        self.write(&format!("{stem}.key"), pair.key_pem.as_bytes())?;
        self.write(&format!("{stem}.crt"), pair.chain_pem.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DemoError> {
        let path = self.path.join(name);
        if let Some(folder) = Path::new(name).parent().and_then(Path::to_str) {
            self.folder(folder)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|source| DemoError::Folder { path, source })
    }

    fn folder(&self, name: &str) -> Result<(), DemoError> {
        let path = self.path.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| DemoError::Folder { path, source })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed stays in the system's temporary folder, which is cleaned anyway.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn configuration(Ports { listener, admin }: Ports, upstream: SocketAddr) -> String {
    format!(
        r#"# Written by `handfast demo`. Change it and send SIGHUP to see a reload.

[gateway]
state-directory = "state"

[[listener]]
name = "https"
address = "127.0.0.1:{listener}"
policies = ["live"]

[[certificate-source]]
kind = "directory"
path = "certificates"

# Asked on every handshake. The file is compared with what runs on each one: replace it and see.
[[policy]]
name = "live"
plugin = "plugins/live"

[[upstream]]
name = "mirror"
endpoints = ["{upstream}"]

[[route]]
hosts = ["*"]
upstream = "mirror"

[admin]
address = "127.0.0.1:{admin}"
"#
    )
}
