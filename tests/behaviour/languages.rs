//! Policies in Rust, C, Go, Python and TypeScript: the examples in `examples/policies`, built from source by
//! `cargo xtask languages` and `cargo xtask plugins`, on live handshakes; and the pages in `docs/policies`, run as they stand.
//!
//! What a page installs is answered by stubs with what `cargo xtask languages` has installed: the same packages of the same
//! versions, and a test says so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handfast_tests::config::client_certificates;
use handfast_tests::gateway::{binary, handfast};
use handfast_tests::{
    Authority, CertificateFolder, Client, Config, Gateway, Leaf, Pair, Refusal, Scene, eventually, plugin,
    repository, require_tool,
};
use tempfile::TempDir;

use crate::examples::{blocks, run_blocks};

#[test]
fn the_policy_in_rust_gives_a_share_of_the_clients_the_new_certificate() {
    let scene = Scene::new(&["a.example"]);
    let canary = CertificateFolder::new();
    let new = scene.authority.server(&["a.example"]);
    canary.put("new", &new);
    let config = |percent: u8| {
        let keys = format!("config = {{ tls13-only = [\"a.example\"], canary-percent = {percent} }}");
        with_policy(&scene, "custom-policy", &keys)
            .certificates("canary", canary.path())
            .with_last("tags = { canary = \"yes\" }")
    };
    let gateway = Gateway::start(&config(0));
    let connect = |client: Client| client.connect(gateway.address("main"), "a.example");
    let session = connect(Client::new().tls13()).expect("a handshake");
    assert_eq!(session.certificate(), scene.pairs[0].fingerprint());
    let refusal = connect(Client::new().tls12()).expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("protocol_version"));

    gateway.reload(&config(100));
    let session = connect(Client::new().tls13()).expect("a handshake");
    assert_eq!(session.certificate(), new.fingerprint());
    let line =
        gateway.wait_for("the canary", |line| line.is("connection") && line.text("reason") == "canary");
    assert_eq!(line.text("policy"), "under-test", "{line}");
}

#[test]
fn the_policy_in_c_turns_clients_away_by_fingerprint() {
    let scene = Scene::new(&["a.example"]);
    let config = with_policy(&scene, "refuse-ja4", "config = { deny = [\"t12\"], alert = 49 }");
    let gateway = Gateway::start(&config);
    let connect = |client: Client| client.connect(gateway.address("main"), "a.example");
    connect(Client::new().tls13()).expect("a handshake");
    assert_eq!(connect(Client::new().tls12()).expect_err("a refusal"), Refusal::Alert("access_denied"));
    let line =
        gateway.wait_for("the refusal", |line| line.is("connection") && line.text("verdict") == "reject");
    let reason = line.text("reason");
    assert!(reason.starts_with("JA4 t12") && reason.ends_with(" is denied"), "{line}");
    assert_eq!(reason.len(), "JA4  is denied".len() + 36, "{line}");

    let drops = with_policy(&scene, "refuse-ja4", "config = { deny = [\"t13\"] }");
    gateway.reload(&drops);
    assert_eq!(connect(Client::new().tls13()).expect_err("a refusal"), Refusal::Closed);
    connect(Client::new().tls12()).expect("a handshake");
}

