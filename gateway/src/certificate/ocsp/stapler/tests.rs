use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::certificate::ocsp::Status;
use crate::certificate::ocsp::test_responder::{
    Answer, Authority, Leaf, Responder as Server, certificate, http, names_responder, source, tls_features,
};

pub(super) fn adopted(stapler: &Stapler, leaf: &Leaf, file: Option<&[u8]>, mode: Ocsp) -> Arc<Certificate> {
    let certificate = certificate(leaf, file);
    stapler.adopt(&certificate, &source("files", mode));
    certificate
}

fn stapled(certificate: &Certificate) -> Option<Vec<u8>> {
    certificate.staple().map(|staple| staple.der().to_vec())
}

pub(super) fn stapler(state: Option<&TempDir>) -> Stapler {
    started(Settings::default(), state)
}

fn started(settings: Settings, state: Option<&TempDir>) -> Stapler {
    let stapler = Stapler::with(settings, state.map(TempDir::path));
    stapler.start();
    stapler
}

fn signed(answer: &Answer, leaf: &Leaf, authority: &Authority) -> Vec<u8> {
    answer.signed(&leaf.der, &authority.der(), &authority.signer())
}

/// A certificate that names a responder, which answers `good` (and may be told otherwise).
pub(super) async fn served(authority: &Authority, answer: &Answer) -> (Server, Leaf, Vec<u8>) {
    let server = Server::start(Vec::new()).await;
    let leaf = authority.leaf(4711, vec![names_responder(&server.url())]);
    let response = signed(answer, &leaf, authority);
    server.answer(http(&response));
    (server, leaf, response)
}

/// Asks for a state until it is there.
pub(super) async fn until(what: &str, state: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    for _ in 0..10_000 {
        ticks.tick().await;
        if state() {
            return;
        }
    }
    panic!("waited in vain: {what}");
}

/// Half of its validity is over in a second.
fn soon_half_over() -> Answer {
    let now = unix_now();
    Answer { this_update: now - 3598, next_update: Some(now + 3600), ..Answer::good(now) }
}

#[tokio::test]
async fn a_file_is_stapled_at_once_and_a_broken_one_leaves_what_there_was() {
    let authority = Authority::new("Issuer");
    let leaf = authority.leaf(1, Vec::new());
    let stapler = stapler(None);
    let good = signed(&Answer::good(unix_now()), &leaf, &authority);
    let first = adopted(&stapler, &leaf, Some(&good), Ocsp::Files);
    assert_eq!(stapled(&first), Some(good.clone()));
    assert!(matches!(first.ocsp_status(), Status::Stapled { .. }));

    let broken = adopted(&stapler, &leaf, Some(b"broken"), Ocsp::Files);
    assert_eq!(stapled(&broken), Some(good));
    assert!(broken.staples().unwrap().last_error().unwrap().contains("not an OCSP response"));

    let older = Answer { this_update: unix_now() - 7000, ..Answer::good(unix_now()) };
    let older = signed(&older, &leaf, &authority);
    let replaced = adopted(&stapler, &leaf, Some(&older), Ocsp::Files);
    assert_eq!(stapled(&replaced), Some(older.clone()), "what the operator put there");
    assert_eq!(stapled(&first), Some(older), "the values of one leaf share it");
    assert_eq!(replaced.staples().unwrap().last_error(), None);
}

#[tokio::test]
async fn a_certificate_without_anything_to_do_with_ocsp_has_no_place_for_it() {
    let authority = Authority::new("Issuer");
    let stapler = stapler(None);
    let plain = authority.leaf(1, Vec::new());
    assert!(adopted(&stapler, &plain, None, Ocsp::Fetch).staples().is_none());
    let good = signed(&Answer::good(unix_now()), &plain, &authority);
    let off = adopted(&stapler, &plain, Some(&good), Ocsp::Off);
    assert_eq!((off.staples().is_none(), off.ocsp_status()), (true, Status::None));
}

