use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use plugin_host::Certificates;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::certificate::OpenGate;
use crate::certificate::ocsp::Stapler;
use crate::certificate::test_pki::Authority;
use crate::config::{CertificateSource, Freshness, Ocsp, OnDelete};

/// Nobody watches the folder: what is found is found by looking.
async fn open(folder: &Path) -> Arc<CertificateStore> {
    let source = CertificateSource {
        name: "files".to_owned(),
        path: folder.to_owned(),
        allow_readable_keys: false,
        reload_wait: Duration::from_secs(20),
        freshness: Freshness::Strict,
        scan_interval: Duration::from_secs(3600),
        on_delete: OnDelete::Keep,
        serve_expired: false,
        required: Vec::new(),
        ocsp: Ocsp::Off,
        tags: BTreeMap::new(),
    };
    let (sources, stapler) = ([Arc::new(source)], Arc::new(Stapler::new(None)));
    let opened =
        CertificateStore::open(&sources, Arc::new(OpenGate), stapler, Arc::default(), Handle::current());
    opened.await.unwrap().0
}

/// A store with one certificate, for `a.example`.
async fn one() -> (TempDir, Authority, Arc<CertificateStore>) {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("Test"));
    authority.pair(&["a.example"]).write_as(&folder.path().join("first"));
    let store = open(folder.path()).await;
    (folder, authority, store)
}

fn directory(store: &Arc<CertificateStore>) -> Directory {
    let directory = Directory::new(Arc::clone(store), None);
    directory.forget();
    directory
}

#[tokio::test]
async fn a_pair_beside_others_of_its_name_is_news_to_whoever_looked_it_up() {
    let (folder, authority, store) = one().await;
    let looking = directory(&store);
    assert_eq!(looking.find("a.example").len(), 1);
    authority.pair(&["a.example"]).write_as(&folder.path().join("second"));
    assert!(looking.has_news(Refusal::NoCertificate, "a.example").await);
    looking.forget();
    assert_eq!(looking.find("a.example").len(), 2);
    assert!(!looking.has_news(Refusal::NoCertificate, "a.example").await, "that was all");
}

#[tokio::test]
async fn an_id_that_is_missed_is_looked_for() {
    let (folder, authority, store) = one().await;
    let directory = directory(&store);
    assert!(directory.by_id("first").is_some());
    let scans = store.counters().scans;
    assert!(!directory.has_news(Refusal::NoVerdict, "b.example").await);
    assert_eq!(store.counters().scans, scans, "no id was missed");
    assert!(directory.by_id("second").is_none());
    authority.pair(&["b.example"]).write_as(&folder.path().join("second"));
    assert!(directory.has_news(Refusal::NoVerdict, "b.example").await);
    assert!(directory.by_id("second").is_some());
}

#[tokio::test]
async fn a_policy_that_looks_nothing_up_costs_no_look() {
    let (folder, authority, store) = one().await;
    authority.pair(&["a.example"]).write_as(&folder.path().join("second"));
    let scans = store.counters().scans;
    assert!(!directory(&store).has_news(Refusal::NoCertificate, "a.example").await);
    assert_eq!(store.counters().scans, scans);
}

#[tokio::test]
async fn the_sources_are_looked_at_once_for_each_client_hello() {
    let (folder, authority, store) = one().await;
    let directory = directory(&store);
    let scans = store.counters().scans;
    // In a call that found nothing, as the sandbox does it, then in another, then for the refusal.
    assert!(!directory.refresh("b.example").await);
    authority.pair(&["b.example"]).write_as(&folder.path().join("second"));
    assert!(directory.find("b.example").is_empty());
    assert!(!directory.refresh("b.example").await);
    assert!(!directory.has_news(Refusal::NoCertificate, "b.example").await);
    directory.forget();
    assert!(directory.find("b.example").is_empty());
    assert!(!directory.has_news(Refusal::NoCertificate, "b.example").await);
    assert_eq!(store.counters().scans, scans + 1);
}

#[tokio::test]
async fn what_changed_meanwhile_is_news_without_a_look() {
    let (folder, authority, store) = one().await;
    let directory = directory(&store);
    directory.find("a.example");
    authority.pair(&["a.example"]).write_as(&folder.path().join("second"));
    store.rescan().await;
    let scans = store.counters().scans;
    assert!(directory.has_news(Refusal::NoCertificate, "a.example").await);
    assert_eq!(store.counters().scans, scans);
}

#[tokio::test]
async fn a_flood_of_refusals_shares_the_scans() {
    let (_folder, _, store) = one().await;
    let before = store.counters().scans;
    let mut refusals = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let directory = directory(&store);
        refusals.spawn(async move {
            directory.find("a.example");
            directory.has_news(Refusal::NoCertificate, "a.example").await
        });
    }
    assert!(refusals.join_all().await.iter().all(|news| !news));
    assert!(store.counters().scans - before < 50, "{:?}", store.counters());
}
