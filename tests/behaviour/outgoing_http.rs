//! Policies that ask an endpoint over HTTP: only hosts that were granted, within bounds, and no more often than needed,
//! whatever names clients make up.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use handfast_tests::upstream::{Nobody, answering, scripted, tls};
use handfast_tests::wait::Watched;
use handfast_tests::{
    Client, Config, Gateway, Load, Refusal, Scene, Upstream, eventually, handfast, plugin, repository,
};
use tempfile::TempDir;

/// Generous where a test is not about time: both may be needed by others.
const PATIENT: &str = "timeout = \"10s\"";

#[test]
fn a_policy_asks_an_endpoint_which_tenant_a_name_belongs_to() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, ""));
    let connect = |name: &str| Client::new().connect(gateway.address("main"), name);
    for _ in 0..3 {
        let session = connect("shop.example").expect("a tenant's name");
        assert_eq!(session.certificate(), scene.pairs[0].fingerprint());
    }
    assert_eq!(connect("unknown.example").err(), Some(Refusal::Alert("unrecognized_name")));
    assert_eq!(connect("unknown.example").err(), Some(Refusal::Alert("unrecognized_name")));
    assert_eq!(endpoint.asked(), ["/tenant/shop.example", "/tenant/unknown.example"], "each once");
    let line = gateway.wait_for("a tenant's line", |line| line.is("connection"));
    assert_eq!(line.text("reason"), "200, 4 bytes");
    assert_eq!((calls(&gateway, "ok"), calls(&gateway, "cached")), (2.0, 3.0));
    assert_eq!(gateway.metric("handfast_policy_http_cache_entries", &[("policy", "caller")]), 2.0);
}

/// The examples in `examples/policies/outgoing-http`, as `handfast policy build` makes them.
#[test]
fn a_policy_in_python_or_in_typescript_asks_as_one_in_rust_does() {
    for language in ["python", "javascript"] {
        let (scene, endpoint) = (scene(), Endpoint::start());
        let plugin = repository().join(format!("target/policies/outgoing-http-{language}.wasm"));
        assert!(plugin.is_file(), "{} is missing: cargo xtask languages", plugin.display());
        let url = format!("http://{}", endpoint.address);
        let serve = |granted: &str| {
            let keys = keys(&url, granted, PATIENT, "");
            // What is compiled is kept for the next test: Python's interpreter takes seconds.
            let config = scene.config().state_directory(&repository().join("target/policies/state"));
            Gateway::start(&config.main_listener("policies = [\"caller\"]").policy("caller", &plugin, &keys))
        };
        let gateway = serve(&url);
        let connect = |name: &str| Client::new().connect(gateway.address("main"), name);
        for _ in 0..2 {
            let session = connect("shop.example").expect("a tenant's name");
            assert_eq!(session.certificate(), scene.pairs[0].fingerprint(), "{language}");
        }
        assert_eq!(connect("unknown.example").err(), Some(Refusal::Alert("unrecognized_name")));
        assert_eq!(endpoint.asked(), ["/tenant/shop.example", "/tenant/unknown.example"], "{language}");
        let line = gateway.wait_for("a tenant's line", |line| {
            line.is("connection") && line.text("server_name") == "shop.example"
        });
        assert_eq!(line.text("reason"), "200, 4 bytes", "{language}");

        let elsewhere = serve("http://192.0.2.1");
        let refusal = Client::new().connect(elsewhere.address("main"), "shop.example").err();
        assert_eq!(refusal, Some(Refusal::Alert("unrecognized_name")));
        let line = elsewhere.wait_for("the connection", |line| line.is("connection"));
        assert_eq!(line.text("reason"), "not allowed", "{language}");
    }
}