#[tokio::test]
async fn a_must_staple_certificate_without_a_staple_says_what_is_missing() {
    let authority = Authority::new("Issuer");
    let leaf = authority.leaf(1, vec![tls_features(&[5])]);
    let missing = adopted(&stapler(None), &leaf, None, Ocsp::Fetch);
    assert_eq!(missing.ocsp_status(), Status::Missing);
    let slot = missing.staples().unwrap();
    assert!(slot.must_staple() && slot.last_error().unwrap().contains("clients insist on a staple"));
}

#[tokio::test]
async fn a_responder_is_asked_and_its_answer_is_there_after_a_restart() {
    let authority = Authority::new("Issuer");
    let state = TempDir::new().unwrap();
    let (server, leaf, response) = served(&authority, &Answer::good(unix_now())).await;
    let first = stapler(Some(&state));
    let certificate = adopted(&first, &leaf, None, Ocsp::Fetch);
    until("the staple", || certificate.staple().is_some()).await;
    assert_eq!(stapled(&certificate), Some(response.clone()));
    until("the count", || first.counters() == Counters { fetched: 1, failed: 0, stale: 0 }).await;
    assert!(server.requests()[0].starts_with("GET /ocsp/"), "{:?}", server.requests());
    drop((first, certificate));

    server.answer(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_vec());
    let second = stapler(Some(&state));
    let certificate = adopted(&second, &leaf, None, Ocsp::Fetch);
    until("the staple of before", || certificate.staple().is_some()).await;
    assert_eq!(stapled(&certificate), Some(response));

    // A file that somebody damaged costs a fetch.
    let kept = state.path().join(format!("ocsp/{}.der", certificate.fingerprint()));
    std::fs::write(&kept, "damaged").unwrap();
    let third = stapler(Some(&state));
    let certificate = adopted(&third, &leaf, None, Ocsp::Fetch);
    until("a fetch", || third.counters().failed == 1).await;
    assert_eq!((stapled(&certificate), certificate.ocsp_status()), (None, Status::Missing));
}

#[tokio::test]
async fn a_must_staple_certificate_has_the_staple_of_before_when_it_goes_live() {
    let authority = Authority::new("Issuer");
    let state = TempDir::new().unwrap();
    let leaf = authority.leaf(1, vec![names_responder("http://127.0.0.1:9/"), tls_features(&[5])]);
    let response = signed(&Answer::good(unix_now()), &leaf, &authority);
    let fingerprint = certificate(&leaf, None).fingerprint().to_owned();
    Cache::new(state.path()).write(&fingerprint, &response).unwrap();
    let certificate = adopted(&stapler(Some(&state)), &leaf, None, Ocsp::Fetch);
    assert_eq!(stapled(&certificate), Some(response), "without a wait");
}

