use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::*;
use crate::certificate::source::watch::Watch;
use crate::certificate::test_pki::{Authority, replace};
use crate::certificate::{OpenGate, ocsp};
use crate::config::{Freshness, Ocsp, OnDelete};
use crate::freshness::tests::UpdateClock;

mod beside;
mod ending;
mod inherit;
mod lookup;
mod watch;

fn source(folder: &Path) -> Arc<CertificateSource> {
    Arc::new(CertificateSource {
        name: "files".to_owned(),
        path: folder.to_owned(),
        allow_readable_keys: false,
        reload_wait: Duration::from_secs(20),
        freshness: Freshness::Strict,
        scan_interval: Duration::from_secs(1),
        on_delete: OnDelete::Keep,
        serve_expired: false,
        required: Vec::new(),
        ocsp: Ocsp::Files,
        tags: BTreeMap::from([("team".to_owned(), "edge".to_owned())]),
    })
}

async fn open(folder: &Path) -> (Arc<CertificateStore>, Vec<Finding>) {
    open_with(folder, Arc::new(OpenGate)).await
}

async fn open_with(folder: &Path, gate: Arc<dyn Gate>) -> (Arc<CertificateStore>, Vec<Finding>) {
    open_sources(&[source(folder)], gate).await
}

async fn open_sources(
    sources: &[Arc<CertificateSource>],
    gate: Arc<dyn Gate>,
) -> (Arc<CertificateStore>, Vec<Finding>) {
    let stapler = Arc::new(Stapler::new(None));
    CertificateStore::open(sources, gate, stapler, Arc::default(), Handle::current()).await.unwrap()
}

fn ids(found: &[Arc<Certificate>]) -> Vec<&str> {
    found.iter().map(|certificate| certificate.id()).collect()
}

fn state(store: &CertificateStore, id: &str) -> Option<State> {
    store.list().into_iter().find(|status| status.id == id).map(|status| status.state)
}

#[tokio::test]
async fn every_layout_is_served_under_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&root.join("a"));
    authority.pair(&["b.example"]).write(&root.join("b.pem"), &root.join("b.key"), 0o600);
    let both = authority.pair(&["c.example"]);
    replace(&root.join("c.pem"), &format!("{}{}", both.key_pem, both.chain_pem), 0o600);
    let live = root.join("live/d.example");
    std::fs::create_dir_all(&live).unwrap();
    authority.pair(&["d.example"]).write(&live.join("fullchain.pem"), &live.join("privkey.pem"), 0o600);
    let secret = root.join("e");
    std::fs::create_dir_all(secret.join("..1")).unwrap();
    authority.pair(&["e.example"]).write(&secret.join("..1/tls.crt"), &secret.join("..1/tls.key"), 0o600);
    std::os::unix::fs::symlink("..1", secret.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), secret.join(name)).unwrap();
    }

    let (store, findings) = open(root).await;
    assert_eq!(findings, []);
    for (name, id) in [("a", "a"), ("b", "b"), ("c", "c"), ("d", "live/d.example"), ("e", "e")] {
        assert_eq!(ids(&store.find(&format!("{name}.example"))), [id]);
        assert_eq!(store.by_id(id).unwrap().id(), id);
    }
    assert_eq!(ids(&store.tagged("team", "edge")), ["a", "b", "c", "e", "live/d.example"]);
    assert!(store.tagged("team", "other").is_empty());

    // The swap of Kubernetes.
    let new = authority.pair(&["e.example"]);
    std::fs::create_dir(secret.join("..2")).unwrap();
    new.write(&secret.join("..2/tls.crt"), &secret.join("..2/tls.key"), 0o600);
    let old = store.by_id("e").unwrap();
    std::os::unix::fs::symlink("..2", secret.join("..new")).unwrap();
    std::fs::rename(secret.join("..new"), secret.join("..data")).unwrap();
    let Ensured::Replaced(replaced) = store.ensure_fresh(&old).await else { panic!("not replaced") };
    assert_eq!(replaced.fingerprint(), new.fingerprint());
}

