//! OCSP staples: from files, from responders, and never one that clients would refuse.

use std::net::SocketAddr;
use std::sync::Arc;

use handfast_tests::client::openssl::s_client;
use handfast_tests::ocsp::{OpensslResponder, Responder, Statement};
use handfast_tests::{Authority, CertificateFolder, Config, Gateway, Leaf, Pair, Upstream, eventually};
use tempfile::TempDir;

/// An authority whose certificates carry their issuer along, and where they are served from.
struct Place {
    authority: Arc<Authority>,
    certificates: CertificateFolder,
    upstream: Upstream,
}

impl Place {
    fn new() -> Self {
        let authority = Arc::new(Authority::new("Root").intermediate("Issuer"));
        Self { authority, certificates: CertificateFolder::new(), upstream: Upstream::http1() }
    }

    fn put(&self, leaf: Leaf) -> Pair {
        let pair = self.authority.issue(leaf);
        self.certificates.put("a", &pair);
        pair
    }

    fn config(&self, ocsp: &str) -> Config {
        Config::new()
            .certificates("files", self.certificates.path())
            .with_last(&format!("ocsp = \"{ocsp}\""))
            .listener("main", "")
            .upstream("echo", self.upstream.address(), "")
            .route("*", "/", "echo")
    }

    fn start(&self, ocsp: &str) -> Gateway {
        Gateway::start(&self.config(ocsp))
    }

    /// What OpenSSL says about the staple that it got, in which it found nothing wrong; `None` if there was none.
    #[track_caller]
    fn staple(&self, address: SocketAddr) -> Option<String> {
        let client = s_client(&self.authority, address, "a.example", &["-status"]);
        assert_eq!(client.code, Some(0), "{}{}", client.stdout, client.stderr);
        let (_, after) = client.stdout.split_once("OCSP response:").expect("what was stapled");
        if after.trim_start().starts_with("no response sent") {
            return None;
        }
        let staple = after.split("\n---").next().unwrap_or_default();
        assert!(staple.contains("OCSP Response Status: successful"), "{staple}");
        assert!(staple.contains("Cert Status: good"), "{staple}");
        Some(staple.to_owned())
    }

    #[track_caller]
    fn wait_for_staple(&self, address: SocketAddr) -> String {
        eventually("a staple", || self.staple(address))
    }
}

#[test]
fn a_file_is_stapled_and_its_replacement_with_the_next_handshake() {
    let place = Place::new();
    let pair = place.put(Leaf::server(&["a.example"]));
    place.certificates.put_ocsp("a", &Statement::default().about(&pair, &place.authority));
    let gateway = place.start("files");
    let address = gateway.address("main");
    let mut last = place.staple(address).expect("a staple");
    for left in [1000, 500, 2000] {
        let newer = Statement::lasting(3600, left).about(&pair, &place.authority);
        place.certificates.put_ocsp("a", &newer);
        let staple = place.staple(address).expect("a staple");
        assert_ne!(staple, last);
        last = staple;
    }
}

