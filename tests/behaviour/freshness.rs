//! Replaced files: the next ClientHello gets the new pair, and a broken pair never goes live.

use std::fs;
use std::net::SocketAddr;

use handfast_tests::{Client, Curl, Gateway, Key, Leaf, Load, Pair, Refusal, Scene, eventually};
use rustls::SignatureScheme;
use tempfile::TempDir;

use crate::guest::{component, decision, select_module};

#[test]
fn the_first_hello_after_the_rename_gets_the_new_pair() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let load = Load::start(2, move || {
        Client::new().connect(address, "a.example").map(|session| session.certificate())
    });
    load.wait_for_rounds(10);
    let mut issued = vec![scene.pairs[0].fingerprint()];
    for _ in 0..50 {
        let pair = scene.authority.server(&["a.example"]);
        issued.push(pair.fingerprint());
        scene.certificates.put("a.example", &pair);
        assert_eq!(served(address, "a.example"), pair.fingerprint(), "the hello after the rename");
    }
    for certificate in load.stop() {
        // Between the two renames key and certificate do not match: the pair before is right then.
        assert!(
            issued.contains(&certificate.expect("no handshake fails")),
            "a certificate that was never issued"
        );
    }
    assert_eq!(served(address, "b.example"), scene.pairs[1].fingerprint());
}

#[test]
fn each_layout_is_replaced_by_its_own_kind_of_rename() {
    let scene = Scene::new(&[]);
    let pair = |name| scene.authority.server(&[name]);
    scene.certificates.put_combined("combined", &pair("combined.example"));
    scene.certificates.put_certbot("certbot", &pair("certbot.example"));
    scene.certificates.put_kubernetes("kubernetes", &pair("kube.example"));
    let gateway = scene.start();
    let address = gateway.address("main");
    for _ in 0..3 {
        let (combined, certbot, kube) =
            (pair("combined.example"), pair("certbot.example"), pair("kube.example"));
        scene.certificates.put_combined("combined", &combined);
        assert_eq!(served(address, "combined.example"), combined.fingerprint());
        scene.certificates.put_certbot("certbot", &certbot);
        assert_eq!(served(address, "certbot.example"), certbot.fingerprint());
        scene.certificates.put_kubernetes("kubernetes", &kube);
        assert_eq!(served(address, "kube.example"), kube.fingerprint());
    }
}

#[test]
fn a_replacement_is_reported_with_its_fingerprint() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let pair = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &pair);
    assert_eq!(served(gateway.address("main"), "a.example"), pair.fingerprint());
    let line = gateway.wait_for("the replacement", |line| {
        line.is("certificate replaced") && line.text("fingerprint") == pair.fingerprint()
    });
    assert_eq!(line.text("certificate"), "a.example");
}

#[test]
fn a_mismatched_key_keeps_the_last_good_pair_and_is_reported_once() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let stranger = scene.authority.server(&["a.example"]);
    scene.certificates.put_key("a.example", &stranger.key_pem);
    for _ in 0..5 {
        assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
    }
    gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    let reports = gateway.lines(|line| line.is("certificate not replaced"));
    assert_eq!(reports.len(), 1, "{}", gateway.log_text());
    assert_eq!(reports[0].text("certificate"), "a.example");
    assert_eq!(reports[0].text("level"), "WARN");
    assert!(!reports[0].text("error").is_empty(), "{}", reports[0]);

    scene.certificates.put_certificate("a.example", &stranger.certificates_pem);
    assert_eq!(served(address, "a.example"), stranger.fingerprint(), "the pair is whole again");
}

#[test]
fn a_file_that_is_no_certificate_keeps_the_last_good_pair() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let half = &scene.pairs[0].certificates_pem[..200];
    for (count, broken) in ["", "not a certificate", half].into_iter().enumerate() {
        scene.certificates.put_certificate("a.example", broken);
        assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
        gateway.wait_for_nth(count + 1, "the report", |line| line.is("certificate not replaced"));
    }
}

#[test]
fn an_expired_certificate_does_not_replace_a_good_one() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    scene.certificates.put("a.example", &scene.authority.issue(Leaf::server(&["a.example"]).expired()));
    assert_eq!(served(gateway.address("main"), "a.example"), scene.pairs[0].fingerprint());
    gateway.wait_for("the report", |line| line.is("certificate not replaced"));
}