/// Once, the owner's was cut off behind 64 newer ones of somebody else's, and his clients were refused.
#[tokio::test]
async fn no_source_crowds_out_another_however_many_pairs_it_has_for_a_name() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::new("Test");
    let (old, new) = ((2001, 1, 1), (2005, 1, 1));
    authority.valid_between(&["*.a.example"], old, (2090, 1, 1)).write_as(&one.path().join("wild"));
    authority.valid_between(&["x.a.example"], old, (2090, 1, 1)).write_as(&one.path().join("exact"));
    let newer = authority.valid_between(&["x.a.example"], new, (2090, 1, 1));
    for number in 0..70 {
        newer.write_as(&other.path().join(format!("{number:02}")));
    }
    let sources = [("one", &one), ("other", &other)].map(|(name, folder)| {
        let config = CertificateSource::clone(&source(folder.path()));
        Arc::new(CertificateSource { name: name.to_owned(), ..config })
    });
    let (store, _) = open_sources(&sources, Arc::new(OpenGate)).await;
    let all = store.find("x.a.example");
    assert_eq!(ids(&all)[70..], ["one:exact", "one:wild"]);
    let few = store.find_in_all_sources("x.a.example", 64);
    assert_eq!((few.len(), &ids(&few)[62..]), (64, &["one:exact", "one:wild"][..]));
    assert_eq!(ids(&few)[..62], ids(&all)[..62]);
    assert_eq!(ids(&store.find_in_all_sources("x.a.example", 2)), ["other:00", "one:exact"]);
    assert_eq!(ids(&store.find_in_all_sources("y.a.example", 64)), ["one:wild"]);
}

#[tokio::test]
async fn exact_names_come_before_wildcards_and_newer_certificates_before_older() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new("Test");
    let years = |year| ((year, 1, 1), (2090, 1, 1));
    for (id, names, year) in [
        ("old", &["www.example.com"][..], 2001),
        ("new", &["WWW.example.com"][..], 2003),
        ("wild", &["*.example.com"][..], 2005),
        ("both", &["www.example.com", "*.example.com"][..], 2002),
        ("deep", &["*.www.example.com"][..], 2001),
    ] {
        let (from, to) = years(year);
        authority.valid_between(names, from, to).write_as(&root.join(id));
    }
    let (store, findings) = open(root).await;
    assert_eq!(ids(&store.find("www.EXAMPLE.com.")), ["new", "both", "old", "wild"]);
    assert_eq!(ids(&store.find("other.example.com")), ["wild", "both"]);
    assert_eq!(ids(&store.find("a.www.example.com")), ["deep"]);
    assert!(store.find("example.com").is_empty());
    assert!(store.find("a.b.example.com").is_empty());
    assert!(store.find("").is_empty());
    let duplicates: Vec<_> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(duplicates, [Severity::Note, Severity::Note], "{findings:?}");
}

#[tokio::test]
async fn broken_pairs_are_findings_and_the_others_serve() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new("Test");
    let (one, two) = (authority.pair(&["a.example"]), authority.pair(&["b.example"]));
    one.write_as(&root.join("good"));
    replace(&root.join("mixed.crt"), &one.chain_pem, 0o644);
    replace(&root.join("mixed.key"), &two.key_pem, 0o600);
    replace(&root.join("garbage.pem"), "garbage", 0o600);
    two.write(&root.join("open.crt"), &root.join("open.key"), 0o644);
    std::fs::create_dir(root.join("folder.crt")).unwrap();
    replace(&root.join("folder.key"), &two.key_pem, 0o600);
    let (store, findings) = open(root).await;
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| &*finding.subject)
        .collect();
    assert_eq!(errors, ["garbage", "mixed", "open"], "{findings:?}");
    assert_eq!(store.len(), 1);
    assert_eq!(state(&store, "mixed"), Some(State::Refused));

    // Repaired, the pair goes live at the handshake that asks for it.
    two.write_as(&root.join("mixed"));
    assert!(store.look_again("b.example").await);
    assert_eq!(state(&store, "mixed"), Some(State::Current));
    assert!(matches!(
        CertificateStore::open(
            &[source(&root.join("none"))],
            Arc::new(OpenGate),
            Arc::new(Stapler::new(None)),
            Arc::default(),
            Handle::current()
        )
        .await,
        Err(StoreError::Source { .. })
    ));
}

#[tokio::test]
async fn a_replaced_pair_is_served_at_the_next_check_with_its_new_names() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    authority.pair(&["a.example", "b.example"]).write_as(&folder.path().join("a"));
    let (store, _) = open(folder.path()).await;
    let old = store.by_id("a").unwrap();
    let generation = store.generation.current();
    let new = authority.pair(&["b.example", "c.example"]);
    new.write_as(&folder.path().join("a"));
    let Ensured::Replaced(replaced) = store.ensure_fresh(&old).await else { panic!("not replaced") };
    assert_eq!(replaced.fingerprint(), new.fingerprint());
    assert!(store.generation.current() > generation);
    assert!(store.find("a.example").is_empty());
    assert_eq!(ids(&store.find("b.example")), ["a"]);
    assert_eq!(ids(&store.find("c.example")), ["a"]);
    assert!(matches!(store.ensure_fresh(&replaced).await, Ensured::Unchanged));
    assert_eq!(store.counters().replaced, 1);
}

