//! Self-signed certificates of one day, by `openssl`. The load generator looks for the name in them and no further.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::figure::Keys;

#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// One for each of so many names.
pub(super) fn generate(folder: &Path, keys: Keys, names: usize) -> Result<Vec<Named>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = fs::canonicalize(folder)?;
    (1..=names).map(|number| one(&folder, keys, format!("site-{number}.bench.example"))).collect()
}

fn one(folder: &Path, keys: Keys, name: String) -> Result<Named> {
    let chain = folder.join(format!("{name}.crt"));
    let key = folder.join(format!("{name}.key"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey"])
        .args(match keys {
            Keys::EcdsaP256 => &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"][..],
            Keys::Rsa2048 => &["rsa:2048"],
        })
        .args(["-sha256", "-days", "1", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}")])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&chain)
        .output()
        .context("cannot run openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(Named { name, chain, key })
}
