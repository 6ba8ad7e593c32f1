//! SIGHUP: a good configuration replaces the running one as a whole, a bad one changes nothing and says why.

use handfast_tests::{Client, Config, Gateway, Line, Load, Scene, Upstream};

#[test]
fn a_reload_adds_a_listener_and_takes_one_away() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let main = gateway.address("main");
    gateway.reload(&scene.config().listener("second", ""));
    let second = gateway.address("second");
    for address in [main, second] {
        Client::new().get(address, "a.example", "/").expect("a response");
    }
    gateway.reload(&scene.config());
    Client::new().get(main, "a.example", "/").expect("a response");
    handfast_tests::eventually("the listener to close", || Client::new().connect(second, "a.example").err());
}

#[test]
fn a_listener_that_is_renamed_keeps_its_address() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let mut open = Client::new().connect(address, "a.example").expect("a handshake");
    assert_eq!(open.get("/").expect("a response").status, 200);
    let files = || Config::new().certificates("files", scene.certificates.path());
    let routed =
        |config: Config| config.upstream("echo", scene.upstream.address(), "").route("*", "/", "echo");
    gateway.reload(&routed(files().listener_at("renamed", address, "")));
    assert_eq!(open.get("/").expect("a response").status, 200, "connections that were there stay");
    for _ in 0..8 {
        assert_eq!(Client::new().get(address, "a.example", "/").expect("a response").status, 200);
    }
    gateway.wait_for_nth(8, "the connections", |line| {
        line.is("connection") && line.text("listener") == "renamed"
    });
}

/// Once, a pair that had been spoilt or deleted since the start was lost when any key of its source changed.
#[test]
fn last_good_pairs_outlive_a_change_of_their_sources_settings() {
    let scene = Scene::new(&["broken.example", "deleted.example", "a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    scene.certificates.put_certificate("broken.example", "garbage");
    for extension in ["crt", "key"] {
        std::fs::remove_file(scene.certificates.path().join(format!("deleted.example.{extension}")))
            .expect("a file");
    }
    let config = Config::new()
        .certificates("files", scene.certificates.path())
        .with_last("scan-interval = \"5s\"")
        .listener("main", "default-certificate = \"broken.example\"")
        .upstream("echo", scene.upstream.address(), "")
        .route("*", "/", "echo");
    gateway.reload(&config);
    for (pair, name) in scene.pairs.iter().zip(["broken.example", "deleted.example", "a.example"]) {
        let session = Client::new().connect(address, name).expect("a handshake");
        assert_eq!(session.certificate(), pair.fingerprint(), "{name}");
    }
    let repaired = scene.authority.server(&["broken.example"]);
    scene.certificates.put("broken.example", &repaired);
    let session = Client::new().connect(address, "broken.example").expect("a handshake");
    assert_eq!(session.certificate(), repaired.fingerprint());
}

#[test]
fn two_listeners_may_exchange_their_addresses() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let base = || {
        Config::new()
            .certificates("files", scene.certificates.path())
            .upstream("echo", scene.upstream.address(), "")
            .route("*", "/", "echo")
    };
    let (of_a, of_b) = ("default-certificate = \"a.example\"", "default-certificate = \"b.example\"");
    let gateway = Gateway::start(&base().listener("a", of_a).listener("b", of_b));
    let (first, second) = (gateway.address("a"), gateway.address("b"));
    gateway.reload(&base().listener_at("a", first, of_a).listener_at("b", second, of_b));
    gateway.reload(&base().listener_at("a", second, of_a).listener_at("b", first, of_b));
    let nameless = Client::new().without_server_name();
    for _ in 0..8 {
        for (address, pair) in [(first, &scene.pairs[1]), (second, &scene.pairs[0])] {
            let session = nameless.connect(address, "any.example").expect("a handshake");
            assert_eq!(session.certificate(), pair.fingerprint());
        }
    }
}

#[test]
fn a_refused_configuration_is_one_line_of_a_text_log() {
    let scene = Scene::new(&["a.example"]);
    let text = |config: Config| config.log_format("text");
    let gateway = Gateway::spawn(&text(scene.config()));
    let ready = |line: &Line| line.to_string().contains(" ready");
    gateway.wait_for("the gateway to be ready", ready);
    let before = gateway.lines(|_| true).len();
    gateway.write_config(&text(scene.config().with("[surprise]\nkey = 1")));
    gateway.sighup();
    let line = gateway
        .wait_for("the refusal", |line| line.to_string().contains("configuration not reloaded"))
        .to_string();
    for part in ["unknown key `surprise`", "handfast.toml:", "hint: "] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    gateway.write_config(&text(scene.config()));
    gateway.sighup();
    gateway.wait_for("the reload", |line| line.to_string().contains("configuration reloaded"));
    assert_eq!(gateway.lines(|_| true).len(), before + 2, "{}", gateway.log_text());
}

#[test]
fn a_reload_changes_routes_and_open_connections_go_on() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let other = Upstream::http1();
    let mut open = Client::new().connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(open.get("/moved/before").expect("a response").status, 200);
    gateway.reload(&scene.config().upstream("other", other.address(), "").route("*", "/moved", "other"));
    assert_eq!(open.get("/elsewhere").expect("a response").status, 200);
    Client::new().get(gateway.address("main"), "a.example", "/moved/after").expect("a response");
    assert_eq!(other.requests(), ["GET /moved/after"]);
}