#[test]
fn a_pair_written_in_place_is_never_served_half() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let load = Load::start(2, move || {
        Client::new().connect(address, "a.example").map(|session| session.certificate())
    });
    let mut issued = vec![scene.pairs[0].fingerprint()];
    for _ in 0..10 {
        let pair = scene.authority.server(&["a.example"]);
        issued.push(pair.fingerprint());
        write_in_place(&scene, &pair);
        load.wait_for_rounds(4);
    }
    assert_eq!(&served(address, "a.example"), issued.last().expect("some were issued"));
    for certificate in load.stop() {
        assert!(
            issued.contains(&certificate.expect("no handshake fails")),
            "a certificate that was never issued"
        );
    }
}

#[test]
fn a_new_certificate_is_found_by_the_first_client_that_asks_for_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let refusal = Client::new().connect(address, "new.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    let pair = scene.authority.server(&["new.example"]);
    scene.certificates.put("new", &pair);
    assert_eq!(served(address, "new.example"), pair.fingerprint());
    let deep = scene.authority.server(&["deep.example"]);
    scene.certificates.put("some/folder/deep", &deep);
    assert_eq!(served(address, "deep.example"), deep.fingerprint());
}

/// By a policy that looks nothing up and names the certificate by the id that it was written with.
#[test]
fn a_new_certificate_is_found_by_the_first_client_that_a_policy_names_it_for() {
    let scene = Scene::new(&["a.example"]);
    let folder = TempDir::new().expect("a scratch folder");
    let file = folder.path().join("policy.wasm");
    let answer = decision(1, (0, 0), "late", None);
    fs::write(&file, component(&["select"], &select_module("", &answer))).expect("a component is written");
    let config = scene.config().main_listener("policies = [\"by-id\"]").policy("by-id", &file, "");
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let refusal = Client::new().connect(address, "a.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("internal_error"));
    let pair = scene.authority.server(&["a.example"]);
    scene.certificates.put("late", &pair);
    assert_eq!(served(address, "a.example"), pair.fingerprint());
}

#[test]
fn names_that_a_replacement_adds_or_gives_up_follow_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let wider = scene.authority.server(&["a.example", "also.example"]);
    scene.certificates.put("a.example", &wider);
    assert_eq!(served(address, "also.example"), wider.fingerprint());
    let narrower = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &narrower);
    assert_eq!(served(address, "a.example"), narrower.fingerprint());
    let refusal = Client::new().connect(address, "also.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
}

#[test]
fn a_deleted_pair_serves_on_unless_its_source_withdraws_it() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let delete = || {
        for extension in ["crt", "key"] {
            fs::remove_file(scene.certificates.path().join(format!("a.example.{extension}")))
                .expect("a file");
        }
    };
    let gateway = scene.start();
    delete();
    assert_eq!(served(gateway.address("main"), "a.example"), scene.pairs[0].fingerprint());
    let line = gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    assert!(line.flag("gone"));

    scene.certificates.put("a.example", &scene.pairs[0]);
    let config = scene.config_with_source("on-delete = \"withdraw\"");
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
    delete();
    let refusal = Client::new().connect(address, "a.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    gateway.wait_for("the report", |line| line.is("certificate withdrawn"));
    let back = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &back);
    assert_eq!(served(address, "a.example"), back.fingerprint());
}

/// Once, each client with an unknown name wrote a line of its own.
#[test]
fn a_folder_that_is_gone_is_told_of_once_however_many_ask() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let (folder, away) = (scene.certificates.path(), scene.certificates.path().with_extension("away"));
    fs::rename(folder, &away).expect("a folder is renamed");
    for number in 0..5 {
        Client::new().connect(address, &format!("{number}.example")).expect_err("a refusal");
    }
    assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
    let told =
        |line: &handfast_tests::Line| line.text("message").starts_with("certificates cannot be scanned");
    gateway.wait_for("the report", told);
    assert_eq!(gateway.lines(told).len(), 1, "{}", gateway.log_text());
    fs::rename(&away, folder).expect("a folder is renamed");
    let pair = scene.authority.server(&["b.example"]);
    scene.certificates.put("b.example", &pair);
    assert_eq!(served(address, "b.example"), pair.fingerprint());
}