#[tokio::test]
async fn half_mismatched_garbage_and_deleted_files_keep_the_last_good_pair() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write(&chain, &key, 0o600);
    let (store, _) = open(folder.path()).await;
    let good = store.by_id("a").unwrap();
    let other = authority.pair(&["a.example"]);
    let expired = authority.valid_between(&["a.example"], (2001, 1, 1), (2002, 1, 1));
    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let spoil: [(&str, Spoil<'_>); 5] = [
        ("mismatched", Box::new(|| replace(&chain, &other.chain_pem, 0o644))),
        ("cut off", Box::new(|| std::fs::write(&chain, &other.chain_pem[..700]).unwrap())),
        ("garbage", Box::new(|| std::fs::write(&key, [0xff; 999]).unwrap())),
        ("expired", Box::new(|| expired.write(&chain, &key, 0o600))),
        ("readable", Box::new(|| other.write(&chain, &key, 0o644))),
    ];
    for (how, spoil) in spoil {
        spoil();
        let Ensured::Kept { certificate, why: Kept::Refused(_) } = store.ensure_fresh(&good).await else {
            panic!("{how} files went live")
        };
        assert!(Arc::ptr_eq(&certificate, &good), "{how}");
        assert_eq!(state(&store, "a"), Some(State::KeptLastGood), "{how}");
    }
    std::fs::remove_file(&chain).unwrap();
    assert!(matches!(store.ensure_fresh(&good).await, Ensured::Kept { why: Kept::Gone(_), .. }));
    assert_eq!(state(&store, "a"), Some(State::Gone));
    assert_eq!(ids(&store.find("a.example")), ["a"], "a deleted pair keeps serving");
    other.write(&chain, &key, 0o600);
    assert!(matches!(store.ensure_fresh(&good).await, Ensured::Replaced(_)));
}

#[tokio::test]
async fn a_chain_that_is_written_in_parts_does_not_go_live_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("a.crt");
    let authority = Authority::new("Test");
    let pair = authority.pair(&["a.example"]);
    pair.write_as(&folder.path().join("a"));
    let (store, _) = open(folder.path()).await;
    let first = store.by_id("a").unwrap();
    std::fs::write(&chain, pair.leaf_pem()).unwrap();
    let (checking, chosen) = (store.clone(), first.clone());
    let caller = tokio::spawn(async move { checking.ensure_fresh(&chosen).await });
    while state(&store, "a") != Some(State::KeptLastGood) {
        tokio::task::yield_now().await;
    }
    std::fs::write(&chain, format!("{}\n", pair.chain_pem)).unwrap();
    let Ensured::Replaced(whole) = caller.await.unwrap() else { panic!("the leaf alone was served") };
    assert_eq!(whole.certified_key().cert.len(), 2);

    // Left like that, it is what the operator wants.
    std::fs::write(&chain, pair.leaf_pem()).unwrap();
    let Ensured::Replaced(short) = store.ensure_fresh(&whole).await else { panic!("not replaced") };
    assert_eq!(short.certified_key().cert.len(), 1);
}

#[tokio::test]
async fn a_name_that_was_just_added_is_found_and_unknown_ones_cost_a_bounded_share() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let (store, findings) = open(folder.path()).await;
    assert_eq!(findings, []);
    assert!(!store.look_again("a.example").await);
    let below = folder.path().join("deep/down");
    std::fs::create_dir_all(&below).unwrap();
    authority.pair(&["a.example"]).write_as(&below.join("a"));
    assert!(store.look_again("a.example").await);
    assert_eq!(ids(&store.find("a.example")), ["deep/down/a"]);

    // A flood of names shares the scans.
    let before = store.counters().scans;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = store.clone();
        callers.spawn(async move { store.look_again(&format!("{number}.example")).await });
    }
    assert!(callers.join_all().await.iter().all(|found| !found));
    assert!(store.counters().scans - before < 50, "{:?}", store.counters());
}

#[tokio::test]
async fn an_id_belongs_to_one_pair_and_follows_it_to_another_layout() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let authority = Authority::new("Test");
    let (file, secret) = (authority.pair(&["a.example"]), authority.pair(&["b.example"]));
    file.write_as(&root.join("a"));
    std::fs::create_dir(root.join("a")).unwrap();
    secret.write(&root.join("a/tls.crt"), &root.join("a/tls.key"), 0o600);
    let (store, findings) = open(root).await;
    assert_eq!(store.len(), 1);
    assert!(findings.iter().any(|finding| finding.text.contains("already has")), "{findings:?}");
    let holder = store.by_id("a").unwrap();
    let winner = if holder.fingerprint() == file.fingerprint() { "a" } else { "a/tls" };

    // The holder moves away, and the other takes its place once it is scanned.
    for extension in ["crt", "key"] {
        std::fs::remove_file(root.join(winner).with_extension(extension)).unwrap();
    }
    store.rescan().await;
    let name = if winner == "a" { "b.example" } else { "a.example" };
    assert_eq!(ids(&store.find(name)), ["a"]);
    assert_eq!(store.len(), 1);
}

