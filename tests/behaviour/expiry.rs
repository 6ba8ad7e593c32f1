//! What expires is said in time: in the log once for each horizon, in the metrics, and by readiness where it is required.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handfast_tests::{Client, Config, Gateway, Line, Pair, Refusal, Scene, eventually};

const DAY: i64 = 24 * 3600;

#[test]
fn a_certificate_near_its_end_is_warned_of_once_and_anew_after_a_replacement() {
    let scene = Scene::new(&["far.example"]);
    scene.certificates.put("near", &ends_in(&["near.example"], 5 * DAY + DAY / 2));
    let gateway = scene.start();
    let warned = |line: &Line| line.is("certificate expires soon");
    let line = gateway.wait_for("the warning", warned);
    assert_eq!(line.text("certificate"), "near");
    assert_eq!(line.text("level"), "WARN");
    assert_eq!(line.text("horizon"), "7d", "the narrowest of those it has come within");
    assert_eq!(line.number("days_left"), 5);
    assert!(line.text("not_after").ends_with('Z'), "{line}");

    scene.certificates.put("near", &ends_in(&["near.example"], 20 * DAY));
    Client::new().connect(gateway.address("main"), "near.example").expect("a handshake");
    let line = gateway.wait_for_nth(2, "the warning about the replacement", warned);
    assert_eq!(line.text("horizon"), "30d", "{line}");

    // Another pass, which says nothing of the others.
    scene.certificates.put("new", &ends_in(&["new.example"], DAY / 2));
    Client::new().connect(gateway.address("main"), "new.example").expect("a handshake");
    let line = gateway.wait_for_nth(3, "the warning about the new one", warned);
    assert_eq!((line.text("certificate"), line.text("horizon")), ("new", "1d"));
    assert_eq!(gateway.lines(warned).len(), 3, "{}", gateway.log_text());
}

#[test]
fn horizons_are_those_of_the_configuration() {
    let scene = Scene::new(&["far.example"]);
    scene.certificates.put("near", &ends_in(&["near.example"], 5 * DAY));
    let horizons = "[certificates]\nexpiry-warnings = [\"12h\", \"10d\"]";
    let gateway = Gateway::start(&scene.config().with(horizons));
    let line = gateway.wait_for("the warning", |line| line.is("certificate expires soon"));
    assert_eq!(line.text("horizon"), "10d");
    assert_eq!(gateway.metric("handfast_certificates_expiring", &[("within", "10d")]), 1.0);
    assert_eq!(gateway.metric("handfast_certificates_expiring", &[("within", "12h")]), 0.0);
}

#[test]
fn a_required_certificate_that_expires_is_told_of_and_ends_readiness() {
    let scene = Scene::new(&["far.example"]);
    // Long enough for a gateway on a busy machine to start meanwhile.
    scene.certificates.put("short", &ends_in(&["short.example"], 10));
    let gateway = Gateway::start(&required(&scene, &["short", "far.example"]));
    assert!(gateway.lines(|line| line.is("certificate has expired")).is_empty());
    let line = gateway.wait_for("the end", |line| line.is("certificate has expired"));
    assert_eq!((line.text("certificate"), line.text("level")), ("short", "WARN"));
    let expired = || gateway.metric("handfast_certificates_expired", &[]);
    eventually("the gauge to follow", || (expired() == 1.0).then_some(()));
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("short expired on "), "{}", ready.text());
    assert_eq!(gateway.admin("/healthz").status, 200, "it lives all the same");

    scene.certificates.put("short", &ends_in(&["short.example"], 90 * DAY));
    eventually("the gateway to be ready", || (gateway.admin("/readyz").status == 200).then_some(()));
    eventually("the gauge to follow", || (expired() == 0.0).then_some(()));
    assert_eq!(gateway.lines(|line| line.is("certificate has expired")).len(), 1, "{}", gateway.log_text());
}

#[test]
fn the_first_client_after_the_renewal_of_an_expired_certificate_gets_the_new_one() {
    let scene = Scene::new(&["far.example"]);
    scene.certificates.put("wild", &scene.authority.server(&["*.example"]));
    scene.certificates.put("short", &ends_in(&["short.example"], 10));
    let gateway = scene.start();
    let expired = |line: &Line| line.is("certificate has expired");
    gateway.wait_for("the end", expired);
    // The wildcard serves meanwhile: it is the next best.
    let session = Client::new().connect(gateway.address("main"), "short.example").expect("a handshake");
    let new = ends_in(&["short.example"], 90 * DAY);
    assert_ne!(session.certificate(), new.fingerprint());
    scene.certificates.put("short", &new);
    let session = Client::new().connect(gateway.address("main"), "short.example").expect("a handshake");
    assert_eq!(session.certificate(), new.fingerprint(), "not the wildcard any more");
}