#[test]
fn without_the_grant_the_plugin_is_refused_with_the_line_to_add() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let folder = TempDir::new().expect("a scratch folder");
    let check = |keys: &str| {
        let config = scene.config().main_listener("policies = [\"caller\"]").policy(
            "caller",
            &plugin("guest-caller"),
            &format!("config = {{ endpoint = \"http://{}\" }}\n{keys}", endpoint.address),
        );
        fs::write(folder.path().join("handfast.toml"), config.text()).expect("it is written");
        let finished = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
        (finished.code, finished.stderr)
    };
    let (code, said) = check("");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`wasi:http/") && said.contains("which this policy was not granted"), "{said}");
    assert!(said.contains("grants = [{ http = [\"HOST\"] }]"), "the line to add: {said}");
    let (_, said) = check("grants = [\"key-value\"]");
    assert!(said.contains("grants = [\"key-value\", { http = [\"HOST\"] }]"), "what is there stays: {said}");
    let inspected =
        handfast(folder.path(), &["policy", "inspect", &plugin("guest-caller").to_string_lossy()]);
    assert!(inspected.stdout.contains("grants     http\n"), "{}", inspected.stdout);

    for (keys, expected) in [
        ("http = { rate = 5 }", "was not granted"),
        ("grants = [{ http = [] }]", "lists no host"),
        ("grants = [{ http = [\"a.example/path\"] }]", "no host that can be granted"),
        ("grants = [{ http = [\"a.example\"] }]\nhttp = { timeout = \"100ms\" }", "below the policy's own"),
        ("grants = [{ http = [\"a.example\"] }]\nhttp = { rate = 0 }", "between 1 and 100000"),
        ("grants = [{ http = [\"a.example\"] }]\nhttp = { max-response-bytes = \"2MiB\" }", "1KiB and 1MiB"),
        ("grants = [{ http = [\"a.example\"] }]\nhttp = { ttl = \"2d\" }", "between 0s and 1d"),
    ] {
        let (code, said) = check(keys);
        assert!(code == Some(2) && said.contains(expected), "{keys}: {said}");
    }
    let (code, said) =
        check("grants = [{ http = [\"a.example\"] }]\nhttp = { trust-anchors = \"missing.pem\" }");
    assert!(code == Some(1) && said.contains("trust anchors") && said.contains("missing.pem"), "{said}");
}

#[test]
fn a_host_outside_of_the_list_is_not_called() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, ""));
    Client::new().connect(gateway.address("main"), "elsewhere.example").expect("the policy passes");
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("reason"), "not allowed");
    let line = gateway.wait_for("the refusal", |line| line.is("policy's outgoing HTTP refused"));
    assert_eq!((line.text("policy"), line.text("url")), ("caller", "https://elsewhere.example"), "{line}");
    assert_eq!(calls(&gateway, "refused"), 1.0);
}

#[test]
fn a_name_that_leads_inwards_is_not_called_unless_the_operator_says_so() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let url = format!("http://localhost:{}", endpoint.address.port());
    let reason = |http: &str| {
        let gateway = Gateway::start(&config(&scene, &url, &url, PATIENT, http));
        let _ = Client::new().connect(gateway.address("main"), "shop.example");
        gateway.wait_for("the connection", |line| line.is("connection")).text("reason").to_owned()
    };
    assert_eq!(reason(""), "not allowed");
    assert!(endpoint.asked().is_empty());
    assert_eq!(reason("private-addresses = true"), "200, 4 bytes");
}

#[test]
fn https_is_verified_against_the_trust_anchors() {
    let scene = scene();
    let good = tls(&scene.authority.server(&["localhost"]), "acme");
    let named_otherwise = tls(&scene.authority.server(&["other.example"]), "acme");
    let anchors = |scene: &Scene| {
        format!("private-addresses = true\ntrust-anchors = \"{}\"", scene.authority.root_path().display())
    };
    let strangers = Scene::new(&[]);
    for (server, http, expected) in [
        (good, anchors(&scene), "200, 4 bytes"),
        (named_otherwise, anchors(&scene), "failed"),
        (good, anchors(&strangers), "failed"),
    ] {
        let host = format!("localhost:{}", server.port());
        let gateway = Gateway::start(&config(&scene, &format!("https://{host}"), &host, PATIENT, &http));
        let _ = Client::new().connect(gateway.address("main"), "shop.example");
        let line = gateway.wait_for("the connection", |line| line.is("connection"));
        assert_eq!(line.text("reason"), expected, "{}", gateway.log_text());
    }
}

#[test]
fn a_redirect_is_an_answer_and_large_ones_are_none() {
    let scene = scene();
    let endless = scripted(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let moved = answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n");
    for (address, name, expected) in [
        (moved, "path-a.example", "302, 0 bytes"),
        (endless, "path-a.example", "too large"),
        (scene.upstream.address(), "path-large-65536.example", "200, 65536 bytes"),
        (scene.upstream.address(), "path-large-65537.example", "too large"),
        (scene.upstream.address(), "path-cut-1000.example", "failed"),
        (scene.upstream.address(), "post-16384.example", "200, 16384 bytes"),
        (scene.upstream.address(), "post-16385.example", "too large"),
        (scene.upstream.address(), "many.example", "limited"),
    ] {
        let url = format!("http://{address}");
        let gateway = Gateway::start(&config(&scene, &url, &url, PATIENT, ""));
        Client::new().connect(gateway.address("main"), name).expect("the policy passes");
        let line = gateway.wait_for("the connection", |line| line.is("connection"));
        assert_eq!(line.text("reason"), expected, "{name}");
    }
}

#[test]
fn handshakes_at_once_that_want_the_same_are_one_request() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    endpoint.open(false);
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, ""));
    let address = gateway.address("main");
    let clients: Vec<_> = (0..12)
        .map(|_| std::thread::spawn(move || Client::new().connect(address, "shop.example").is_ok()))
        .collect();
    eventually("eleven to join one", || (calls(&gateway, "joined") == 11.0).then_some(()));
    endpoint.open(true);
    assert!(clients.into_iter().all(|client| client.join().expect("a client ends")));
    assert_eq!(endpoint.asked().len(), 1);
}

#[test]
fn an_answer_is_asked_for_anew_when_its_time_is_over() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, "ttl = \"100ms\""));
    eventually("the endpoint to be asked again", || {
        Client::new().connect(gateway.address("main"), "shop.example").expect("a tenant's name");
        (endpoint.asked().len() >= 3).then_some(())
    });
}

#[test]
fn made_up_names_neither_hammer_a_dead_endpoint_nor_grow_memory() {
    let (scene, nobody) = (scene(), Nobody::new());
    let url = format!("http://{}", nobody.address());
    let gateway = Gateway::start(&config(&scene, &url, &url, PATIENT, "breaker-pause = \"1d\""));
    let flood = made_up_names(&gateway);
    flood.wait_for_rounds(50);
    let before = gateway.memory();
    flood.wait_for_rounds(400);
    let after = gateway.memory();
    let rounds = flood.stop();
    assert!(rounds.iter().all(|refusal| *refusal == Some(Refusal::Alert("unrecognized_name"))));
    // Five open the breaker; two workers may have made one more each meanwhile.
    assert!((5.0..=8.0).contains(&calls(&gateway, "failed")), "{}", calls(&gateway, "failed"));
    assert_eq!(gateway.metric("handfast_policy_http_breakers_open", &[("policy", "caller")]), 1.0);
    assert!(calls(&gateway, "breaker-open") >= 440.0);
    gateway.wait_for("the breaker", |line| line.text("message").contains("left alone"));
    let told = gateway.lines(|line| line.is("policy's outgoing HTTP failed")).len();
    assert!(told <= 8, "{told} lines");
    assert!(after < before + (48 << 10), "{before} KiB before, {after} KiB after");
}

#[test]
fn made_up_names_take_a_part_of_the_cache_and_a_share_of_the_rate() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    let http = "rate = 20\ncache-entries = 40\nttl = \"1h\"";
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, http));
    let shop = || Client::new().connect(gateway.address("main"), "shop.example").map(drop);
    shop().expect("a tenant's name");
    let flood = made_up_names(&gateway);
    eventually("the bucket to be empty", || (calls(&gateway, "limited") > 50.0).then_some(()));
    flood.stop();
    shop().expect("what is known stays known");
    assert_eq!(endpoint.asked().iter().filter(|path| *path == "/tenant/shop.example").count(), 1);
    let entries = gateway.metric("handfast_policy_http_cache_entries", &[("policy", "caller")]);
    assert!(entries <= 11.0, "{entries}");
}

/// What is tested in `hostile` too, here with what the policy sees of it.
#[test]
fn a_slow_endpoint_costs_its_own_handshakes_a_timeout() {
    let (scene, endpoint) = (scene(), Endpoint::start());
    endpoint.open(false);
    let gateway = Gateway::start(&endpoint.config(&scene, PATIENT, "timeout = \"200ms\""));
    let refusal = Client::new().connect(gateway.address("main"), "shop.example").expect_err("no answer");
    assert_eq!(refusal, Refusal::Alert("unrecognized_name"));
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert_eq!(line.text("reason"), "timed out");
    let line = gateway.wait_for("the failure", |line| line.is("policy's outgoing HTTP failed"));
    assert_eq!(line.text("host"), format!("http://{}", endpoint.address));
    assert_eq!(calls(&gateway, "timed-out"), 1.0);
}

/// Says `acme` of `shop.example`, and 404 of every other name.
pub(crate) struct Endpoint {
    address: SocketAddr,
    state: Watched<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<String>,
    closed: bool,
}

impl Endpoint {
    pub(crate) fn start() -> Self {
        let state = Watched::new(State::default());
        let served = state.clone();
        let address = scripted(move |mut stream| {
            while let Some(path) = requested(&mut stream) {
                let known = path == "/tenant/shop.example";
                served.change(|state| state.asked.push(path));
                if served.wait(|state| (!state.closed).then_some(())).is_none() {
                    return;
                }
                let answer: &[u8] = match known {
                    true => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nacme",
                    false => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                };
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        });
        Self { address, state }
    }

    /// Whether it answers.
    pub(crate) fn open(&self, open: bool) {
        self.state.change(|state| state.closed = !open);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }

    pub(crate) fn config(&self, scene: &Scene, keys: &str, http: &str) -> Config {
        let url = format!("http://{}", self.address);
        config(scene, &url, &url, keys, http)
    }
}

fn requested(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).split(' ').nth(1)?.to_owned())
}

/// A policy on the listener `main` that asks `url`, and may call `granted`.
fn config(scene: &Scene, url: &str, granted: &str, keys: &str, http: &str) -> Config {
    let keys = self::keys(url, granted, keys, http);
    scene.config().main_listener("policies = [\"caller\"]").policy("caller", &plugin("guest-caller"), &keys)
}

/// Those of the policy, in whatever language it is.
fn keys(url: &str, granted: &str, keys: &str, http: &str) -> String {
    format!(
        "{keys}\ngrants = [{{ http = [\"{granted}\"] }}]\nconfig = {{ endpoint = \"{url}\" }}\n[policy.http]\n{http}"
    )
}

/// Handshakes, each for a name that nobody asked for before.
fn made_up_names(gateway: &Gateway) -> Load<Option<Refusal>> {
    let address = gateway.address("main");
    let next = std::sync::atomic::AtomicUsize::new(0);
    Load::start(2, move || {
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Client::new().connect(address, &format!("x{number}.example")).err()
    })
}

fn calls(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metric("handfast_policy_http_calls_total", &[("policy", "caller"), ("outcome", outcome)])
}

/// A certificate for `shop.example` that is tagged with its tenant, and one for every other name.
pub(crate) fn scene() -> Scene {
    let scene = Scene { upstream: Upstream::http1(), ..Scene::new(&["shop.example"]) };
    fs::write(scene.certificates.path().join("shop.example.toml"), "tags = { tenant = \"acme\" }")
        .expect("tags are written");
    scene.certificates.put("wildcard", &scene.authority.server(&["*.example"]));
    scene
}