#[test]
fn a_file_that_clients_would_refuse_is_not_stapled_and_the_last_good_one_stays() {
    let place = Place::new();
    let pair = place.put(Leaf::server(&["a.example"]));
    let other = place.authority.issue(Leaf::server(&["a.example"]));
    let namesake = Authority::new("Root").intermediate("Issuer");
    let good = Statement::default().about(&pair, &place.authority);
    let refused = [
        ("garbage", b"garbage".to_vec()),
        ("cut off", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("of another certificate", Statement::default().about(&other, &place.authority)),
        ("of another key", Statement::default().about(&pair, &namesake)),
        ("expired", Statement::lasting(7200, -60).about(&pair, &place.authority)),
    ];
    place.certificates.put_ocsp("a", &refused[0].1);
    let gateway = place.start("files");
    let address = gateway.address("main");
    assert_eq!(place.staple(address), None);
    place.certificates.put_ocsp("a", &good);
    let staple = place.staple(address);
    assert!(staple.is_some());
    for (index, (what, file)) in refused.iter().enumerate() {
        place.certificates.put_ocsp("a", file);
        assert_eq!(place.staple(address), staple, "{what}");
        let line = gateway.wait_for_nth(index + 2, what, |line| line.is("OCSP file not used"));
        assert_eq!((line.text("certificate"), line.text("staple")), ("a", "stapled"), "{line}");
        assert!(!line.text("error").is_empty(), "{line}");
    }
}

#[test]
fn a_revoked_certificate_loses_its_staple_and_is_reported() {
    let place = Place::new();
    let responder = Responder::start(&place.authority, Statement::lasting(3595, 3605));
    place.put(Leaf::server(&["a.example"]).responder(&responder.url()));
    let gateway = place.start("fetch");
    let address = gateway.address("main");
    place.wait_for_staple(address);
    responder.say(Statement::revoked());
    let line = gateway.wait_for("the revocation", |line| line.is("OCSP staple not fetched"));
    assert!(line.text("error").contains("REVOKED"), "{line}");
    assert_eq!((line.text("staple"), place.staple(address)), ("revoked", None));
}

/// Once, the gateway stapled such a file again after a restart, as long as the responder did not answer.
#[test]
fn a_revocation_outlives_a_restart_with_an_older_file_and_no_responder() {
    let place = Place::new();
    let responder = Responder::start(&place.authority, Statement::revoked());
    let pair = place.put(Leaf::server(&["a.example"]).responder(&responder.url()));
    let state = TempDir::new().expect("a scratch folder");
    let config = place.config("fetch").state_directory(state.path());
    let gateway = Gateway::start(&config);
    gateway.wait_for("the revocation", |line| line.is("OCSP staple not fetched"));
    drop(gateway);
    responder.go_down();
    place.certificates.put_ocsp("a", &Statement::lasting(7000, 7200).about(&pair, &place.authority));
    let gateway = Gateway::start(&config);
    assert_eq!(place.staple(gateway.address("main")), None);
    let line = gateway.wait_for("the revocation", |line| line.is("OCSP staple not fetched"));
    assert_eq!(line.text("staple"), "revoked", "{line}");
}

/// Once, nothing was said about them.
#[test]
fn a_file_that_cannot_be_read_is_reported_once_and_the_last_good_staple_stays() {
    let place = Place::new();
    let pair = place.put(Leaf::server(&["a.example"]));
    let good = Statement::default().about(&pair, &place.authority);
    place.certificates.put_ocsp("a", &good);
    let gateway = place.start("files");
    let address = gateway.address("main");
    let staple = place.staple(address);
    assert!(staple.is_some());
    let path = place.certificates.path().join("a.ocsp");
    // In an order in which each is another reason than the one before.
    let troubles: [(&str, &dyn Fn()); 3] = [
        ("a directory", &|| std::fs::create_dir(&path).expect("a folder")),
        ("too large", &|| place.certificates.put_ocsp("a", &vec![0; (64 << 10) + 1])),
        ("a FIFO", &|| {
            let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
            assert!(made.success());
        }),
    ];
    for (index, (what, put)) in troubles.iter().enumerate() {
        if path.is_dir() {
            std::fs::remove_dir(&path).expect("the folder goes");
        } else {
            std::fs::remove_file(&path).expect("the file goes");
        }
        put();
        for _ in 0..3 {
            assert_eq!(place.staple(address), staple, "{what}");
        }
        let line = gateway.wait_for_nth(index + 1, what, |line| line.is("OCSP file not used"));
        assert!(line.text("error").contains("a.ocsp"), "{line}");
    }
    // The next line after all of those is of the next failure: each was told once.
    place.certificates.put_ocsp("a", b"garbage");
    assert_eq!(place.staple(address), staple);
    let line = gateway.wait_for_nth(4, "garbage", |line| line.is("OCSP file not used"));
    assert!(line.text("error").contains("not an OCSP response"), "{line}");
}

#[test]
fn a_staple_is_fetched_refreshed_and_kept_while_the_responder_is_down() {
    let place = Place::new();
    // Half of it is over in five seconds, and the rest of it long after the test.
    let responder = Responder::start(&place.authority, Statement::lasting(3595, 3605));
    place.put(Leaf::server(&["a.example"]).responder(&responder.url()));
    let state = TempDir::new().expect("a scratch folder");
    let config = place.config("fetch").state_directory(state.path());
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let first = place.wait_for_staple(address);
    assert_eq!(gateway.wait_for("the fetch", |line| line.is("OCSP staple fetched")).text("certificate"), "a");

    responder.say(Statement::lasting(3595, 3606));
    responder.wait_for_requests(2);
    let second = eventually("the newer staple", || place.staple(address).filter(|staple| *staple != first));
    responder.go_down();
    gateway.wait_for("the failure", |line| line.is("OCSP staple not fetched"));
    assert_eq!(place.staple(address).as_ref(), Some(&second));
    let fetches = |outcome| gateway.metric("handfast_ocsp_fetches_total", &[("outcome", outcome)]);
    assert!(fetches("fetched") >= 2.0 && fetches("failed") >= 1.0);
    let stored = gateway.admin("/certificates").text();
    assert!(stored.contains("\"ocsp\":\"stapled\""), "{stored}");
    drop(gateway);

    let gateway = Gateway::start(&config);
    assert_eq!(place.wait_for_staple(gateway.address("main")), second, "from before the restart");
}

#[test]
fn openssls_responder_is_understood_and_understands() {
    let place = Place::new();
    let responder = OpensslResponder::start(&place.authority, 0x5eed_0001_0002_0003);
    place.put(Leaf::server(&["a.example"]).serial(0x5eed_0001_0002_0003).responder(responder.url()));
    let gateway = place.start("fetch");
    place.wait_for_staple(gateway.address("main"));
    // One that it does not know.
    let unknown = place.authority.issue(Leaf::server(&["a.example"]).responder(responder.url()));
    place.certificates.put("a", &unknown);
    assert_eq!(place.staple(gateway.address("main")), None, "the staple of one is not the other's");
    let line = gateway.wait_for("the answer", |line| line.is("OCSP staple not fetched"));
    assert!(line.text("error").contains("does not know the certificate"), "{line}");
}

#[test]
fn a_must_staple_certificate_without_a_staple_is_served_and_reported() {
    let place = Place::new();
    place.put(Leaf::server(&["a.example"]).must_staple());
    let gateway = place.start("files");
    assert_eq!(place.staple(gateway.address("main")), None);
    let line = gateway.wait_for("the report", |line| line.is("must-staple certificate without a staple"));
    assert_eq!((line.text("staple"), line.flag("must_staple")), ("missing", true), "{line}");
}

#[test]
fn nobody_is_asked_unless_the_configuration_says_so() {
    let place = Place::new();
    let responder = Responder::start(&place.authority, Statement::default());
    let pair = place.put(Leaf::server(&["a.example"]).responder(&responder.url()));
    place.certificates.put_ocsp("a", &Statement::default().about(&pair, &place.authority));
    let off = place.start("off");
    assert_eq!(place.staple(off.address("main")), None);
    let files = place.start("files");
    assert!(place.staple(files.address("main")).is_some());
    // Asked for once, by whom it is asked at all: the others have had as much time.
    let stranger = Place { authority: place.authority.clone(), ..Place::new() };
    stranger.put(Leaf::server(&["a.example"]).responder(&responder.url()));
    let fetch = stranger.start("fetch");
    stranger.wait_for_staple(fetch.address("main"));
    assert_eq!(responder.requests(), 1);
}
