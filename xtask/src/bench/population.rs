//! Many pairs on disk, in the layouts that the servers read.
//!
//! Each pair is a P-256 leaf of one name and the intermediate that signed it. They are made once and kept for later
//! runs: 100,000 take half a minute. They do not expire while this project lives (rcgen's default is the year 4096), and a
//! replaced pair is as good as the one before, so nothing has to be put back.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};

/// At most this many names are asked for. Visits to a hosting platform keep to a small share of its domains too.
const ASKED: usize = 1_000;

#[derive(Debug)]
pub(super) struct Population {
    pub(super) size: usize,
    folder: PathBuf,
}

/// A new pair for a name.
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Population {
    /// Makes the pairs below `folder`, unless they are there.
    pub(super) fn prepare(folder: &Path, size: usize) -> Result<Self> {
        let population = Self { size, folder: folder.join(size.to_string()) };
        if !population.marker().exists() {
            eprintln!("bench: making {size} pairs");
            if population.folder.exists() {
                fs::remove_dir_all(&population.folder)?;
            }
            fs::create_dir_all(population.separate())?;
            fs::create_dir_all(population.combined())?;
            population.make().with_context(|| format!("cannot fill {}", population.folder.display()))?;
            fs::write(population.marker(), "")?;
        }
        Ok(population)
    }

    /// A folder of `NAME.crt` and `NAME.key`.
    pub(super) fn separate(&self) -> PathBuf {
        self.folder.join("separate")
    }

    /// A folder of `NAME.pem` with chain and key: HAProxy's.
    pub(super) fn combined(&self) -> PathBuf {
        self.folder.join("combined")
    }

    /// The names that the load asks for, spread over all pairs, one a line.
    pub(super) fn asked(&self) -> Result<PathBuf> {
        let path = self.folder.join("asked");
        let step = self.size.div_ceil(ASKED);
        let names: Vec<String> = (0..self.size).step_by(step).map(name).collect();
        fs::write(&path, names.join("\n"))?;
        Ok(path)
    }

    /// The name of the pair that is replaced: one that the load asks for.
    pub(super) fn replaced(&self) -> String {
        name(0)
    }

    pub(super) fn new_pair(&self) -> Result<Pair> {
        Authority::new()?.pair(&self.replaced())
    }

    fn make(&self) -> Result<()> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let authority = Authority::new()?;
        thread::scope(|scope| {
            let (authority, share) = (&authority, self.size.div_ceil(threads));
            let workers: Vec<_> = (0..threads)
                .map(|worker| {
                    let end = self.size.min((worker + 1) * share);
                    scope.spawn(move || {
                        (worker * share..end).try_for_each(|number| self.add(authority, number))
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(made) => made,
                Err(_) => anyhow::bail!("a thread that makes pairs ended early"),
            })
        })
    }

    fn add(&self, authority: &Authority, number: usize) -> Result<()> {
        let name = name(number);
        let pair = authority.pair(&name)?;
        pair.write_separate(&self.separate().join(&name))?;
        private(&self.combined().join(format!("{name}.pem")), &pair.combined())
    }

    /// Written last.
    fn marker(&self) -> PathBuf {
        self.folder.join("complete")
    }
}

impl Pair {
    pub(super) fn combined(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }

    /// Two renames, the key first.
    pub(super) fn write_separate(&self, stem: &Path) -> Result<()> {
        let (chain, key) = (with(stem, ".crt"), with(stem, ".key"));
        private(&hidden(&key)?, &self.key)?;
        private(&hidden(&chain)?, &self.chain)?;
        fs::rename(hidden(&key)?, &key)?;
        Ok(fs::rename(hidden(&chain)?, &chain)?)
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Bench intermediate");
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    fn pair(&self, name: &str) -> Result<Pair> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.issuer)?;
        Ok(Pair { chain: leaf.pem() + &self.pem, key: key.serialize_pem() })
    }
}

fn name(number: usize) -> String {
    format!("site-{number}.bench.example")
}

/// A whole extension behind a stem that has dots of its own.
fn with(stem: &Path, extension: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(extension);
    PathBuf::from(name)
}

fn hidden(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("a pair's file has a name")?;
    Ok(path.with_file_name(format!(".{}", name.to_string_lossy())))
}

fn private(path: &Path, text: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
