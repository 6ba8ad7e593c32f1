//! What most tests begin with: an authority, a folder with a certificate for each name, and an upstream.

use crate::config::Config;
use crate::gateway::Gateway;
use crate::pki::{Authority, CertificateFolder, Pair};
use crate::upstream::Upstream;

pub struct Scene {
    pub authority: Authority,
    pub certificates: CertificateFolder,
    /// One for each name, in the order given; each lies in the folder under its first name.
    pub pairs: Vec<Pair>,
    pub upstream: Upstream,
}

impl Scene {
    /// A P-256 certificate for each of `names`, and an upstream that speaks HTTP/1.1.
    pub fn new(names: &[&str]) -> Self {
        let authority = Authority::new("Handfast test authority");
        let certificates = CertificateFolder::new();
        let pairs: Vec<Pair> = names.iter().map(|name| authority.server(&[name])).collect();
        for (name, pair) in names.iter().zip(&pairs) {
            certificates.put(name, pair);
        }
        Self { authority, certificates, pairs, upstream: Upstream::http1() }
    }

    /// The listener `main`, these certificates, and the upstream for every host.
    pub fn config(&self) -> Config {
        Config::serving(&self.certificates, self.upstream.address())
    }

    /// The same, with further keys of the certificate source.
    pub fn config_with_source(&self, keys: &str) -> Config {
        Config::new()
            .certificates("files", self.certificates.path())
            .with_last(keys)
            .listener("main", "")
            .upstream("echo", self.upstream.address(), "")
            .route("*", "/", "echo")
    }

    /// A gateway on [`Scene::config`].
    #[track_caller]
    pub fn start(&self) -> Gateway {
        Gateway::start(&self.config())
    }
}
