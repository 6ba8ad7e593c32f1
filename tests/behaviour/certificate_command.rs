//! `handfast certificate` shows what a gateway has and judges what it is to get, with texts that name file and remedy.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use handfast_tests::gateway::{binary, finish};
use handfast_tests::tool::obey_file_modes;
use handfast_tests::{Client, Config, Finished, Gateway, Leaf, Scene, handfast, require_tool};
use serde_json::Value;
use tempfile::TempDir;

const USAGE: Option<i32> = Some(2);
const RUNTIME: Option<i32> = Some(1);
const GOOD: Option<i32> = Some(0);

#[test]
fn the_help_says_what_each_command_does() {
    for command in ["list", "show", "check"] {
        let folder = TempDir::new().expect("a scratch folder");
        let finished = handfast(folder.path(), &["certificate", command, "--help"]);
        assert_eq!(finished.code, GOOD);
        snapshot(&format!("certificate_{command}_help"), &finished, &[]);
    }
}

#[test]
fn a_list_without_a_gateway_shows_what_the_files_hold() {
    let desk = Desk::new();
    desk.scene.certificates.put(
        "many",
        &desk.scene.authority.server(&[
            "a.many.example",
            "b.many.example",
            "c.many.example",
            "d.many.example",
        ]),
    );
    desk.scene.certificates.put("old", &desk.scene.authority.issue(Leaf::server(&["old.example"]).expired()));
    let finished = desk.handfast(&["certificate", "list", "-c", "handfast.toml"]);
    assert_eq!(finished.code, GOOD, "{}", finished.stderr);
    desk.snapshot("certificate_list", &finished);
    let offline = desk.handfast(&["certificate", "list", "-c", "handfast.toml", "--offline"]);
    assert_eq!(
        (offline.stdout, offline.stderr.as_str()),
        (finished.stdout, ""),
        "who asks for it is not told"
    );
}

#[test]
fn everything_about_one_certificate_is_shown() {
    let desk = Desk::new();
    fs::write(
        desk.scene.certificates.path().join("a.example.toml"),
        "required = true\ntags = { team = \"shop\" }\n",
    )
    .expect("a file is written");
    let finished = desk.handfast(&["certificate", "show", "a.example", "-c", "handfast.toml", "--offline"]);
    assert_eq!(finished.code, GOOD, "{}", finished.stderr);
    assert!(finished.stdout.contains(&desk.scene.pairs[0].fingerprint()), "{}", finished.stdout);
    desk.snapshot("certificate_show", &finished);
}

