//! The end of a pair: its files are deleted, or its validity ends while it is live.

use super::*;
use crate::certificate::unix_now;
use handfast_plugin_host::Certificate as _;

async fn open_source(config: CertificateSource) -> Arc<CertificateStore> {
    open_sources(&[Arc::new(config)], Arc::new(OpenGate)).await.0
}

fn withdrawing(folder: &Path) -> CertificateSource {
    CertificateSource { on_delete: OnDelete::Withdraw, ..CertificateSource::clone(&source(folder)) }
}

fn delete(stem: &Path) {
    for extension in ["crt", "key"] {
        std::fs::remove_file(stem.with_extension(extension)).unwrap();
    }
}

#[tokio::test]
async fn a_deleted_pair_is_withdrawn_where_the_source_says_so_and_comes_back_with_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let stem = folder.path().join("a");
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&stem);
    authority.pair(&["*.example"]).write_as(&folder.path().join("wild"));
    let store = open_source(withdrawing(folder.path())).await;
    let chosen = store.by_id("a").unwrap();
    delete(&stem);
    assert!(matches!(store.ensure_fresh(&chosen).await, Ensured::Withdrawn));
    assert_eq!(ids(&store.find("a.example")), ["wild"]);
    assert!(store.by_id("a").is_none());
    assert_eq!(store.len(), 1);
    assert!(matches!(store.ensure_fresh(&chosen).await, Ensured::Withdrawn));

    let new = authority.pair(&["a.example"]);
    new.write_as(&stem);
    store.rescan().await;
    assert_eq!(store.by_id("a").unwrap().fingerprint(), new.fingerprint());
}

#[tokio::test]
async fn a_withdrawn_pair_behind_links_comes_back_although_its_folder_did_not_change() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&archive.path().join("a"));
    for name in ["a.crt", "a.key"] {
        std::os::unix::fs::symlink(archive.path().join(name), folder.path().join(name)).unwrap();
    }
    let store = open_source(withdrawing(folder.path())).await;
    let chosen = store.by_id("a").unwrap();
    delete(&archive.path().join("a"));
    assert!(matches!(store.ensure_fresh(&chosen).await, Ensured::Withdrawn));
    store.rescan().await;
    assert_eq!(state(&store, "a"), Some(State::Refused));
    authority.pair(&["a.example"]).write_as(&archive.path().join("a"));
    assert!(store.look_again("a.example").await);
}

#[tokio::test]
async fn a_handshake_that_cannot_wait_does_not_get_a_deleted_pair() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    let config = CertificateSource { reload_wait: Duration::ZERO, ..withdrawing(folder.path()) };
    let store = open_source(config).await;
    let chosen = store.by_id("a").unwrap();
    delete(&folder.path().join("a"));
    assert!(matches!(store.ensure_fresh(&chosen).await, Ensured::Withdrawn));
}