#[test]
fn the_policy_in_typescript_keeps_tenants_to_their_own_certificates() {
    let scene = Scene::new(&["free.example"]);
    let (acme, globex) = (CertificateFolder::new(), CertificateFolder::new());
    let shop = scene.authority.server(&["shop.acme.example"]);
    acme.put("shop", &shop);
    // What somebody else's tools put into their own folder, newer or not, is not served for it.
    globex.put("shop", &scene.authority.server(&["shop.acme.example"]));
    globex.put("pay", &scene.authority.server(&["pay.acme.example"]));
    let config = with_policy(
        &scene,
        "tenants",
        "config = { tenants = { acme = [\"*.acme.example\"], globex = [\"globex.example\"] } }",
    )
    .certificates("acme", acme.path())
    .with_last("tags = { tenant = \"acme\" }")
    .certificates("globex", globex.path())
    .with_last("tags = { tenant = \"globex\" }");
    let gateway = Gateway::start(&config);
    let connect = |name| Client::new().connect(gateway.address("main"), name);

    assert_eq!(connect("shop.acme.example").expect("a handshake").certificate(), shop.fingerprint());
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!((line.text("policy"), line.text("reason")), ("under-test", "tenant acme"));
    let refusal = connect("pay.acme.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    let line =
        gateway.wait_for("the policy's line", |line| line.to_string().contains("acme has no certificate"));
    assert!(
        line.to_string().contains("acme has no certificate for pay.acme.example that 127.0.0.1 can use"),
        "{line}"
    );
    let session = connect("free.example").expect("a handshake");
    assert_eq!(session.certificate(), scene.pairs[0].fingerprint(), "left to the next policy");
}

#[test]
fn the_policy_in_python_tells_upstreams_which_workload_a_client_is() {
    let scene = Scene::new(&["a.example"]);
    let config = with_policy_for(
        &scene,
        &client_certificates("require", &scene.authority),
        "client-headers",
        "instances = \"reuse\"\nconfig = { trust-domain = \"example.org\", paths = [\"/ns/shop/*\"] }",
    );
    let gateway = Gateway::start(&config);
    let get = |uri: &str| {
        let client = scene.authority.issue(Leaf::client("till").uri(uri));
        (Client::new().identity(&client).get(gateway.address("main"), "a.example", "/"), client)
    };

    let (response, till) = get("spiffe://example.org/ns/shop/sa/till");
    let response = response.expect("a response");
    let seen = response.text();
    for (name, value) in [
        ("spiffe-id", "spiffe://example.org/ns/shop/sa/till"),
        ("namespace", "shop"),
        ("common-name", "till"),
        ("certificate", till.fingerprint().as_str()),
    ] {
        assert!(seen.contains(&format!("[\"x-client-{name}\",\"{value}\"]")), "{name} in {seen}");
    }
    for (uri, alert) in [
        ("spiffe://elsewhere.org/ns/shop/sa/till", "unknown_ca"),
        ("spiffe://example.org/ns/other/sa/till", "access_denied"),
        ("https://example.org/", "bad_certificate"),
    ] {
        assert_eq!(get(uri).0.expect_err("a refusal"), Refusal::Alert(alert), "{uri}");
    }
}

#[test]
fn the_policy_in_go_keeps_certificates_from_going_live() {
    let scene = Scene::new(&[]);
    let days = |days: u64| now() + days * 24 * 60 * 60;
    let lasting = scene.authority.issue(Leaf::server(&["lasting.example"]).valid_until(days(30)));
    let ending = scene.authority.issue(Leaf::server(&["ending.example"]).valid_until(days(3)));
    scene.certificates.put("lasting", &lasting);
    scene.certificates.put("ending", &ending);
    let config = with_policy(
        &scene,
        "hygiene",
        "config = { minimum-days-left = 7, issuers = [\"CN=Handfast test authority\"] }",
    );
    let gateway = Gateway::start(&config);
    let served = |name| Client::new().connect(gateway.address("main"), name).map(|it| it.certificate());
    assert_eq!(served("lasting.example"), Ok(lasting.fingerprint()));
    assert_eq!(served("ending.example"), Err(Refusal::Alert("unrecognized_name")));
    assert!(gateway.log_text().contains("it expires in 2 days, and 7 are wanted"), "{}", gateway.log_text());

    let renew = |pair: &Pair| scene.certificates.put("lasting", pair);
    renew(&scene.authority.issue(Leaf::server(&["lasting.example"]).valid_until(days(2))));
    assert_eq!(served("lasting.example"), Ok(lasting.fingerprint()), "the last good one stays");
    let other = Authority::new("another authority");
    renew(&other.issue(Leaf::server(&["lasting.example"]).valid_until(days(90))));
    assert_eq!(served("lasting.example"), Ok(lasting.fingerprint()), "the last good one stays");
    // A handshake waits for the policy for a while only, and is then served with the last good one.
    let issuer = "its issuer CN=another authority is not on the list";
    gateway.wait_for("the issuer's refusal", |line| line.text("error").contains(issuer));
    let renewed = scene.authority.issue(Leaf::server(&["lasting.example"]).valid_until(days(90)));
    renew(&renewed);
    eventually("the renewed certificate", || {
        (served("lasting.example") == Ok(renewed.fingerprint())).then_some(())
    });
}

#[test]
fn a_setting_that_a_policy_refuses_is_told_in_its_own_words() {
    let scene = Scene::new(&["a.example"]);
    for (policy, config, text) in [
        ("refuse-ja4", "{ deny = [\"\"] }", "an entry of deny is not the beginning of a JA4 fingerprint"),
        ("refuse-ja4", "{ deny = [], alarm = 1 }", "unknown setting alarm"),
        ("tenants", "{ tenants = { a = [\"x.example\"], b = [\"x.example\"] } }", "x.example is a's and b's"),
        ("client-headers", "{ paths = [\"*\"] }", "trust-domain is not a name like example.org"),
        ("hygiene", "{ minimum-days-left = -1 }", "minimum-days-left is negative"),
        ("hygiene", "{ minimum-weeks-left = 1 }", "unknown field \"minimum-weeks-left\""),
        ("custom-policy", "{ canary-percent = 101 }", "canary-percent = 101 is more than 100"),
    ] {
        // Without client certificates, one that has `validate` alone would judge nobody, which is told first.
        let listener = client_certificates("request", &scene.authority);
        let config_key = format!("config = {config}");
        let mut gateway = Gateway::spawn(&with_policy_for(&scene, &listener, policy, &config_key));
        assert_eq!(gateway.wait_exit().code(), Some(1), "{policy}");
        let log = gateway.log_text();
        // In JSON, a quotation mark has a backslash.
        assert!(log.replace('\\', "").contains(text), "{policy} {config}: {log}");
    }
}

#[test]
fn no_language_needs_a_grant_that_its_policy_does_not() {
    let folder = TempDir::new().expect("a scratch folder");
    for name in ["custom-policy", "refuse-ja4", "tenants", "client-headers", "hygiene"] {
        let inspected = handfast(folder.path(), &["policy", "inspect", &component(name).to_string_lossy()]);
        assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);
        assert!(inspected.stdout.lines().any(|line| line == "grants     none"), "{}", inspected.stdout);
    }
}

