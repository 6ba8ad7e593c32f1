//! The files beside a pair, and sources that handshakes do not look at.

use super::*;

#[tokio::test]
async fn settings_and_staples_come_change_and_go_with_the_next_check() {
    let folder = tempfile::tempdir().unwrap();
    let beside = |ending: &str| folder.path().join("a").with_extension(ending);
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    let (store, _) = open(folder.path()).await;
    let replaced = async || {
        let chosen = store.by_id("a").unwrap();
        match store.ensure_fresh(&chosen).await {
            Ensured::Replaced(certificate) => certificate,
            other => panic!("{other:?}"),
        }
    };
    assert!(store.tagged("canary", "yes").is_empty());
    replace(&beside("toml"), "required = true\ntags = { canary = \"yes\" }", 0o644);
    let certificate = replaced().await;
    assert!(
        certificate.is_required()
            && certificate.has_tag("canary", "yes")
            && certificate.has_tag("team", "edge")
    );
    assert_eq!(ids(&store.tagged("canary", "yes")), ["a"]);

    replace(&beside("ocsp"), "one", 0o644);
    assert_eq!(replaced().await.ocsp_file(), Some(&b"one"[..]));
    replace(&beside("ocsp"), "two", 0o644);
    assert_eq!(replaced().await.ocsp_file(), Some(&b"two"[..]));
    std::fs::remove_file(beside("ocsp")).unwrap();
    assert_eq!(replaced().await.ocsp_file(), None);

    replace(&beside("toml"), "required = \"yes\"", 0o644);
    let chosen = store.by_id("a").unwrap();
    let Ensured::Kept { certificate, why: Kept::Refused(reason) } = store.ensure_fresh(&chosen).await else {
        panic!("broken settings went live")
    };
    assert!(certificate.is_required());
    let reason = crate::telemetry::error_chain(&*reason);
    assert!(reason.contains("a.toml:1:12"), "{reason}");
    std::fs::remove_file(beside("toml")).unwrap();
    assert!(!replaced().await.is_required());
    assert!(store.tagged("canary", "yes").is_empty());
}

/// Once, a handshake that found a tag changed was answered all the same, by what a policy had said of the tag before.
#[tokio::test]
async fn a_pair_with_other_tags_does_not_stand_for_the_one_that_was_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("a.toml");
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    let (store, _) = open(folder.path()).await;
    let chosen = store.by_id("a").unwrap();
    for (text, stands) in [("tags = { zone = \"one\" }", false), ("required = true", true)] {
        replace(&settings, text, 0o644);
        let Ensured::Replaced(current) = store.ensure_fresh(&chosen).await else { panic!("not replaced") };
        assert_eq!(current.stands_for(&chosen), stands, "{text}");
    }
}

#[tokio::test]
async fn with_events_a_check_looks_at_nothing_and_a_scan_finds_the_change() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&folder.path().join("a"));
    let config = CertificateSource {
        freshness: Freshness::Events,
        ..CertificateSource::clone(&source(folder.path()))
    };
    let (store, _) = open_sources(&[Arc::new(config)], Arc::new(OpenGate)).await;
    let old = store.by_id("a").unwrap();
    let new = authority.pair(&["a.example"]);
    new.write_as(&folder.path().join("a"));
    assert!(matches!(store.ensure_fresh(&old).await, Ensured::Unchanged));
    let scans = store.counters().scans;
    assert!(!store.look_again("b.example").await);
    assert_eq!(store.counters().scans, scans);
    assert_eq!(store.rescan().await.changed, 1);
    let Ensured::Replaced(current) = store.ensure_fresh(&old).await else { panic!("not replaced") };
    assert_eq!(current.fingerprint(), new.fingerprint());

    // The watch does the same without being asked.
    let _watch = Watch::start(&store);
    let newest = authority.pair(&["a.example"]);
    newest.write_as(&folder.path().join("a"));
    while store.by_id("a").unwrap().fingerprint() != newest.fingerprint() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_folder_that_takes_the_place_of_another_is_watched_too() {
    let root = tempfile::tempdir().unwrap();
    let (folder, next) = (root.path().join("now"), root.path().join("next"));
    let authority = Authority::new("Test");
    std::fs::create_dir(&folder).unwrap();
    authority.pair(&["a.example"]).write_as(&folder.join("a"));
    // No scan comes to the help of events.
    let config = CertificateSource {
        freshness: Freshness::Events,
        scan_interval: Duration::from_secs(3_600),
        ..CertificateSource::clone(&source(&folder))
    };
    let (store, _) = open_sources(&[Arc::new(config)], Arc::new(OpenGate)).await;
    let _watch = Watch::start(&store);
    let served = async |pair: &crate::certificate::test_pki::Pair| {
        while store.by_id("a").unwrap().fingerprint() != pair.fingerprint() {
            tokio::task::yield_now().await;
        }
    };
    let swapped = authority.pair(&["a.example"]);
    std::fs::create_dir(&next).unwrap();
    swapped.write_as(&next.join("a"));
    std::fs::rename(&folder, root.path().join("before")).unwrap();
    std::fs::rename(&next, &folder).unwrap();
    served(&swapped).await;
    for _ in 0..10 {
        let pair = authority.pair(&["a.example"]);
        pair.write_as(&folder.join("a"));
        served(&pair).await;
    }
}

#[tokio::test]
async fn two_sources_of_one_folder_are_two() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    replace(&folder.path().join("bad.pem"), "garbage", 0o600);
    let sources: Vec<_> = ["one", "two"]
        .map(|name| {
            let config = CertificateSource::clone(&source(folder.path()));
            Arc::new(CertificateSource { name: name.to_owned(), ..config })
        })
        .into();
    let (store, findings) = open_sources(&sources, Arc::new(OpenGate)).await;
    assert_eq!(ids(&store.find("a.example")), ["one:a", "two:a"]);
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    assert_eq!(errors.map(|finding| &*finding.subject).collect::<Vec<_>>(), ["one:bad", "two:bad"]);
}