#[test]
fn an_id_that_no_certificate_has_is_an_error() {
    let desk = Desk::new();
    let finished = desk.handfast(&["certificate", "show", "b.example", "-c", "handfast.toml", "--offline"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("certificate_show_unknown", &finished);
}

#[test]
fn a_configuration_that_does_not_exist_is_wrong_usage() {
    let desk = Desk::new();
    assert_eq!(desk.handfast(&["certificate", "list", "-c", "missing.toml"]).code, USAGE);
    assert_eq!(desk.handfast(&["certificate", "list"]).code, USAGE);
    assert_eq!(desk.handfast(&["certificate", "check"]).code, USAGE);
}

#[test]
fn a_running_gateway_is_asked_for_what_it_serves() {
    let desk = Desk::new();
    let gateway = desk.start();
    let stranger = desk.scene.authority.server(&["a.example"]);
    desk.scene.certificates.put_key("a.example", &stranger.key_pem);
    Client::new().connect(gateway.address("main"), "a.example").expect("the last good pair");
    gateway.wait_for("the report", |line| line.is("certificate not replaced"));

    let running = desk.handfast(&["certificate", "list", "-c", "running.toml"]);
    assert_eq!((running.code, running.stderr.as_str()), (GOOD, ""));
    desk.snapshot("certificate_list_running", &running);
    let shown = desk.handfast(&["certificate", "show", "a.example", "-c", "running.toml"]);
    assert!(shown.stdout.contains("last good kept"), "{}", shown.stdout);
    assert!(shown.stdout.contains(&desk.scene.pairs[0].fingerprint()), "{}", shown.stdout);

    let offline = desk.handfast(&["certificate", "list", "-c", "running.toml", "--offline"]);
    assert!(offline.stdout.contains("refused"), "a gateway that starts now has none: {}", offline.stdout);
    assert!(!offline.stdout.contains("last good kept"), "{}", offline.stdout);
}

#[test]
fn a_gateway_that_does_not_answer_is_named() {
    let desk = Desk::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    desk.write("running.toml", &format!("{CONFIG}\n[admin]\naddress = \"{free}\"\n"));
    let finished = desk.handfast(&["certificate", "list", "-c", "running.toml"]);
    assert_eq!(finished.code, GOOD);
    assert!(finished.stdout.contains("a.example"), "{}", finished.stdout);
    let note = format!("no gateway answers at {free}");
    assert!(finished.stderr.starts_with("note: ") && finished.stderr.contains(&note), "{}", finished.stderr);
}

#[test]
fn json_has_the_documented_members() {
    let desk = Desk::new();
    desk.scene.certificates.put("old", &desk.scene.authority.issue(Leaf::server(&["old.example"]).expired()));
    let gateway = desk.start();
    for (config, from) in [("running.toml", "gateway"), ("handfast.toml", "files")] {
        let list = desk.json(&["certificate", "list", "--json", "-c", config]);
        assert_eq!(list["from"], from);
        let certificates = list["certificates"].as_array().expect("a list");
        assert_eq!(certificates.len(), 2, "{list}");
        let [good, old] = [0, 1].map(|index| &certificates[index]);
        assert_eq!(
            (&good["id"], &good["state"], &good["error"]),
            (&"a.example".into(), &"current".into(), &Value::Null)
        );
        assert_eq!(good["names"], serde_json::json!(["a.example"]));
        assert_eq!((&good["algorithm"], &good["key_bits"]), (&"ecdsa-p256".into(), &256.into()));
        assert_eq!(good["not_after"], "2099-01-01T00:00:00Z");
        assert!(good["days_left"].as_i64().expect("a number") > 20_000, "{good}");
        assert_eq!(good["fingerprint"], desk.scene.pairs[0].fingerprint());
        assert_eq!((&old["state"], &old["not_after"]), (&"expired".into(), &"2021-01-01T00:00:00Z".into()));
        assert!(old["error"].as_str().expect("a text").contains("expired"), "{old}");
        assert!(good.get("chain").is_none());

        let shown = desk.json(&["certificate", "show", "a.example", "--json", "-c", config]);
        let chain = shown["certificates"][0]["chain"].as_array().expect("a list");
        assert_eq!(chain[0]["fingerprint"], desk.scene.pairs[0].fingerprint());
        let documented = fs::read_to_string(handfast_tests::repository().join("docs/observation.md"));
        let documented = documented.expect("the page is read");
        for member in shown["certificates"][0].as_object().expect("an object").keys() {
            assert!(documented.contains(&format!("`{member}`")), "`{member}` is not in docs/observation.md");
        }
    }
    drop(gateway);
}

#[test]
fn the_admin_listener_lists_page_by_page() {
    let scene = Scene::new(&["a.example", "b.example", "c.example"]);
    let gateway = scene.start();
    let ask = |query: &str| -> Value {
        let response = gateway.admin(&format!("/certificates{query}"));
        assert_eq!(response.status, 200);
        serde_json::from_str(&response.text()).expect("JSON")
    };
    assert_eq!(ask("")["certificates"].as_array().map(Vec::len), Some(3));
    let (mut ids, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = ask(&query);
        assert_eq!((&page["total"], page["certificates"].as_array().map(Vec::len)), (&3.into(), Some(1)));
        ids.push(page["certificates"][0]["id"].as_str().expect("an id").to_owned());
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=1&after={next}"),
            None => break,
        }
    }
    assert_eq!(ids, ["a.example", "b.example", "c.example"]);
    assert_eq!(ask("?id=b.example")["certificates"][0]["id"], "b.example");
    assert_eq!(ask("?id=none")["total"], 0);
    for wrong in ["?limit=0", "?limit=1001", "?ids=a", "?id=%ff"] {
        assert_eq!(gateway.admin(&format!("/certificates{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn pairs_that_claim_one_id_are_on_one_page() {
    let scene = Scene::new(&["a.example", "b.example"]);
    scene.certificates.put_kubernetes("a.example", &scene.authority.server(&["kube.example"]));
    let gateway = scene.start();
    let page: Value =
        serde_json::from_str(&gateway.admin("/certificates?limit=1").text()).expect("JSON of the listing");
    let of = |member: &str| -> Vec<&Value> {
        page["certificates"].as_array().expect("a list").iter().map(|item| &item[member]).collect()
    };
    assert_eq!(of("id"), ["a.example", "a.example"]);
    assert_eq!(of("state").iter().filter(|state| ***state == "refused").count(), 1, "{page}");
    assert_eq!((&page["total"], &page["next"]), (&3.into(), &"a.example".into()));
}

#[test]
fn good_pairs_pass_the_check_in_every_layout() {
    let scene = Scene::new(&["a.example"]);
    let pair = |name| scene.authority.server(&[name]);
    scene.certificates.put_combined("combined", &pair("combined.example"));
    scene.certificates.put_certbot("certbot", &pair("certbot.example"));
    scene.certificates.put_kubernetes("kubernetes", &pair("kube.example"));
    let check = |paths: &[&str]| {
        let arguments: Vec<&str> = ["certificate", "check"].iter().chain(paths).copied().collect();
        handfast(scene.certificates.path(), &arguments)
    };
    for (paths, pairs) in [
        (&["."][..], "4 pairs"),
        (&["a.example.crt"], "1 pair"),
        (&["a.example.key", "a.example.crt"], "1 pair"),
        (&["certbot/privkey.pem", "combined.pem"], "2 pairs"),
        (&["kubernetes", "kubernetes/tls.crt"], "1 pair"),
    ] {
        let finished = check(paths);
        assert_eq!((finished.code, finished.stderr.as_str()), (GOOD, ""), "{paths:?} {}", finished.stdout);
        assert_eq!(finished.stdout, format!("good: {pairs}\n"), "{paths:?}");
    }
}

#[test]
fn the_check_finds_what_a_gateway_would_refuse() {
    let scene = Scene::new(&["good.example"]);
    let folder = &scene.certificates;
    let pair = scene.authority.server(&["a.example"]);
    folder.put("expired", &scene.authority.issue(Leaf::server(&["a.example"]).expired()));
    folder.put("mismatched", &pair);
    folder.put_key("mismatched", &scene.authority.server(&["a.example"]).key_pem);
    folder.put("cut-off", &pair);
    folder.put_certificate("cut-off", &pair.certificates_pem[..300]);
    folder.put("encrypted", &pair);
    folder.put_key("encrypted", &pair.key_pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    folder.put("open", &scene.authority.server(&["open.example"]));
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join("open.key"), open).expect("a mode is set");
    folder.put("settings", &pair);
    fs::write(folder.path().join("settings.toml"), "requird = true\n").expect("a file is written");
    folder.put_key("lone", &pair.key_pem);
    fs::write(folder.path().join("good.example.crt.toml"), "required = true\n").expect("a file is written");
    folder.put("nobody", &scene.authority.server(&["nobody.example", "f*.nobody.example"]));
    let finished = handfast(folder.path(), &["certificate", "check", ".", "missing.crt", "/dev/null"]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
    snapshot("certificate_check", &finished, &[(folder.path(), "[certificates]")]);

    let finished = handfast(folder.path(), &["certificate", "check", "open.crt", "--allow-readable-keys"]);
    assert_eq!(finished.code, GOOD, "{}", finished.stdout);
    let empty = TempDir::new().expect("a scratch folder");
    let finished = handfast(empty.path(), &["certificate", "check", "."]);
    assert_eq!(finished.code, RUNTIME, "nothing was checked: {}", finished.stdout);
}

#[test]
fn the_check_of_a_configuration_includes_its_certificates() {
    let desk = Desk::new();
    desk.scene.certificates.put("old", &desk.scene.authority.issue(Leaf::server(&["old.example"]).expired()));
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("check_with_a_bad_certificate", &finished);
}

/// Once, it was a line of the log among the findings.
#[test]
fn the_check_of_a_configuration_tells_of_a_response_that_is_not_stapled() {
    let desk = Desk::new();
    desk.scene.certificates.put_ocsp("a.example", b"no response");
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (GOOD, ""), "{}", finished.stdout);
    assert!(finished.stdout.starts_with("warning: a.example: no OCSP staple: "), "{}", finished.stdout);
    let shown = desk.json(&["certificate", "show", "a.example", "--json", "-c", "handfast.toml"]);
    let certificate = &shown["certificates"][0];
    assert_eq!(certificate["ocsp"], "missing");
    assert!(certificate["ocsp_error"].as_str().is_some_and(|error| !error.is_empty()), "{shown}");
    let shown = desk.handfast(&["certificate", "show", "a.example", "-c", "handfast.toml"]).stdout;
    assert!(shown.contains("\nocsp error    "), "{shown}");

    desk.scene
        .certificates
        .put("must", &desk.scene.authority.issue(Leaf::server(&["b.example"]).must_staple()));
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    let warning =
        "warning: must: no OCSP staple: clients insist on a staple and there is none; put a response";
    assert!(finished.stdout.contains(warning), "{}", finished.stdout);
}

#[test]
fn the_check_of_a_configuration_names_what_is_required_and_not_there() {
    let scene = Scene::new(&["a.example"]);
    let config = scene.config_with_source("required = [\"a.exampel\"]");
    let folder = TempDir::new().expect("a scratch folder");
    fs::write(folder.path().join("handfast.toml"), config.text()).expect("a file is written");
    let finished = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
    assert!(finished.stdout.starts_with("error: a.exampel: is required"), "{}", finished.stdout);
}

/// Once, the check was silent about what the sources hold and nobody serves.
#[test]
fn the_check_and_the_list_tell_of_a_folder_that_cannot_be_listed() {
    let shown = std::thread::spawn(|| {
        obey_file_modes();
        let desk = Desk::new();
        let secret = desk.scene.certificates.path().join("secret");
        fs::create_dir(&secret).expect("a folder is made");
        let set_mode = |mode| {
            fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).expect("a mode is set");
        };
        set_mode(0o000);
        let checked = desk.handfast(&["check", "-c", "handfast.toml"]);
        let files = desk.handfast(&["certificate", "check", "certificates"]);
        let listed = desk.handfast(&["certificate", "list", "-c", "handfast.toml"]);
        let gateway = desk.start();
        let running = desk.handfast(&["certificate", "list", "-c", "running.toml"]);
        let left_out = gateway.metric("handfast_certificates_left_out", &[]);
        set_mode(0o700);
        assert_eq!(checked.code, RUNTIME, "{}", checked.stdout);
        desk.snapshot("check_with_an_unlisted_folder", &checked);
        assert_eq!(files.code, RUNTIME, "{}", files.stdout);
        let text = "secret cannot be listed; check its permissions";
        for finished in [&files, &listed, &running] {
            assert!(finished.stdout.contains(text), "{}", finished.stdout);
        }
        assert_eq!((listed.code, running.code), (GOOD, GOOD));
        desk.snapshot("certificate_list_with_an_unlisted_folder", &listed);
        assert_eq!(left_out, 1.0);
    });
    if let Err(panic) = shown.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_folder_that_is_too_deep_fails_the_check_and_a_key_alone_does_not() {
    let desk = Desk::new();
    let folder = desk.scene.certificates.path();
    desk.scene.certificates.put_key("lone", &desk.scene.pairs[0].key_pem);
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, GOOD, "{}", finished.stderr);
    desk.snapshot("check_with_a_key_alone", &finished);

    fs::create_dir_all(folder.join("1/2/3/4/5/6/7/8/9")).expect("folders are made");
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
    let error = format!("error: certificates: {}/certificates/1/2/3", desk.path().display());
    assert!(finished.stdout.starts_with(&error), "{}", finished.stdout);
    assert!(finished.stdout.contains("is more than 8 folders deep; move it up"), "{}", finished.stdout);

    let list = desk.json(&["certificate", "list", "--json", "-c", "handfast.toml"]);
    let severities: Vec<_> = findings(&list).iter().map(|finding| &finding["severity"]).collect();
    assert_eq!(severities, ["error", "warning"], "{list}");
    assert!(findings(&list).iter().all(|finding| finding["subject"] == "certificates"), "{list}");
    let shown = desk.json(&["certificate", "show", "a.example", "--json", "-c", "handfast.toml"]);
    assert_eq!(shown["findings"], serde_json::json!([]));
}

/// Once, nothing told that such settings are nobody's, and such a name was listed like one that is served.
#[test]
fn settings_of_no_pair_and_names_that_match_nothing_are_warned_of() {
    let desk = Desk::new();
    let scene = &desk.scene;
    let stray = scene.certificates.path().join("typo.toml");
    fs::write(&stray, "required = true\n").expect("a file is written");
    scene.certificates.put("odd", &scene.authority.server(&["*.*.odd.example", "odd.example"]));
    let checked = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(checked.code, GOOD, "{}", checked.stdout);
    let listed = desk.handfast(&["certificate", "list", "-c", "handfast.toml"]);
    let text = "odd: has the name *.*.odd.example, which matches nothing";
    assert!(checked.stdout.contains(text), "{}", checked.stdout);
    let nobodys = "typo.toml belongs to no pair; name it like the file of a certificate";
    for finished in [&checked, &listed] {
        assert!(finished.stdout.contains(nobodys), "{}", finished.stdout);
    }
    fs::rename(stray, scene.certificates.path().join("odd.toml")).expect("a file is renamed");
    let checked = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert!(!checked.stdout.contains("belongs to no pair"), "{}", checked.stdout);
}

/// Once, the first scan told all of it a second time.
#[test]
fn a_gateway_tells_of_what_it_leaves_out_once() {
    let scene = Scene::new(&["a.example"]);
    scene.certificates.put_key("lone", &scene.pairs[0].key_pem);
    let config = scene.config_with_source("scan-interval = \"1s\"");
    let gateway = Gateway::start(&config);
    let at_the_start = gateway.lines(|line| line.is("certificate source"));
    assert_eq!(at_the_start.len(), 1, "{}", gateway.log_text());
    assert_eq!(at_the_start[0].text("level"), "WARN");
    assert!(at_the_start[0].text("finding").contains("lone.key has no certificate beside it"));
    assert_eq!(gateway.metric("handfast_certificates_left_out", &[]), 1.0);

    // A later one is told of by a scan, and what both scans know is not told again.
    scene.certificates.put_key("later", &scene.pairs[0].key_pem);
    let line = gateway.wait_for("the key that came later", |line| line.is("left out"));
    assert_eq!(line.text("level"), "WARN");
    assert_eq!(line.text("source"), "files");
    assert!(line.text("reason").contains("later.key has no certificate beside it"), "{line}");
    scene.certificates.put("b.example", &scene.authority.server(&["b.example"]));
    gateway.wait_for("another scan", |line| line.is("certificate added"));
    let told = |message: &str, field: &str, file: &str| {
        gateway.lines(|line| line.is(message) && line.text(field).contains(file)).len()
    };
    assert_eq!(told("left out", "reason", "later.key"), 1, "{}", gateway.log_text());
    assert_eq!(told("left out", "reason", "lone.key"), 0, "{}", gateway.log_text());
    assert_eq!(told("certificate source", "finding", "lone.key"), 1, "{}", gateway.log_text());
}

#[test]
fn the_check_finds_pairs_that_claim_one_id() {
    let scene = Scene::new(&["a.example"]);
    scene.certificates.put_kubernetes("a.example", &scene.authority.server(&["kube.example"]));
    let check =
        |paths: &[&str]| handfast(scene.certificates.path(), &[&["certificate", "check"], paths].concat());
    let finished = check(&["."]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
    let text = "error: ./a.example.crt belongs to \"a.example\", which ./a.example/tls.crt already has; rename one\n";
    assert_eq!(finished.stdout, text);
    let finished = check(&["a.example", "a.example.crt"]);
    assert_eq!(finished.code, GOOD, "asked for one by one they are of no source: {}", finished.stdout);
}

#[test]
fn an_expired_pair_passes_the_check_where_it_is_to_be_served() {
    let scene = Scene::new(&["a.example"]);
    scene.certificates.put("old", &scene.authority.issue(Leaf::server(&["old.example"]).expired()));
    let check = |arguments: &[&str]| {
        let arguments = [&["certificate", "check", "old.crt"], arguments].concat();
        handfast(scene.certificates.path(), &arguments)
    };
    assert_eq!(check(&[]).code, RUNTIME);
    let finished = check(&["--serve-expired"]);
    assert_eq!(finished.code, GOOD, "{}", finished.stdout);
    let text = "warning: old.crt expired on 2021-01-01T00:00:00Z; renew it\ngood: 1 pair, 1 warning\n";
    assert_eq!(finished.stdout.replace("./old.crt", "old.crt"), text);
}

#[test]
fn the_findings_of_a_check_are_json_where_that_is_asked_for() {
    let scene = Scene::new(&["a.example"]);
    let folder = &scene.certificates;
    folder.put("old", &scene.authority.issue(Leaf::server(&["old.example"]).expired()));
    folder.put_key("lone", &scene.pairs[0].key_pem);
    let check = |path: &str| {
        let finished = handfast(folder.path(), &["certificate", "check", path, "--json"]);
        let json: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        (finished.code, json, finished.stderr)
    };
    let (code, json, stderr) = check(".");
    assert_eq!((code, stderr.as_str()), (RUNTIME, "error: 1 error in 2 pairs\n"));
    assert_eq!((&json["good"], &json["pairs"]), (&false.into(), &2.into()));
    let [expired, lone] = &findings(&json)[..] else { panic!("{json}") };
    assert_eq!((&expired["severity"], &expired["subject"]), (&"error".into(), &"./old.crt".into()));
    assert!(expired["text"].as_str().is_some_and(|text| text.ends_with("; renew it")), "{json}");
    assert_eq!((&lone["severity"], &lone["subject"]), (&"warning".into(), &"./lone.key".into()));
    let page = fs::read_to_string(handfast_tests::repository().join("docs/observation.md"));
    let page = page.expect("the page is read");
    for member in ["good", "pairs", "findings", "severity", "subject", "text"] {
        assert!(page.contains(&format!("`{member}`")), "`{member}` is not in docs/observation.md");
    }
    let (code, json, _) = check("a.example.crt");
    assert_eq!((code, &json["good"], findings(&json).len()), (GOOD, &true.into(), 0), "{json}");
}

#[test]
fn what_names_say_does_not_reach_the_terminal_as_it_is() {
    let desk = Desk::new();
    let organisation = "Evil\u{1b}[2J\u{202e}Corp";
    let leaf = Leaf::server(&["evil.example"]).organizational_unit(organisation);
    desk.scene.certificates.put("e\u{1b}[31mvil\u{202e}", &desk.scene.authority.issue(leaf));
    desk.scene.certificates.put_certificate("b\u{9b}roken", "not a certificate");
    desk.scene.certificates.put_key("b\u{9b}roken", "not a key");
    desk.scene.certificates.put_key("al\u{9b}one", "not a key");
    let commands: [&[&str]; 6] = [
        &["certificate", "list", "--offline", "-c", "handfast.toml"],
        &["certificate", "list", "--offline", "--json", "-c", "handfast.toml"],
        &["certificate", "show", "e\u{1b}[31mvil\u{202e}", "--offline", "-c", "handfast.toml"],
        &["certificate", "check", "certificates"],
        &["certificate", "check", "--json", "certificates"],
        &["certificate", "show", "no\u{1b}ne", "--offline", "-c", "handfast.toml"],
    ];
    for command in commands {
        let Finished { stdout, stderr, .. } = desk.handfast(command);
        let harmful =
            |character: char| (character.is_control() && character != '\n') || character == '\u{202e}';
        assert!(!stdout.contains(harmful), "{command:?}: {stdout:?}");
        assert!(!stderr.contains(harmful), "{command:?}: {stderr:?}");
        assert!(format!("{stdout}{stderr}").contains("\\u"), "{command:?}: {stdout:?} {stderr:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_quietly_and_a_full_disk_does_not() {
    require_tool("bash", "bash");
    let desk = Desk::new();
    let commands: [&[&str]; 3] = [
        &["certificate", "list", "--offline", "-c", "handfast.toml"],
        &["certificate", "list", "--offline", "--json", "-c", "handfast.toml"],
        &["certificate", "check", "certificates"],
    ];
    let run = |script: &str, command: &[&str]| {
        let mut shell = Command::new("bash");
        shell.args(["-c", script]).arg(binary()).args(command).current_dir(desk.path());
        finish(shell)
    };
    for command in commands {
        let finished = run("set -o pipefail; \"$0\" \"$@\" | :", command);
        assert_eq!((finished.code, finished.stderr.as_str()), (GOOD, ""), "{command:?}");
        let finished = run("\"$0\" \"$@\" >/dev/full", command);
        assert_eq!(finished.code, RUNTIME, "{command:?}");
        assert!(finished.stderr.starts_with("error: cannot write to standard output"), "{}", finished.stderr);
    }
}

fn findings(json: &Value) -> &Vec<Value> {
    json["findings"].as_array().unwrap_or_else(|| panic!("no findings: {json}"))
}

/// What the commands are run on.
const CONFIG: &str = r#"[[listener]]
name = "main"
address = "127.0.0.1:0"

[[certificate-source]]
kind = "directory"
path = "certificates"

[[upstream]]
name = "echo"
endpoints = ["127.0.0.1:1"]

[[route]]
hosts = ["*"]
upstream = "echo"
"#;

/// A folder with the configuration `handfast.toml`, whose certificates are in `certificates`.
struct Desk {
    folder: TempDir,
    scene: Scene,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().expect("a scratch folder");
        let scene = Scene::new(&["a.example"]);
        let link = folder.path().join("certificates");
        std::os::unix::fs::symlink(scene.certificates.path(), link).expect("a symlink is made");
        let desk = Self { folder, scene };
        desk.write("handfast.toml", CONFIG);
        desk
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file is written");
    }

    /// Starts a gateway on the same certificates, and writes the configuration that leads to it: `running.toml`.
    fn start(&self) -> Gateway {
        let config = Config::serving(&self.scene.certificates, self.scene.upstream.address());
        let gateway = Gateway::start(&config);
        let address = gateway.admin_address();
        self.write("running.toml", &format!("{CONFIG}\n[admin]\naddress = \"{address}\"\n"));
        gateway
    }

    #[track_caller]
    fn handfast(&self, arguments: &[&str]) -> Finished {
        handfast(self.path(), arguments)
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.handfast(arguments);
        assert_eq!(finished.code, GOOD, "{}", finished.stderr);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {}", finished.stdout))
    }

    #[track_caller]
    fn snapshot(&self, name: &str, finished: &Finished) {
        let folders = [(self.path(), "[folder]"), (self.scene.certificates.path(), "[certificates]")];
        snapshot(name, finished, &folders);
    }
}

/// Exit code and output, without what differs from run to run.
#[track_caller]
fn snapshot(name: &str, finished: &Finished, folders: &[(&Path, &str)]) {
    let Finished { code, stdout, stderr } = finished;
    let code = code.map_or("killed".to_owned(), |code| code.to_string());
    let shown = format!("exit code: {code}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    for (folder, placeholder) in folders {
        settings.add_filter(&folder.display().to_string().replace('.', "\\."), *placeholder);
    }
    settings.add_filter(r"\b2\d{4}\b| -\d{4,}\b", "[days]");
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
    settings.add_filter(r"(serial +)[0-9a-f]+", "${1}[serial]");
    settings.bind(|| insta::assert_snapshot!(name, shown));
}
