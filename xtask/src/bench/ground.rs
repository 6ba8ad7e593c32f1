//! What all measurements stand on: the programs, the cores, the certificates, a folder to work in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use handfast_policy_builder::Language;

use super::certificates::{self, Named};
use super::figure::Keys;
use super::{package, processor};
use crate::{languages, root};

/// Server names that the load asks for in turn. Several, so that no server is spared its choice.
const NAMES: usize = 8;

#[derive(Debug)]
pub(super) struct Ground {
    /// Everything below it is this run's.
    pub(super) folder: PathBuf,
    /// What later runs can use again.
    pub(super) kept: PathBuf,
    pub(super) gateway: PathBuf,
    pub(super) load: PathBuf,
    /// The floors' servers.
    pub(super) plain: PathBuf,
    pub(super) server_core: usize,
    pub(super) load_core: usize,
    /// Built once in a run, since some take their toolchain many seconds.
    policies: RefCell<BTreeMap<(&'static str, &'static str), PathBuf>>,
}

impl Ground {
    /// With the gateway that is given, or else built.
    pub(super) fn prepare(gateway: Option<PathBuf>) -> Result<Self> {
        let cores = processor::allowed_cores()?;
        let [server_core, load_core, ..] = cores[..] else {
            anyhow::bail!("the server and the load need a core each, and this process may use only one")
        };
        package::ensure("openssl", "openssl")?;
        package::ensure("taskset", "util-linux")?;

        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
        // One after the other: built together, the features that one asks for would rebuild the other's dependencies.
        let gateway = match gateway {
            Some(gateway) => gateway,
            None => {
                build("handfast")?;
                target.join("release/handfast")
            }
        };
        build("handfast-load")?;

        let folder = target.join("bench");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder,
            kept: target.join("bench-kept"),
            gateway,
            load: target.join("release/handfast-load"),
            plain: target.join("release/handfast-plain"),
            server_core,
            load_core,
            policies: RefCell::default(),
        })
    }

    /// The component of a policy in `xtask/policies`.
    pub(super) fn policy(&self, language: Language, stem: &'static str) -> Result<PathBuf> {
        let key = (language.name(), stem);
        if let Some(built) = self.policies.borrow().get(&key) {
            return Ok(built.clone());
        }
        let built = languages::build_for_bench(language, stem)?;
        self.policies.borrow_mut().insert(key, built.clone());
        Ok(built)
    }

    /// Certificates for the names that the load asks for, and the folder of their files.
    pub(super) fn certificates(&self, keys: Keys) -> Result<(PathBuf, Vec<Named>)> {
        let folder = self.folder.join(match keys {
            Keys::EcdsaP256 => "certificates",
            Keys::Rsa2048 => "certificates-rsa",
        });
        let named = certificates::generate(&folder, keys, NAMES)?;
        Ok((folder, named))
    }
}

fn build(package: &str) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", package])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "{package} does not build");
    Ok(())
}
