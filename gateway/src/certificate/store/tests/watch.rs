//! The watch: which folders send events.

use super::*;

/// Once, the first folder that could not be read ended the events of its whole source.
#[test]
fn a_folder_that_cannot_be_read_costs_no_events_of_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let open_to_all = |path: &Path| set_mode(path, 0o755);
    open_to_all(root);
    for name in ["a-closed", "open", "z-closed"] {
        std::fs::create_dir(root.join(name)).unwrap();
        open_to_all(&root.join(name));
    }
    let authority = Authority::new("Test");
    let put = |pair: &crate::certificate::test_pki::Pair| {
        pair.write(&root.join("open/a.crt"), &root.join("open/a.key"), 0o644);
    };
    put(&authority.pair(&["a.example"]));
    ["a-closed", "z-closed"].iter().for_each(|name| set_mode(&root.join(name), 0));
    // Permissions do not bite root, so the threads that watch are somebody else's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(become_nobody)
        .build()
        .unwrap();
    let sources = [Arc::new(CertificateSource {
        freshness: Freshness::Events,
        allow_readable_keys: true,
        scan_interval: Duration::from_secs(3600),
        ..CertificateSource::clone(&source(root))
    })];
    let stapler = Arc::new(Stapler::new(None));
    let opened = CertificateStore::open(
        &sources,
        Arc::new(OpenGate),
        stapler,
        Arc::default(),
        runtime.handle().clone(),
    );
    let (store, findings) = runtime.block_on(opened).unwrap();
    let unlisted = findings.iter().filter(|finding| finding.to_string().contains("cannot be listed"));
    assert_eq!(unlisted.count(), 2, "{findings:?}");
    let _watch = Watch::start(&store);
    for _ in 0..3 {
        let pair = authority.pair(&["a.example"]);
        put(&pair);
        while store.find("a.example")[0].fingerprint() != pair.fingerprint() {
            std::thread::yield_now();
        }
    }
    // In a folder that was made meanwhile, too.
    std::fs::create_dir(root.join("new")).unwrap();
    open_to_all(&root.join("new"));
    authority.pair(&["b.example"]).write(&root.join("new/b.crt"), &root.join("new/b.key"), 0o644);
    while store.find("b.example").is_empty() {
        std::thread::yield_now();
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// This thread only, and those that it starts: the system call itself, which the C library would make for all threads.
fn become_nobody() {
    const NOBODY: libc::c_long = 65534;
    // SAFETY: changes nothing but the credentials of this thread. For whoever is not root it fails, and need not succeed.
    unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
}