#[tokio::test]
async fn values_of_one_leaf_are_asked_for_once() {
    let authority = Authority::new("Issuer");
    let (server, leaf, response) = served(&authority, &Answer::good(unix_now())).await;
    let stapler = stapler(None);
    let all: Vec<_> = (0..20).map(|_| adopted(&stapler, &leaf, None, Ocsp::Fetch)).collect();
    until("the staple", || all.iter().all(|one| stapled(one).as_ref() == Some(&response))).await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn the_last_good_staple_stays_when_responders_fail_and_goes_with_a_revocation() {
    let authority = Authority::new("Issuer");
    let state = TempDir::new().unwrap();
    let (server, leaf, response) = served(&authority, &soon_half_over()).await;
    let settings = Settings { floor: Duration::ZERO, ..Settings::default() };
    let stapler = started(settings, Some(&state));
    let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
    until("the staple", || stapler.counters().fetched == 1).await;
    let unknown = Answer { status: x509_ocsp::CertStatus::unknown(), ..Answer::good(unix_now()) };
    server.answer(http(&signed(&unknown, &leaf, &authority)));
    until("a failure", || stapler.counters().failed == 1).await;
    assert_eq!(stapled(&certificate), Some(response));
    assert!(certificate.staples().unwrap().last_error().unwrap().contains("does not know the certificate"));

    // Another leaf, since the first is not asked about for a while.
    let (server, leaf, _) = served(&authority, &soon_half_over()).await;
    let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
    until("the staple", || stapler.counters().fetched == 2).await;
    let kept = state.path().join(format!("ocsp/{}.der", certificate.fingerprint()));
    assert!(kept.exists());
    server.answer(http(&signed(&Answer::revoked(unix_now()), &leaf, &authority)));
    until("the revocation", || certificate.ocsp_status() == Status::Revoked).await;
    assert_eq!(stapled(&certificate), None);
    // Not even by a file from before.
    let good = Answer { this_update: unix_now() - 7000, ..Answer::good(unix_now()) };
    let again = adopted(&stapler, &leaf, Some(&signed(&good, &leaf, &authority)), Ocsp::Fetch);
    assert_eq!((stapled(&again), again.ocsp_status()), (None, Status::Revoked));
}

/// Once, a restart forgot it, and an `.ocsp` file from before was sent until the responder answered again.
#[tokio::test]
async fn a_revocation_outlives_a_restart_and_its_own_end_until_there_is_a_newer_answer() {
    let authority = Authority::new("Issuer");
    let state = TempDir::new().unwrap();
    let now = unix_now();
    // Without an end, as `openssl ocsp` says it by itself.
    let revoked = Answer { next_update: None, ..Answer::revoked(now) };
    let (server, leaf, _) = served(&authority, &revoked).await;
    let first = stapler(Some(&state));
    let certificate = adopted(&first, &leaf, None, Ocsp::Fetch);
    until("the revocation", || certificate.ocsp_status() == Status::Revoked).await;
    drop((first, certificate));
    server.answer(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n".to_vec());

    let at = |this_update| signed(&Answer { this_update, ..Answer::good(now) }, &leaf, &authority);
    let older = at(now - 3601);
    let second = stapler(Some(&state));
    let certificate = adopted(&second, &leaf, Some(&older), Ocsp::Fetch);
    assert_eq!((stapled(&certificate), certificate.ocsp_status()), (None, Status::Revoked));
    until("a failure", || second.counters().failed == 1).await;
    assert_eq!((stapled(&certificate), certificate.ocsp_status()), (None, Status::Revoked));
    drop((second, certificate));

    // One that has run out meanwhile.
    let over = Answer { next_update: Some(now - 60), ..Answer::revoked(now) };
    let fingerprint = super::super::test_responder::certificate(&leaf, None).fingerprint().to_owned();
    Cache::new(state.path()).write(&fingerprint, &signed(&over, &leaf, &authority)).unwrap();
    let third = Stapler::new(Some(state.path()));
    let certificate = adopted(&third, &leaf, Some(&older), Ocsp::Fetch);
    assert_eq!((stapled(&certificate), certificate.ocsp_status()), (None, Status::Revoked));
    let newer = at(now - 3599);
    let replaced = adopted(&third, &leaf, Some(&newer), Ocsp::Fetch);
    assert_eq!(stapled(&replaced), Some(newer), "the issuer's later word");
}

#[tokio::test]
async fn a_revocation_in_a_file_outlives_a_restart_where_staples_are_fetched() {
    let authority = Authority::new("Issuer");
    let state = TempDir::new().unwrap();
    let leaf = authority.leaf(1, vec![names_responder("http://127.0.0.1:9/")]);
    let revoked = signed(&Answer::revoked(unix_now()), &leaf, &authority);
    drop(adopted(&Stapler::new(Some(state.path())), &leaf, Some(&revoked), Ocsp::Fetch));
    let good = Answer { this_update: unix_now() - 7000, ..Answer::good(unix_now()) };
    let good = signed(&good, &leaf, &authority);
    let again = adopted(&Stapler::new(Some(state.path())), &leaf, Some(&good), Ocsp::Fetch);
    assert_eq!((stapled(&again), again.ocsp_status()), (None, Status::Revoked));
}

#[tokio::test]
async fn a_staple_is_refreshed_at_half_of_its_validity() {
    let authority = Authority::new("Issuer");
    let (server, leaf, _) = served(&authority, &soon_half_over()).await;
    let settings = Settings { floor: Duration::ZERO, ..Settings::default() };
    let stapler = started(settings, None);
    let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
    until("the staple", || certificate.staple().is_some()).await;
    let newer = signed(&Answer::good(unix_now() + 60), &leaf, &authority);
    server.answer(http(&newer));
    until("a newer one", || stapled(&certificate).as_ref() == Some(&newer)).await;
}

#[tokio::test]
async fn a_staple_that_runs_out_is_not_sent_and_is_counted_once() {
    let authority = Authority::new("Issuer");
    let leaf = authority.leaf(1, Vec::new());
    let stapler = stapler(None);
    let short = Answer { next_update: Some(unix_now() + 2), ..Answer::good(unix_now()) };
    let certificate = adopted(&stapler, &leaf, Some(&signed(&short, &leaf, &authority)), Ocsp::Files);
    assert!(certificate.staple().is_some());
    until("its end", || certificate.staple().is_none()).await;
    until("the count", || stapler.counters().stale == 1).await;
    assert_eq!(certificate.ocsp_status(), Status::Expired);
}

#[tokio::test]
async fn a_responder_that_is_down_does_not_hold_up_the_others() {
    let authority = Authority::new("Issuer");
    // Accepts by the kernel's hand only, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let settings = Settings { at_once: 2, timeout: Duration::from_millis(100), ..Settings::default() };
    let stapler = started(settings, None);
    let dead: Vec<_> = (0..200)
        .map(|serial| {
            let leaf = authority.leaf(serial, vec![names_responder(&url)]);
            adopted(&stapler, &leaf, None, Ocsp::Fetch)
        })
        .collect();
    let (_server, leaf, _) = served(&authority, &Answer::good(unix_now())).await;
    let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
    until("the staple of the other", || certificate.staple().is_some()).await;
    assert!(stapler.counters().failed <= 4, "{:?} of {}", stapler.counters(), dead.len());
}

/// Once, whoever waited longest had every place: 200 exchanges that come to nothing, before the one of somebody else.
#[tokio::test]
async fn a_source_with_many_certificates_does_not_hold_up_the_others() {
    let authority = Authority::new("Issuer");
    let silent = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let settings = Settings { at_once: 2, timeout: Duration::from_millis(300), ..Settings::default() };
    let stapler = started(settings, None);
    let many: Vec<_> = (0..200)
        .map(|number| {
            // A responder each, so that none of them rests.
            let url = format!("http://127.0.1.{number}:{port}/");
            let certificate = certificate(&authority.leaf(number, vec![names_responder(&url)]), None);
            stapler.adopt(&certificate, &source("many", Ocsp::Fetch));
            certificate
        })
        .collect();
    let (_server, leaf, _) = served(&authority, &Answer::good(unix_now())).await;
    let other = certificate(&leaf, None);
    stapler.adopt(&other, &source("few", Ocsp::Fetch));
    until("the staple of the other", || other.staple().is_some()).await;
    assert!(stapler.counters().failed <= 20, "{:?} of {}", stapler.counters(), many.len());
}

#[tokio::test]
async fn nobody_is_asked_before_the_start() {
    let authority = Authority::new("Issuer");
    let (server, leaf, response) = served(&authority, &Answer::good(unix_now())).await;
    let stapler = Stapler::new(None);
    let certificate = adopted(&stapler, &leaf, None, Ocsp::Fetch);
    assert_eq!((stapled(&certificate), server.requests().len()), (None, 0));
    stapler.start();
    stapler.start();
    until("the staple", || stapled(&certificate).as_ref() == Some(&response)).await;
}

#[tokio::test]
async fn slots_of_certificates_that_are_gone_are_forgotten() {
    let authority = Authority::new("Issuer");
    let stapler = Stapler::default();
    let leaf = authority.leaf(1, vec![tls_features(&[5])]);
    let kept = adopted(&stapler, &leaf, None, Ocsp::Files);
    for number in 0..5000 {
        lock(&stapler.slots).find_or_add(&format!("{number:064x}"), Features::default());
    }
    assert!(lock(&stapler.slots).known.len() <= 1025);
    assert!(Arc::ptr_eq(&stapler.slot_of(&kept).unwrap(), kept.staples().unwrap()));
}