#[test]
fn the_interface_that_the_packages_carry_is_the_one_of_the_repository() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect("a file is read");
    let interface = read("wit/v1/policy.wit");
    for copy in ["plugins/sdk/javascript/policy.wit", "plugins/sdk/python/handfast_policy/policy.wit"] {
        assert_eq!(read(copy), interface, "cp wit/v1/policy.wit {copy}");
    }
    for name in ["clocks", "http", "io"] {
        let [one, other] = ["plugins/sdk/javascript", "plugins/sdk/python/handfast_policy"]
            .map(|sdk| read(&format!("{sdk}/wasi/{name}.wit")));
        assert_eq!(one, other, "{name}.wit");
    }
}

#[test]
fn the_page_on_c_prints_what_it_says() {
    run_page("c");
}

#[test]
fn the_page_on_go_prints_what_it_says() {
    run_page("go");
}

#[test]
fn the_page_on_javascript_prints_what_it_says() {
    run_page("javascript");
}

#[test]
fn the_page_on_python_prints_what_it_says() {
    run_page("python");
}

#[test]
fn the_page_on_rust_prints_what_it_says() {
    run_page("rust");
}

/// What a page explains is what `handfast policy new` writes.
#[test]
fn the_pages_show_the_rules_of_the_templates() {
    let read = |path: String| fs::read_to_string(repository().join(path)).expect("a file is read");
    for (language, source) in [
        ("c", "policy.c"),
        ("go", "main.go"),
        ("javascript", "policy.js"),
        ("javascript", "policy.ts"),
        ("python", "policy.py"),
        ("rust", "src/lib.rs"),
    ] {
        let rule = read(format!("plugins/sdk/{language}/template/{source}"));
        // In Rust what is between imports and tests.
        let rule =
            rule.split_once("const TLS13").map_or(rule.clone(), |(_, rest)| format!("const TLS13{rest}"));
        let rule = rule.split("\n\n/// These run").next().unwrap_or_default().trim_end();
        let page = read(format!("docs/policies/{language}.md"));
        assert!(
            page.contains(&format!("\n{rule}\n```")),
            "docs/policies/{language}.md shows another rule than\n{rule}"
        );
    }
}