/// Refuses every certificate while it is shut.
struct Door {
    open: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
}

impl Gate for Door {
    fn admit(
        &self,
        certificate: Arc<Certificate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let open = self.open.load(Ordering::SeqCst);
        Box::pin(
            async move { if open { Ok(()) } else { Err(format!("{} is not wanted", certificate.id())) } },
        )
    }
}

/// Lets everything in, and remembers what was known of staples then.
#[derive(Default)]
struct Doorkeeper {
    statuses: std::sync::Mutex<Vec<ocsp::Status>>,
}

impl Gate for Doorkeeper {
    fn admit(
        &self,
        certificate: Arc<Certificate>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        self.statuses.lock().unwrap().push(certificate.ocsp_status());
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn nothing_is_done_about_staples_before_policies_have_admitted_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("Test").pair(&["a.example"]).write_as(&folder.path().join("a"));
    replace(&folder.path().join("a.ocsp"), "no response", 0o644);
    let doorkeeper = Arc::new(Doorkeeper::default());
    let (store, _) = open_with(folder.path(), doorkeeper.clone()).await;
    assert_eq!(*doorkeeper.statuses.lock().unwrap(), [ocsp::Status::None]);
    assert_eq!(store.by_id("a").unwrap().ocsp_status(), ocsp::Status::Missing);
}

#[tokio::test]
async fn a_certificate_that_policies_refuse_does_not_go_live_until_they_are_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    authority.pair(&["a.example"]).write_as(&folder.path().join("a"));
    let door = Arc::new(Door { open: false.into(), asked: AtomicUsize::new(0) });
    let (store, findings) = open_with(folder.path(), door.clone()).await;
    assert!(findings.iter().any(|finding| finding.text.contains("a is not wanted")), "{findings:?}");
    assert!(store.is_empty());
    door.open.store(true, Ordering::SeqCst);
    assert_eq!(store.retry_refused().await.added, 1);
    let first = store.by_id("a").unwrap();

    door.open.store(false, Ordering::SeqCst);
    authority.pair(&["a.example"]).write_as(&folder.path().join("a"));
    assert!(matches!(store.ensure_fresh(&first).await, Ensured::Kept { why: Kept::Refused(_), .. }));
    let asked = door.asked.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(matches!(store.ensure_fresh(&first).await, Ensured::Kept { .. }));
    }
    assert_eq!(door.asked.load(Ordering::SeqCst), asked, "a refusal is remembered");
    door.open.store(true, Ordering::SeqCst);
    store.retry_refused().await;
    assert!(matches!(store.ensure_fresh(&first).await, Ensured::Replaced(_)));
}

#[tokio::test]
async fn the_watch_finds_new_pairs_before_anybody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Test");
    let (store, _) = open(folder.path()).await;
    let _watch = Watch::start(&store);
    authority.pair(&["a.example"]).write_as(&folder.path().join("a"));
    while store.find("a.example").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_replacements_never_yields_an_older_certificate() {
    const UPDATES: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let stem = folder.path().join("a");
    let authority = Authority::new("Test");
    let pairs: Vec<_> = (0..UPDATES).map(|_| authority.pair(&["a.example"])).collect();
    let order: Arc<HashMap<String, usize>> =
        Arc::new(pairs.iter().enumerate().map(|(number, pair)| (pair.fingerprint(), number)).collect());
    pairs[0].write_as(&stem);
    let (store, _) = open(folder.path()).await;
    let complete = Arc::new(AtomicUsize::new(0));
    let clock = UpdateClock::new();
    let (done, updates) = (complete.clone(), clock.clone());
    let writer = std::thread::spawn(move || {
        for (number, pair) in pairs.iter().enumerate().skip(1) {
            updates.begin();
            pair.write_as(&stem);
            done.store(number, Ordering::SeqCst);
        }
    });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, complete, order, clock) = (store.clone(), complete.clone(), order.clone(), clock.clone());
        callers.spawn(async move {
            while complete.load(Ordering::SeqCst) < UPDATES - 1 {
                let asked = complete.load(Ordering::SeqCst);
                let chosen = store.find("a.example").remove(0);
                let (served, held) = match store.ensure_fresh(&chosen).await {
                    Ensured::Unchanged => (chosen, false),
                    Ensured::Replaced(certificate) => (certificate, false),
                    Ensured::Kept { certificate, .. } => (certificate, clock.excuses()),
                    Ensured::Withdrawn => panic!("withdrawn"),
                };
                let got = order[served.fingerprint()];
                assert!(got >= asked || held, "asked after {asked}, got {got}");
                assert!(served.certified_key().keys_match().is_ok(), "a mixed pair");
            }
        });
    }
    while let Some(finished) = callers.join_next().await {
        finished.unwrap();
    }
    writer.join().unwrap();
}
