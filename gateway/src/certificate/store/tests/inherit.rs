//! What a store takes over from the one before, what scans forget, and how much a finding says.

use super::*;

/// Another store for the same folder, with another setting, as at SIGHUP.
async fn reopen(
    previous: &Arc<CertificateStore>,
    change: impl FnOnce(&mut CertificateSource),
) -> (Arc<CertificateStore>, Vec<Finding>) {
    let mut config = CertificateSource::clone(previous.sources().next().unwrap());
    change(&mut config);
    let (store, findings) = open_sources(&[Arc::new(config)], Arc::new(OpenGate)).await;
    let findings = store.inherit(previous, findings).await;
    (store, findings)
}

#[tokio::test]
async fn last_good_pairs_outlive_a_change_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let path = |name: &str| folder.path().join(name);
    for name in ["broken", "deleted", "sound", "tls"] {
        authority.pair(&[&format!("{name}.example")]).write_as(&path(name));
    }
    let (first, _) = open(folder.path()).await;
    let before = |id: &str| first.by_id(id).unwrap().fingerprint().to_owned();
    replace(&path("broken.crt"), "garbage", 0o600);
    for file in ["deleted.crt", "deleted.key", "tls.key"] {
        std::fs::remove_file(path(file)).unwrap();
    }
    let renewed = authority.pair(&["sound.example"]);
    renewed.write_as(&path("sound"));

    let (second, findings) = reopen(&first, |config| config.name = "renamed".to_owned()).await;
    for (id, old) in [("broken", "broken"), ("deleted", "deleted"), ("renamed", "files")] {
        let certificate = second.by_id(id).unwrap();
        assert_eq!((certificate.id(), certificate.fingerprint()), (id, &*before(old)));
        assert!(matches!(second.ensure_fresh(&certificate).await, Ensured::Kept { .. }), "{id}");
        assert_eq!(ids(&second.find(&certificate.names()[0])), [id]);
    }
    assert_eq!(second.by_id("sound").unwrap().fingerprint(), renewed.fingerprint());
    assert_eq!(state(&second, "broken"), Some(State::KeptLastGood));
    assert_eq!(state(&second, "deleted"), Some(State::Gone));
    let told: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .map(|finding| (finding.severity, &*finding.subject))
        .collect();
    // The fourth: that `tls.crt` has no key beside it.
    assert_eq!(told.len(), 4, "{findings:?}");
    assert!(told.iter().all(|(severity, _)| *severity == Severity::Warning), "{findings:?}");

    // Once more, from one that inherited; and whatever is repaired is served.
    let (third, _) = reopen(&second, |config| config.scan_interval = Duration::from_secs(2)).await;
    let kept = third.by_id("broken").unwrap();
    let repaired = authority.pair(&["broken.example"]);
    repaired.write_as(&path("broken"));
    let Ensured::Replaced(current) = third.ensure_fresh(&kept).await else { panic!("not replaced") };
    assert_eq!(current.fingerprint(), repaired.fingerprint());

    let (fourth, _) = reopen(&third, |config| config.on_delete = OnDelete::Withdraw).await;
    assert!(fourth.by_id("deleted").is_none() && fourth.by_id("broken").is_some());
}

/// Or who breaks his pair in time would keep a tag that the operator has just taken from him.
#[tokio::test]
async fn a_last_good_pair_has_the_tags_that_its_source_has_now() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    replace(&folder.path().join("a.toml"), "tags = { tenant = \"acme\", zone = \"own\" }", 0o644);
    let (first, _) = open(folder.path()).await;
    replace(&folder.path().join("a.crt"), "garbage", 0o600);
    let change = |config: &mut CertificateSource| {
        config.tags.insert("tenant".to_owned(), "globex".to_owned());
    };
    let (second, _) = reopen(&first, change).await;
    let kept = second.by_id("a").unwrap();
    let tags: Vec<_> = kept.tags().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(tags, ["team=edge", "tenant=globex", "zone=own"]);
    assert!(second.tagged("tenant", "acme").is_empty());
}

#[tokio::test]
async fn a_folder_of_copies_is_told_of_in_a_line_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Authority::new("Test").pair(&["a.example"]);
    for number in 10..30 {
        pair.write_as(&folder.path().join(number.to_string()));
    }
    let (_, findings) = open(folder.path()).await;
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    assert!(finding.text.contains("11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 9 more;"), "{finding}");
}

#[tokio::test]
async fn a_file_that_became_a_part_of_a_pair_is_refused_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("live");
    std::fs::create_dir(&live).unwrap();
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&folder.path().join("a"));
    let pair = authority.pair(&["b.example"]);
    replace(&live.join("cert.pem"), &pair.chain_pem, 0o600);
    let (store, _) = open(folder.path()).await;
    assert_eq!(state(&store, "live/cert"), Some(State::Refused));
    // As certbot does it.
    replace(&live.join("privkey.pem"), &pair.key_pem, 0o600);
    replace(&live.join("fullchain.pem"), &pair.chain_pem, 0o600);
    assert!(store.look_again("b.example").await);
    assert_eq!(state(&store, "live"), Some(State::Current));
    assert_eq!(state(&store, "live/cert"), None);
}