#[tokio::test]
async fn a_required_pair_is_missing_once_nothing_is_served_for_it() {
    for (on_delete, is_missing) in [(OnDelete::Keep, false), (OnDelete::Withdraw, true)] {
        let folder = tempfile::tempdir().unwrap();
        Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
        let store = open_source(CertificateSource { on_delete, ..withdrawing(folder.path()) }).await;
        let required = [Arc::from("a")];
        assert!(store.unready(&required).is_empty());
        let chosen = store.by_id("a").unwrap();
        delete(&folder.path().join("a"));
        store.ensure_fresh(&chosen).await;
        assert_eq!(!store.unready(&required).is_empty(), is_missing, "{on_delete:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_expires_while_it_is_live_makes_way_for_the_next_best() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let end = unix_now() + 2;
    authority.valid_until(&["a.example"], end).write_as(&folder.path().join("short"));
    authority.pair(&["*.example"]).write_as(&folder.path().join("wild"));
    let (store, _) = open(folder.path()).await;
    assert_eq!(ids(&store.find("a.example")), ["short", "wild"]);
    while unix_now() <= end {
        tokio::task::yield_now().await;
    }
    assert_eq!(ids(&store.find("a.example")), ["wild", "short"]);
    let short = store.by_id("short").unwrap();
    let hello = Modern;
    assert!(short.has_expired_for(&hello) && !short.usable_by(&hello));
    assert!(store.by_id("wild").unwrap().usable_by(&hello));
}

#[tokio::test]
async fn one_that_has_expired_before_it_is_read_is_held_and_serves_only_where_the_source_allows_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let pair = authority.valid_between(&["a.example"], (2001, 1, 1), (2002, 1, 1));
    pair.write_as(&folder.path().join("a"));
    let (strict, findings) = open(folder.path()).await;
    let expired = strict.by_id("a").unwrap();
    assert!(!expired.usable_by(&Modern) && expired.has_expired_for(&Modern));
    assert_eq!(state(&strict, "a"), Some(State::Expired));
    let told: Vec<_> = findings.iter().map(|finding| (finding.severity, &*finding.subject)).collect();
    assert_eq!(told, [(Severity::Error, "a")], "{findings:?}");
    assert!(findings[0].text.contains("expired on 2002-01-01"), "{findings:?}");
    let config =
        CertificateSource { serve_expired: true, ..CertificateSource::clone(&source(folder.path())) };
    let store = open_source(config).await;
    let certificate = store.by_id("a").unwrap();
    assert!(certificate.usable_by(&Modern) && !certificate.has_expired_for(&Modern));

    let renewed = authority.pair(&["a.example"]);
    renewed.write_as(&folder.path().join("a"));
    let Ensured::Replaced(current) = strict.ensure_fresh(&expired).await else { panic!("not replaced") };
    assert_eq!(current.fingerprint(), renewed.fingerprint());
    assert!(current.usable_by(&Modern));
}

#[tokio::test]
async fn one_that_has_expired_comes_after_all_that_have_not_though_it_may_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    authority.valid_between(&["a.example"], (2020, 1, 1), (2021, 1, 1)).write_as(&folder.path().join("a"));
    authority.valid_between(&["*.example"], (2001, 1, 1), (2090, 1, 1)).write_as(&folder.path().join("b"));
    let config =
        CertificateSource { serve_expired: true, ..CertificateSource::clone(&source(folder.path())) };
    let store = open_source(config).await;
    let found = store.find("a.example");
    assert_eq!(ids(&found), ["b", "a"]);
    assert!(found.iter().all(|certificate| certificate.usable_by(&Modern)));
}

/// Or a copy of an old backup over a pair would end a name that is served.
#[tokio::test]
async fn one_that_has_expired_takes_nobodys_place() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let good = authority.pair(&["a.example"]);
    good.write_as(&folder.path().join("a"));
    let (store, _) = open(folder.path()).await;
    let chosen = store.by_id("a").unwrap();
    authority.valid_between(&["a.example"], (2001, 1, 1), (2002, 1, 1)).write_as(&folder.path().join("a"));
    assert!(matches!(store.ensure_fresh(&chosen).await, Ensured::Kept { .. }));
    assert_eq!(store.by_id("a").unwrap().fingerprint(), good.fingerprint());
}

/// A client of TLS 1.3 that verifies ECDSA P-256.
struct Modern;

impl handfast_plugin_host::ClientHello for Modern {
    fn server_name(&self) -> Option<&str> {
        None
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn protocol_versions(&self) -> Vec<u16> {
        vec![0x0304]
    }

    fn cipher_suites(&self) -> Vec<u16> {
        vec![0x1301]
    }

    fn signature_schemes(&self) -> Vec<u16> {
        vec![0x0403]
    }

    fn named_groups(&self) -> Vec<u16> {
        Vec::new()
    }

    fn extensions(&self) -> Vec<u16> {
        Vec::new()
    }

    fn ja3(&self) -> String {
        String::new()
    }

    fn ja4(&self) -> String {
        String::new()
    }

    fn raw(&self) -> Vec<u8> {
        Vec::new()
    }

    fn offers_resumption(&self) -> bool {
        false
    }
}