#[test]
fn a_client_is_not_turned_away_for_a_certificate_that_has_just_been_renewed() {
    let scene = Scene::new(&["far.example"]);
    scene.certificates.put("short", &ends_in(&["short.example"], 10));
    let gateway = scene.start();
    gateway.wait_for("the end", |line| line.is("certificate has expired"));
    let refused = Client::new().connect(gateway.address("main"), "short.example").err();
    assert_eq!(refused, Some(Refusal::Alert("certificate_expired")));
    let new = ends_in(&["short.example"], 90 * DAY);
    scene.certificates.put("short", &new);
    let session = Client::new().connect(gateway.address("main"), "short.example").expect("a handshake");
    assert_eq!(session.certificate(), new.fingerprint());
}

#[test]
fn a_required_certificate_that_is_missing_keeps_the_gateway_from_being_ready() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&required(&scene, &["a.example", "b.example"]));
    let ready = gateway.admin("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("the required certificate b.example is missing"), "{}", ready.text());
    assert!(!ready.text().contains("a.example"), "{}", ready.text());
    scene.certificates.put("b.example", &scene.authority.server(&["b.example"]));
    Client::new().connect(gateway.address("main"), "b.example").expect("a handshake");
    assert_eq!(gateway.admin("/readyz").status, 200);
}

#[test]
fn a_pair_can_say_itself_that_it_is_required() {
    let scene = Scene::new(&["a.example"]);
    scene.certificates.put("short", &ends_in(&["short.example"], 5 * DAY));
    std::fs::write(scene.certificates.path().join("short.toml"), "required = true\n")
        .expect("a file is written");
    let gateway = scene.start();
    assert_eq!(gateway.admin("/readyz").status, 200);
    let listing: String = gateway.admin("/certificates?id=short").text();
    assert!(listing.contains("\"required\":true"), "{listing}");
    let listing: String = gateway.admin("/certificates?id=a.example").text();
    assert!(listing.contains("\"required\":false"), "{listing}");
}

#[test]
fn the_metrics_name_what_expires_and_when() {
    let scene = Scene::new(&["far.example"]);
    let end = now() + 5 * DAY;
    scene.certificates.put("we\"ird\\", &pair(&["weird.example"], end));
    let gateway = scene.start();
    let text = || gateway.admin("/metrics").text();
    let series = format!("handfast_certificate_not_after_seconds{{certificate=\"we\\\"ird\\\\\"}} {end}");
    eventually("the series", || text().lines().any(|line| line == series).then_some(()));
    let earliest = gateway.metric("handfast_certificates_earliest_not_after_seconds", &[]);
    assert_eq!(earliest, end as f64);
    for (within, count) in [("30d", 1.0), ("7d", 1.0), ("1d", 0.0)] {
        assert_eq!(
            gateway.metric("handfast_certificates_expiring", &[("within", within)]),
            count,
            "{within}"
        );
    }
    assert_eq!(gateway.metric("handfast_certificates_expired", &[]), 0.0);
    // 2099-01-01, as the harness has it.
    let far = gateway.metric("handfast_certificate_not_after_seconds", &[("certificate", "far.example")]);
    assert_eq!(far, 4_070_908_800.0);
}

/// The scene's configuration, whose source requires these certificates.
fn required(scene: &Scene, ids: &[&str]) -> Config {
    let path = scene.certificates.path();
    let source = format!("[[certificate-source]]\nkind = \"directory\"\npath = {path:?}\nrequired = {ids:?}");
    Config::new()
        .with(&source)
        .listener("main", "")
        .upstream("echo", scene.upstream.address(), "")
        .route("*", "/", "echo")
}

/// A pair that signs itself and ends so many seconds from now.
fn ends_in(names: &[&str], seconds: i64) -> Pair {
    pair(names, now() + seconds)
}

fn pair(names: &[&str], not_after: i64) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("DNS names");
    let seconds = u64::try_from(not_after).expect("a time after 1970");
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let key = rcgen::KeyPair::generate().expect("a key is made");
    let certificate = params.self_signed(&key).expect("a certificate signs itself");
    Pair {
        certificates_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        leaf: certificate.der().clone(),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("a time before the end of time")
}