#[test]
fn the_pages_install_what_is_tested() {
    let read = |path: &str| fs::read_to_string(repository().join(path)).expect("a file is read");
    let installed = read("gateway/policy-builder/src/tool.rs");
    for page in ["c", "go"] {
        let page = read(&format!("docs/policies/{page}.md"));
        let package = page.split("pip install --quiet ").nth(1).and_then(|rest| rest.lines().next());
        let package = package.expect("a page installs something");
        assert!(installed.contains(&format!("\"{package}\"")), "{package}");
    }
}

#[track_caller]
fn run_page(language: &str) {
    for (tool, package) in [
        ("bash", "bash"),
        ("curl", "curl"),
        ("ip", "iproute2"),
        ("node", "nodejs"),
        ("openssl", "openssl"),
        ("python3", "python3"),
        ("unshare", "util-linux"),
    ] {
        require_tool(tool, package);
    }
    let tools = repository().join("target/languages").join(language);
    let is_there = tools.join("complete").is_file() || tools.join("bin/cargo").is_file();
    assert!(is_there, "{} is missing: cargo xtask languages", tools.display());
    let folder = TempDir::new().expect("a scratch folder");
    let stubs = TempDir::new().expect("a scratch folder");
    let stub = |name: &str, script: &str| {
        let path = stubs.path().join(name);
        fs::write(&path, format!("#!/bin/bash\nset -e\n{script}\n")).expect("a file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode is set");
    };
    let real = tools.display();
    // Programs of a virtual environment know it by their own place.
    stub(
        "python3",
        &format!(
            "if [ \"$1 $2\" != '-m venv' ]; then PATH=${{PATH#*:}} exec python3 \"$@\"; fi\n\
             mkdir -p $3/bin\n\
             for tool in {real}/bin/*; do\n\
             printf '#!/bin/sh\\nexec %s \"$@\"\\n' $tool >$3/bin/${{tool##*/}}; chmod +x $3/bin/${{tool##*/}}\n\
             done\n\
             ln -sf /bin/true $3/bin/pip"
        ),
    );
    stub("npm", &format!("ln -s {real}/node_modules node_modules"));
    stub("rustup", "true");
    if language == "rust" {
        for program in ["cargo", "rustc"] {
            stub(program, &format!("exec {real}/bin/{program} \"$@\""));
        }
    }

    let page = repository().join("docs/policies").join(language).with_extension("md");
    let blocks = blocks(&fs::read_to_string(page).expect("a page"));
    assert!(blocks.len() > 2, "the page has no script");
    let handfast = binary();
    let before = format!(
        "PATH={}:{}:$PATH\n{}",
        stubs.path().display(),
        handfast.parent().map_or_else(|| Path::new("."), Path::new).display(),
        caches(),
    );
    run_blocks(folder.path(), &before, blocks);
}

/// What is compiled once is compiled already.
fn caches() -> String {
    let variables = crate::policy_command::caches();
    variables.iter().map(|(name, value)| format!("export {name}={}\n", value.display())).collect()
}

/// The compiled component of an example.
#[track_caller]
fn component(name: &str) -> PathBuf {
    if name == "custom-policy" {
        // In Rust, with the guests of the workspace.
        return plugin(name);
    }
    let path = repository().join(format!("target/policies/{name}.wasm"));
    assert!(path.is_file(), "{} is missing: cargo xtask languages", path.display());
    path
}

/// The listener `main` asks the policy. What is compiled is kept for the next test: Python's interpreter takes seconds.
fn with_policy(scene: &Scene, name: &str, keys: &str) -> Config {
    with_policy_for(scene, "", name, keys)
}

/// With further keys for the listener.
fn with_policy_for(scene: &Scene, listener: &str, name: &str, keys: &str) -> Config {
    scene
        .config()
        .state_directory(&repository().join("target/policies/state"))
        .main_listener(&format!("policies = [\"under-test\"]\n{listener}"))
        .policy("under-test", &component(name), keys)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