#[test]
fn a_reload_changes_the_settings_of_a_listener() {
    let scene = Scene::new(&["a.example", "b.example"]);
    let gateway = scene.start();
    let nameless = Client::new().without_server_name();
    nameless.connect(gateway.address("main"), "a.example").expect_err("no default certificate yet");
    gateway.reload(&scene.config().main_listener("default-certificate = \"b.example\""));
    let session = nameless.connect(gateway.address("main"), "a.example").expect("a handshake");
    assert_eq!(session.certificate(), scene.pairs[1].fingerprint());
}

#[test]
fn the_generation_counts_the_reloads_and_is_named_by_connections() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let first = gateway.wait_for("the gateway to be ready", |line| line.is("ready")).number("generation");
    let second = gateway.reload(&scene.config().listener("second", "")).number("generation");
    assert!(second > first);
    Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert!(line.number("generation") >= second, "{line}");
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let good = scene.config();
    let missing_plugin = gateway.folder().join("missing.wasm");
    let bad = [
        good.clone().with("[surprise]\nkey = 1"),
        good.clone().with("this is not TOML"),
        good.clone().main_listener("policies = [\"nobody\"]"),
        good.clone().route("a.example", "/", "nobody"),
        good.clone().main_listener("policies = [\"gone\"]").policy("gone", &missing_plugin, ""),
        good.clone().listener_at("second", "192.0.2.1:1", ""),
    ];
    for (count, config) in bad.iter().enumerate() {
        gateway.write_config(config);
        gateway.sighup();
        let line =
            gateway.wait_for_nth(count + 1, "the refusal", |line| line.is("configuration not reloaded"));
        assert_eq!(line.text("level"), "WARN");
        assert!(!line.text("error").is_empty(), "{line}");
        let response = Client::new().get(address, "a.example", "/").expect("a response");
        assert_eq!(response.status, 200);
    }
    assert_eq!(gateway.lines(|line| line.is("configuration reloaded")).len(), 0);
    gateway.reload(&good);
}

#[test]
fn reloads_cost_no_handshake_and_no_request() {
    let scene = Scene::new(&["a.example"]);
    let gateway = scene.start();
    let address = gateway.address("main");
    let load = Load::start(2, move || Client::new().get(address, "a.example", "/"));
    for round in 0..10 {
        let config = if round % 2 == 0 { scene.config().listener("second", "") } else { scene.config() };
        gateway.reload(&config);
        load.wait_for_rounds(3);
    }
    for response in load.stop() {
        assert_eq!(response.expect("no connection fails").status, 200);
    }
}

#[test]
fn a_second_gateway_does_not_share_the_port_of_the_first() {
    let scene = Scene::new(&["a.example"]);
    let first = scene.start();
    // The workers of one gateway share a port by SO_REUSEPORT; another gateway is not to slip in with them.
    let config = Config::new().certificates("files", scene.certificates.path()).listener_at(
        "main",
        first.address("main"),
        "",
    );
    let mut second = Gateway::spawn(&config);
    assert_eq!(second.wait_exit().code(), Some(1));
    assert_eq!(Client::new().get(first.address("main"), "a.example", "/").expect("a response").status, 200);
}

#[test]
fn a_gateway_that_was_started_badly_does_not_start() {
    let scene = Scene::new(&["a.example"]);
    let mut gateway = Gateway::spawn(&scene.config().with("[surprise]"));
    assert_eq!(gateway.wait_exit().code(), Some(2));
}
