//! What the strict check costs a handshake: `cargo bench -p handfast --bench strict_check`.
//!
//! The check of one pair among many that did not change, over and over, each time of another pair, so that the kernel
//! does not find the same directory entry each time. Prints the CPU time of one as JSON, which `cargo xtask bench` reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use handfast::certificate::ocsp::Stapler;
use handfast::certificate::{CertificateStore, Ensured, OpenGate};
use handfast::config::Config;
use rcgen::{CertificateParams, KeyPair};

const PAIRS: usize = 1_000;
const ROUNDS: usize = 200;

fn main() {
    let folder = tempfile::tempdir().expect("a folder is made");
    for number in 0..PAIRS {
        pair(folder.path(), &format!("site-{number}.example"));
    }
    let text = format!(
        "[[listener]]\nname = \"bench\"\naddress = \"127.0.0.1:0\"\n\
         [[certificate-source]]\nkind = \"directory\"\npath = \"{}\"\n",
        folder.path().display()
    );
    let config = Config::parse(Path::new("/bench.toml"), &text).expect("the configuration is good");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let microseconds = runtime.block_on(async {
        let (store, findings) = CertificateStore::open(
            &config.certificate_sources,
            Arc::new(OpenGate),
            Arc::new(Stapler::new(None)),
            Arc::default(),
            runtime.handle().clone(),
        )
        .await
        .expect("the store opens");
        assert_eq!(store.len(), PAIRS, "{findings:?}");
        let certificates: Vec<_> =
            (0..PAIRS).map(|number| store.find(&format!("site-{number}.example")).remove(0)).collect();
        let mut begin = on_cpu();
        for round in 0..=ROUNDS {
            for certificate in &certificates {
                assert!(matches!(store.ensure_fresh(certificate).await, Ensured::Unchanged));
            }
            if round == 0 {
                // The first look after the pairs were written settles their age.
                begin = on_cpu();
            }
        }
        (on_cpu() - begin) as f64 / 1e3 / (ROUNDS * PAIRS) as f64
    });
    println!("{{\"microseconds\":{microseconds:.3}}}");
}

fn pair(folder: &Path, name: &str) {
    let key = KeyPair::generate().expect("a key is made");
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate is made");
    let path = folder.join(format!("{name}.key"));
    fs::write(&path, key.serialize_pem()).expect("the key is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the key is private");
    fs::write(folder.join(format!("{name}.crt")), certificate.pem()).expect("the certificate is written");
}

/// Nanoseconds this thread has spent on a CPU: the first field of its `schedstat`.
fn on_cpu() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel accounts for threads");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number comes first")
}
