//! Nothing is lost while certificates and policies are replaced under load: with clients and upstreams of our own, and by
//! `examples/quickstart/swap-under-load.sh`, which shows it with nginx and h2load, with smaller numbers.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use handfast_tests::gateway::{binary, finish};
use handfast_tests::{Client, Gateway, Load, Scene, plugin, repository, require_tool};
use tempfile::TempDir;

const CERTIFICATES: usize = 100;
const SWAPS: usize = 20;

#[test]
fn a_hundred_certificates_and_twenty_policies_are_replaced_and_nothing_is_lost() {
    let scene = Scene::new(&["shop.example", "blog.example"]);
    let folder = TempDir::new().expect("a scratch folder");
    let live = folder.path().join("live.wasm");
    let policies = [repository().join("plugins/server-name/dist/server-name.wasm"), plugin("custom-policy")];
    fs::copy(&policies[0], &live).expect("a policy is copied");
    let config = scene.config().main_listener("policies = [\"live\"]").policy("live", &live, "");
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");

    // New connections for either domain, and one connection that stays through it all.
    let shop = Load::start(1, move || Client::new().get(address, "shop.example", "/"));
    let blog = Load::start(1, move || Client::new().get(address, "blog.example", "/"));
    let kept = Mutex::new(Client::new().connect(address, "blog.example").expect("a handshake"));
    let kept = Load::start(1, move || kept.lock().expect("the one user of the lock").get("/"));

    for number in 1..=CERTIFICATES {
        for load in [&shop, &blog, &kept] {
            load.wait_for_rounds(2);
        }
        let pair = scene.authority.server(&["shop.example"]);
        scene.certificates.put("shop.example", &pair);
        let session = Client::new().connect(address, "shop.example").expect("a handshake");
        assert_eq!(session.certificate(), pair.fingerprint(), "the handshake after replacement {number}");
        if number % (CERTIFICATES / SWAPS) == 0 {
            let swap = number / (CERTIFICATES / SWAPS);
            replace(&policies[swap % 2], &live);
            Client::new().connect(address, "shop.example").expect("a handshake");
            gateway.wait_for_nth(swap, "the swap", |line| line.is("policy replaced"));
        }
    }

    for response in [shop, blog, kept].into_iter().flat_map(Load::stop) {
        assert_eq!(response.expect("no connection fails").status, 200);
    }
    let replaced = gateway.lines(|line| line.is("certificate replaced"));
    assert_eq!(replaced.len(), CERTIFICATES);
    let swaps = gateway.metric("handfast_reloads_total", &[("what", "policy"), ("outcome", "replaced")]);
    assert_eq!(swaps, SWAPS as f64);
    let handshakes = gateway.metric("handfast_handshakes_total", &[]);
    let answered = gateway.metric("handfast_handshakes_total", &[("outcome", "certificate")]);
    assert_eq!(answered, handshakes, "each handshake was answered with a certificate");
    let calls = gateway.metric("handfast_policy_calls_total", &[]);
    assert_eq!(gateway.metric("handfast_policy_calls_total", &[("outcome", "ok")]), calls);
}

#[test]
fn the_script_that_shows_it_with_nginx_and_h2load_loses_nothing() {
    for (tool, package) in [
        ("bash", "bash"),
        ("nginx", "nginx-light"),
        ("h2load", "nghttp2-client"),
        ("openssl", "openssl"),
        ("curl", "curl"),
    ] {
        require_tool(tool, package);
    }
    plugin("custom-policy");
    let mut script = Command::new("bash");
    script.arg(repository().join("examples/quickstart/swap-under-load.sh"));
    script.env("HANDFAST", binary()).env("CERTIFICATES", "6").env("SWAPS", "2").env("REQUESTS", "1000");
    let finished = finish(script);
    assert!(finished.stdout.ends_with("nothing was lost\n"), "{}\n{}", finished.stdout, finished.stderr);
    for (what, number) in [("certificates replaced", "6"), ("policies replaced", "2")] {
        let line = finished.stdout.lines().find_map(|line| line.strip_prefix(what)).unwrap_or_default();
        assert_eq!(line.trim(), number, "{}", finished.stdout);
    }
}

/// Copies beside and renames, as a deployment should.
fn replace(with: &Path, place: &Path) {
    let staged = place.with_extension("staged");
    fs::copy(with, &staged).expect("a policy is copied");
    fs::rename(&staged, place).expect("a policy is renamed");
}