/// Once, the log said that what is loaded keeps serving.
#[test]
fn with_the_folder_go_its_pairs_where_they_are_to_be_withdrawn() {
    let scene = Scene::new(&["a.example"]);
    let config = scene.config_with_source("on-delete = \"withdraw\"");
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let (folder, away) = (scene.certificates.path(), scene.certificates.path().with_extension("away"));
    fs::rename(folder, &away).expect("a folder is renamed");
    Client::new().connect(address, "a.example").expect_err("a refusal");
    Client::new().connect(address, "b.example").expect_err("a refusal");
    gateway.wait_for("the report", |line| {
        line.is("certificates cannot be scanned; those whose files are gone are withdrawn")
    });
    fs::rename(&away, folder).expect("a folder is renamed");
    assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
}

#[test]
fn settings_beside_a_pair_are_as_fresh_as_it_is_and_a_mistake_in_them_is_located() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let settings = scene.certificates.path().join("a.example.toml");
    fs::write(&settings, "tags = { zone = \"one\" }").expect("a file is written");
    assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
    gateway.wait_for("the change", |line| line.is("certificate replaced"));
    fs::write(&settings, "requird = true").expect("a file is written");
    assert_eq!(served(address, "a.example"), scene.pairs[0].fingerprint());
    let line = gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    let error = line.text("error");
    assert!(error.contains("a.example.toml:1:1") && error.contains("did you mean `required`?"), "{error}");
}

#[test]
fn with_events_a_change_goes_live_without_a_look_of_a_handshake() {
    let scene = Scene::new(&["a.example"]);
    let config = scene.config_with_source("freshness = \"events\"\nscan-interval = \"1s\"");
    let gateway = Gateway::start(&config);
    let address = gateway.address("main");
    let pair = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &pair);
    eventually("the new pair", || (served(address, "a.example") == pair.fingerprint()).then_some(()));
}

/// Once, a client that could not use the pair from before was refused on its account, without a look at the files.
#[test]
fn a_client_that_can_use_only_the_new_pair_gets_it() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let ecdsa_only = Client::new().schemes(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
    for _ in 0..20 {
        let unusable = scene.authority.issue(Leaf::server(&["a.example"]).key(Key::Ed25519));
        scene.certificates.put("a.example", &unusable);
        assert_eq!(served(address, "a.example"), unusable.fingerprint());
        assert_eq!(
            ecdsa_only.connect(address, "a.example").expect_err("a refusal"),
            Refusal::Alert("handshake_failure")
        );
        let usable = scene.authority.server(&["a.example"]);
        scene.certificates.put("a.example", &usable);
        let session = ecdsa_only.connect(address, "a.example").expect("a handshake");
        assert_eq!(session.certificate(), usable.fingerprint());
    }
}

/// Once, a new pair was not looked for where another one had the name already, even if that one was of no use.
#[test]
fn a_client_that_can_use_only_a_pair_that_was_added_gets_it() {
    let scene = Scene::new(&["other.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let ecdsa_only = Client::new().schemes(&[SignatureScheme::ECDSA_NISTP256_SHA256]);
    for number in 0..20 {
        let name = format!("{number}.example");
        let unusable = scene.authority.issue(Leaf::server(&[&name]).key(Key::Ed25519));
        scene.certificates.put(&format!("{number}-unusable"), &unusable);
        assert_eq!(served(address, &name), unusable.fingerprint());
        let added = scene.authority.server(&[&name]);
        scene.certificates.put(&format!("{number}-added"), &added);
        let session = ecdsa_only.connect(address, &name).expect("a handshake with the added pair");
        assert_eq!(session.certificate(), added.fingerprint());
    }
}

#[test]
fn a_connection_in_use_is_not_disturbed_by_a_replacement() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let mut session = Client::new().connect(address, "a.example").expect("a handshake");
    assert_eq!(session.get("/before").expect("a response").status, 200);
    let pair = scene.authority.server(&["a.example"]);
    scene.certificates.put("a.example", &pair);
    assert_eq!(served(address, "a.example"), pair.fingerprint());
    assert_eq!(session.get("/after").expect("a response").status, 200);
    assert_eq!(Curl::new(&scene.authority, address).get("https://a.example/").status, 200);
}

#[track_caller]
fn served(address: SocketAddr, name: &str) -> String {
    Client::new().connect(address, name).expect("a handshake").certificate()
}

/// The careless way: truncate and write, the certificate first.
fn write_in_place(scene: &Scene, pair: &Pair) {
    let path = |extension| scene.certificates.path().join(format!("a.example.{extension}"));
    fs::write(path("crt"), &pair.certificates_pem).expect("a file is written");
    fs::write(path("key"), &pair.key_pem).expect("a file is written");
}
