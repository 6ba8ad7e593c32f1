//! The first-party policies, each with the configuration of `examples/first-party` on live handshakes, their cases, and
//! their pages in `docs/policies`.
//!
//! `allow-list` is in C and built by `cargo xtask languages`, the others by `cargo xtask plugins`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handfast_tests::config::client_certificates;
use handfast_tests::{
    Authority, Client, Config, Gateway, Key, Leaf, Line, Pair, Refusal, Scene, handfast, plugin, repository,
};
use tempfile::TempDir;

const POLICIES: &[&str] = &["allow-list", "client-certificate", "hygiene", "rate-limit", "tenant"];

const DAY: u64 = 24 * 60 * 60;

#[test]
fn allow_list_keeps_clients_out_by_name_network_and_fingerprint() {
    let names = ["admin.example", "a.b.internal.example", "shop.example", "old.example"];
    let scene = Scene::new(&names);
    let gateway = Gateway::start(&example("allow-list", &scene));
    let connect =
        |client: Client, ip: &str, name: &str| from(client, ip).connect(gateway.address("https"), name);
    for (ip, name) in [
        ("192.0.2.7", "admin.example"),
        ("203.0.113.9", "shop.example"),
        ("2001:db8:1::5", "a.b.internal.example"),
        ("2001:db8:2::5", "shop.example"),
    ] {
        connect(Client::new(), ip, name).unwrap_or_else(|refusal| panic!("{ip} {name}: {refusal:?}"));
    }

    let (house, fingerprint) = ("its network is not allowed", "JA4 t12");
    let tls12 = || Client::new().tls12();
    for (client, ip, name, policy, alert, reason) in [
        (Client::new(), "203.0.113.9", "admin.example", "office-only", "unrecognized_name", house),
        (Client::new(), "2001:db8:2::5", "a.b.internal.example", "office-only", "unrecognized_name", house),
        (
            Client::new().without_server_name(),
            "203.0.113.10",
            "shop.example",
            "office-only",
            "unrecognized_name",
            house,
        ),
        (
            Client::new(),
            "198.51.100.1",
            "shop.example",
            "unwelcome",
            "access_denied",
            "its network is denied",
        ),
        (
            Client::new(),
            "192.0.2.8",
            "old.example",
            "unwelcome",
            "access_denied",
            "its server name is denied",
        ),
        (tls12(), "203.0.113.11", "shop.example", "unwelcome", "access_denied", fingerprint),
    ] {
        assert_eq!(connect(client, ip, name).expect_err(ip), Refusal::Alert(alert), "{ip} {name}");
        let line = gateway.wait_for("the refusal", |line| {
            is_of(line, ip) && line.text("verdict") == "reject" && line.text("alert") == alert
        });
        assert_eq!(line.text("policy"), policy, "{line}");
        assert!(line.text("reason").starts_with(reason), "{line}");
    }
    let judged =
        gateway.metric("handfast_policy_calls_total", &[("policy", "office-only"), ("outcome", "ok")]);
    assert!(judged >= 10.0, "{judged}");
}

#[test]
fn tenant_serves_nobody_elses_certificate() {
    let scene = Scene::new(&[]);
    let put = |place: &str, names: &[&str]| {
        let pair = scene.authority.server(names);
        scene.certificates.put(place, &pair);
        pair
    };
    let free = put("shared/free", &["free.example"]);
    let pay = put("shared/acme-pay", &["pay.acme.example"]);
    let default = put("shared/globex", &["*.globex.example"]);
    let own = put("acme/www", &["www.acme.example"]);
    put("globex/www", &["www.acme.example", "stray.acme.example"]);
    let gateway = Gateway::start(&example("tenant", &scene));
    let connect = |name: &str| from(Client::new(), "192.0.2.1").connect(gateway.address("https"), name);

    for (name, pair, policy, reason) in [
        ("www.acme.example", &own, "tenants", "tenant acme"),
        ("pay.acme.example", &pay, "tenants", "tenant acme, by name"),
        ("x.globex.example", &default, "tenants", "tenant globex, default"),
        ("free.example", &free, "server-name", ""),
    ] {
        assert_eq!(connect(name).expect("a handshake").certificate(), pair.fingerprint(), "{name}");
        let line = gateway
            .wait_for("the connection", |line| line.is("connection") && line.text("server_name") == name);
        assert_eq!((line.text("policy"), line.text("reason")), (policy, reason), "{line}");
    }
    assert_eq!(connect("stray.acme.example").expect_err("a refusal"), Refusal::Alert("unrecognized_name"));
    let refused = |line: &Line| line.text("server_name") == "stray.acme.example";
    let line = gateway.wait_for("the refusal", refused);
    assert_eq!(line.text("reason"), "tenant acme has no certificate for it that the client can use");

    let brought = put("acme/stray", &["stray.acme.example"]);
    assert_eq!(connect("stray.acme.example").expect("a handshake").certificate(), brought.fingerprint());
}

/// Both were once enough to have somebody else's certificate served, or his clients refused.
#[test]
fn tenant_holds_against_tags_and_crowds_in_the_folder_of_another_tenant() {
    let scene = Scene::new(&[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let stranger = Authority::new("somebody");
    let put = |place: &str, pair: Pair| {
        scene.certificates.put(place, &pair);
        pair.fingerprint()
    };
    let tags = |place: &str| {
        let file = scene.certificates.path().join(place).with_extension("toml");
        fs::write(file, "tags = { tenant = \"acme\" }").expect("tags are written");
    };
    put("shared/free", scene.authority.server(&["free.example"]));
    let own = put("acme/www", scene.authority.server(&["www.acme.example"]));
    let wild = put("acme/wild", scene.authority.server(&["*.shop.acme.example"]));
    let newer = Leaf::server(&["www.acme.example", "x.shop.acme.example"]).valid_from(now - DAY);
    put("globex/evil", stranger.issue(newer.clone()));
    tags("globex/evil");
    for number in 0..64 {
        put(&format!("globex/{number}"), stranger.issue(newer.clone()));
    }
    let gateway = Gateway::start(&example("tenant", &scene));
    let served = |name: &str| {
        let client = from(Client::new(), "192.0.2.1");
        client.connect(gateway.address("https"), name).map(|session| session.certificate())
    };
    for (name, certificate) in [("www.acme.example", &own), ("x.shop.acme.example", &wild)] {
        assert_eq!(served(name).as_ref(), Ok(certificate), "{name}");
    }
    let told = |line: &Line| line.text("certificate") == "globex:evil" && line.text("tag") == "tenant";
    gateway.wait_for("the warning", told);

    // In the handshake that finds it so, too.
    put("globex/stray", scene.authority.server(&["stray.acme.example"]));
    assert_eq!(served("stray.acme.example"), Err(Refusal::Alert("unrecognized_name")));
    tags("globex/stray");
    assert_eq!(served("stray.acme.example"), Err(Refusal::Alert("unrecognized_name")));
}

/// Once, it was refused until the file system reported it: there is another pair of its name, so nobody looked for more.
#[test]
fn tenant_serves_a_pair_at_once_that_comes_beside_somebody_elses() {
    let scene = Scene::new(&[]);
    let put = |place: &str, names: &[&str]| {
        let pair = scene.authority.server(names);
        scene.certificates.put(place, &pair);
        pair.fingerprint()
    };
    put("shared/own", &["own.example"]);
    put("acme/own", &["acme.example"]);
    let names: Vec<_> = (0..20).map(|number| format!("{number}.acme.example")).collect();
    for name in &names {
        put(&format!("globex/{name}"), &[name]);
    }
    let gateway = Gateway::start(&example_with(
        "tenant",
        &scene,
        &[("\"pay.acme.example\" = \"shared:acme-pay\"", "\"0.acme.example\" = \"shared:zero\"")],
    ));
    let connect = |name: &str| {
        let session = from(Client::new(), "192.0.2.1").connect(gateway.address("https"), name)?;
        Ok::<_, Refusal>(session.certificate())
    };
    // The first by its id, the others by their tag.
    for (number, name) in names.iter().enumerate() {
        assert_eq!(connect(name), Err(Refusal::Alert("unrecognized_name")), "{name}");
        let place = if number == 0 { "shared/zero".to_owned() } else { format!("acme/{name}") };
        let brought = put(&place, &[name]);
        assert_eq!(connect(name), Ok(brought), "{name}");
    }
}

#[test]
fn rate_limit_holds_over_workers_and_gives_each_network_its_own() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&example("rate-limit", &scene));
    let address = gateway.address("https");
    let connect = |ip: &str| from(Client::new(), ip).connect(address, "a.example");
    let begun = Instant::now();
    let let_in = |thread: u8| {
        let results = (0..10).map(|attempt| connect(&format!("192.0.2.{}", thread * 50 + attempt)));
        let is_let_in = |result: Result<_, Refusal>| match result {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Alert("access_denied"));
                false
            }
        };
        results.map(is_let_in).filter(|let_in| *let_in).count()
    };
    let let_in: usize = std::thread::scope(|scope| {
        let threads = [0, 1, 2, 3].map(|thread| scope.spawn(move || let_in(thread)));
        threads.map(|thread| thread.join().expect("a thread ends well")).iter().sum()
    });
    // One more each two seconds, on a machine as slow as it may be.
    let most = 10 + begun.elapsed().as_secs() as usize / 2 + 1;
    assert!((10..=most).contains(&let_in), "{let_in} of 40, and at most {most}");
    let line =
        gateway.wait_for("a refusal", |line| line.is("connection") && line.text("verdict") == "reject");
    let reason = "over 30 handshakes in 60000 ms from its network";
    assert_eq!((line.text("policy"), line.text("reason")), ("rate-limit", reason), "{line}");

    connect("198.51.100.1").expect("another network");
    connect("2001:db8::1").expect("another family");
    for _ in 0..15 {
        connect("203.0.113.1").expect("an exempt network");
    }
    let of_policy = |metric: &str| gateway.metric(metric, &[("policy", "rate-limit")]);
    assert!(of_policy("handfast_policy_key_value_entries") >= 2.0);
    assert_eq!(of_policy("handfast_policy_key_value_evicted_total"), 0.0);
    assert!(of_policy("handfast_policy_calls_total") >= 57.0);
}

#[test]
fn rate_limit_keeps_no_more_networks_than_it_may() {
    let scene = Scene::new(&["a.example"]);
    // An hour, for networks that nobody forgets during the test.
    let changes = [("max-networks = 50000", "max-networks = 2"), ("per = \"1m\"", "per = \"1h\"")];
    let full = |when: &str| {
        example_with("rate-limit", &scene, &[&changes[..], &[("when-full = \"pass\"", when)]].concat())
    };
    let gateway = Gateway::start(&full("when-full = \"reject\""));
    let connect = |ip: &str| from(Client::new(), ip).connect(gateway.address("https"), "a.example").map(drop);
    connect("10.0.1.1").expect("the first network");
    connect("10.0.2.1").expect("the second network");
    assert_eq!(connect("10.0.3.1"), Err(Refusal::Alert("access_denied")));
    let line = gateway.wait_for("the refusal", |line| is_of(line, "10.0.3.1"));
    assert_eq!(line.text("reason"), "more networks than `max-networks` at once");
    let warned = |line: &Line| line.to_string().contains("`max-networks`: new ones are refused");
    assert_eq!(gateway.wait_for("the warning", warned).text("policy"), "rate-limit");
    connect("10.0.1.2").expect("a network that is known");

    gateway.reload(&full("when-full = \"pass\""));
    for _ in 0..12 {
        connect("10.0.3.1").expect("let in uncounted");
    }
    let at_most = |ip: &str| (0..12).filter(|_| connect(ip).is_ok()).count();
    assert!(at_most("10.0.2.2") < 12, "a network that is known is limited all the same");
}

#[test]
fn client_certificate_lets_in_who_meets_its_rules_and_tells_upstreams_who_it_is() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&example("client-certificate", &scene));
    let get = |listener: &str, leaf: Leaf| {
        let pair = scene.authority.issue(leaf);
        let client = from(Client::new().identity(&pair), "192.0.2.1");
        (client.get(gateway.address(listener), "a.example", "/").map(|response| response.text()), pair)
    };
    let workload = |uri: &str| get("workloads", Leaf::client("till").uri(uri));

    for uri in ["spiffe://example.org/ns/shop/sa/till", "spiffe://example.org/ns/audit/a/b/c"] {
        let (seen, pair) = workload(uri);
        let seen = seen.expect("a response");
        for (name, value) in [("spiffe-id", uri), ("fingerprint", pair.fingerprint().as_str())] {
            assert!(seen.contains(&format!("[\"x-client-{name}\",\"{value}\"]")), "{name} in {seen}");
        }
        assert!(!seen.contains("x-client-common-name"), "{seen}");
    }
    for uri in
        ["spiffe://example.org/ns/shop/till", "spiffe://elsewhere.org/ns/audit/a", "https://example.org/"]
    {
        assert_eq!(workload(uri).0.expect_err(uri), Refusal::Alert("access_denied"));
    }
    let refused = |line: &Line| line.text("reason") == "its certificate does not meet `spiffe`";
    let line = gateway.wait_for("the refusal", refused);
    assert_eq!((line.text("listener"), line.text("policy")), ("workloads", "workloads"), "{line}");

    let (seen, _) = get("people", Leaf::client("Jürgen").organizational_unit("staff"));
    let seen = seen.expect("a response");
    assert!(seen.contains("[\"x-client-common-name\",\"J%C3%BCrgen\"]"), "{seen}");
    assert!(seen.contains("[\"x-client-organizational-units\",\"staff\"]"), "{seen}");
    get("people", Leaf::client("carol")).0.expect("known by name");
    let (refusal, _) = get("people", Leaf::client("mallory").organizational_unit("guests"));
    assert_eq!(refusal.expect_err("a refusal"), Refusal::Alert("certificate_unknown"));
}

#[test]
fn hygiene_lets_no_certificate_go_live_that_breaks_its_rules() {
    let scene = Scene::new(&[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let lasting = |names: &[&str]| Leaf::server(names).valid_from(now - DAY).valid_until(now + 90 * DAY);
    let issue = |leaf: Leaf| scene.authority.issue(leaf);
    let put = |name: &str, pair: Pair| {
        scene.certificates.put(name, &pair);
        pair
    };
    let both = ["shop.example", "www.shop.example"];
    let shop = put("shop", issue(lasting(&both)));
    let page = put("status-page", issue(Leaf::server(&["status.example"])));
    put("weak", issue(lasting(&["weak.example"]).key(Key::Rsa2048)));
    put("long", issue(Leaf::server(&["long.example"])));
    put("inside", issue(lasting(&["a.internal.example"])));
    put("stray", Authority::new("somebody else").issue(lasting(&["stray.example"])));
    let gateway = Gateway::start(&example("hygiene", &scene));
    let served = |name: &str| {
        let client = from(Client::new(), "192.0.2.1");
        client.connect(gateway.address("https"), name).map(|session| session.certificate())
    };
    assert_eq!(served("www.shop.example"), Ok(shop.fingerprint()));
    assert_eq!(served("status.example"), Ok(page.fingerprint()), "exempt");
    for (name, reason) in [
        ("weak.example", "its RSA key has 2048 bits, and 3072 are wanted"),
        ("long.example", "days, and 200 are allowed"),
        ("a.internal.example", "`forbidden-names` has **.internal.example"),
        ("stray.example", "its issuer CN=somebody else is none of `issuers`"),
    ] {
        assert_eq!(served(name), Err(Refusal::Alert("unrecognized_name")), "{name}");
        let log = gateway.log_text();
        assert!(log.contains("the policy `hygiene` refuses it: ") && log.contains(reason), "{name}: {log}");
    }

    put("shop", issue(lasting(&["shop.example"])));
    assert_eq!(served("www.shop.example"), Ok(shop.fingerprint()), "the last good one stays");
    let why = "it is not for www.shop.example, which `required-names` has";
    let refused = |line: &Line| line.is("certificate not replaced") && line.text("error").contains(why);
    gateway.wait_for("the refusal", refused);
    let renewed = put("shop", issue(lasting(&both)));
    assert_eq!(served("www.shop.example"), Ok(renewed.fingerprint()));
}

#[test]
fn the_cases_of_every_policy_hold() {
    let folder = TempDir::new().expect("a scratch folder");
    for policy in POLICIES {
        let cases = repository().join("plugins").join(policy).join("cases.toml");
        let file = component(policy);
        let arguments = ["policy", "test", &file.to_string_lossy(), "--cases", &cases.to_string_lossy()];
        let finished = handfast(folder.path(), &arguments);
        assert_eq!(finished.code, Some(0), "{policy}: {}{}", finished.stdout, finished.stderr);
    }
}

#[test]
fn every_policy_needs_the_grants_that_its_page_says_and_no_others() {
    let folder = TempDir::new().expect("a scratch folder");
    let overview = page("first-party");
    for policy in POLICIES {
        let inspected = handfast(folder.path(), &["policy", "inspect", &component(policy).to_string_lossy()]);
        let grants =
            inspected.stdout.lines().find_map(|line| line.strip_prefix("grants")).unwrap_or_default();
        let row = overview.lines().find(|line| line.starts_with(&format!("| [`{policy}`]")));
        let row = row.unwrap_or_else(|| panic!("no row for {policy}"));
        assert!(row.contains(&format!("| {} |", grants.trim())), "{grants}: {row}");
    }
}

#[test]
fn every_key_of_a_policy_is_on_its_page_and_no_other() {
    let scene = Scene::new(&["a.example"]);
    // `client-certificate` has no place on a listener that asks for none.
    let asking = format!("policies = [\"asked\"]\n{}", client_certificates("request", &scene.authority));
    let folder = TempDir::new().expect("a scratch folder");
    for policy in POLICIES {
        let config = scene
            .config()
            .main_listener(&asking)
            .policy("asked", &component(policy), &grants(policy))
            .with_last("config = { unheard-of = 1 }");
        fs::write(folder.path().join("handfast.toml"), config.text()).expect("it is written");
        let checked = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
        assert_eq!(checked.code, Some(1), "{}", checked.stderr);
        let known = checked.stderr.split("`unheard-of` is unknown: there are ").nth(1);
        let known = known.unwrap_or_else(|| panic!("{policy} names no keys: {}", checked.stderr));
        let known: BTreeSet<&str> =
            known.lines().next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let page = page(policy);
        let rows = page.lines().skip_while(|line| !line.starts_with("| key |")).skip(2);
        let rows = rows.take_while(|line| line.starts_with("| `"));
        let documented: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        assert_eq!(documented, known, "{policy}");
    }
}

#[test]
fn a_setting_that_a_first_party_policy_refuses_is_named_with_what_to_write() {
    let scene = Scene::new(&["a.example"]);
    // `client-certificate` has no place on a listener that asks for none.
    let asking = format!("policies = [\"asked\"]\n{}", client_certificates("request", &scene.authority));
    let folder = TempDir::new().expect("a scratch folder");
    for (policy, config, text) in [
        (
            "allow-list",
            "{ deny = { networks = [\"192.0.2.1/24\"] } }",
            "`deny.networks` has \"192.0.2.1/24\", which has bits beyond its prefix",
        ),
        (
            "tenant",
            "{ tenants = { a = { names = [\"a.*.example\"] } } }",
            "`tenants.a.names` has \"a.*.example\"",
        ),
        ("rate-limit", "{ handshakes = 5, per = 60 }", "`per` is 60: write a text"),
        (
            "client-certificate",
            "{ spiffe = [\"example.org\"] }",
            "`spiffe` has \"example.org\", which is no SPIFFE id: write spiffe://example.org/ns/shop",
        ),
        (
            "hygiene",
            "{ maximum-lifetime = \"1y\" }",
            "`maximum-lifetime` is \"1y\": write a whole number and a unit",
        ),
    ] {
        let config = scene
            .config()
            .main_listener(&asking)
            .policy("asked", &component(policy), &grants(policy))
            .with_last(&format!("config = {config}"));
        fs::write(folder.path().join("handfast.toml"), config.text()).expect("it is written");
        let checked = handfast(folder.path(), &["check", "-c", "handfast.toml"]);
        assert_eq!(checked.code, Some(1), "{policy}: {}", checked.stderr);
        assert!(checked.stderr.contains(text), "{policy}: {}", checked.stderr);
    }
}

/// The configuration of an example, with what is of this machine and this test in the place of what is not.
fn example(name: &str, scene: &Scene) -> Config {
    example_with(name, scene, &[])
}

/// With some of its text replaced. The listeners are told by a PROXY header who the client is.
#[track_caller]
fn example_with(name: &str, scene: &Scene, changes: &[(&str, &str)]) -> Config {
    let path = repository().join("examples/first-party").join(name).with_extension("toml");
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let listening = "address = \"127.0.0.1:0\"\nproxy-protocol = [\"127.0.0.0/8\"]";
    let plugin = component(name).display().to_string();
    let certificates = format!("path = \"{}", scene.certificates.path().display());
    let anchors = scene.authority.root_path().display().to_string();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "{} has no {from}", path.display());
        text = text.replace(from, to);
    };
    replace("\n[admin]\naddress = \"127.0.0.1:9901\"\n", "");
    replace("address = \"127.0.0.1:8443\"", listening);
    replace(&format!("plugins/{name}.wasm"), &plugin);
    replace("path = \"certificates", &certificates);
    replace("127.0.0.1:9001", &scene.upstream.address().to_string());
    if name == "client-certificate" {
        replace("address = \"127.0.0.1:8444\"", listening);
        replace("client-ca.pem", &anchors);
    }
    for (from, to) in changes {
        replace(from, to);
    }
    Config::new().with(&text)
}

/// The client at this address, as the PROXY header says.
fn from(client: Client, ip: &str) -> Client {
    let (family, own) = if ip.contains(':') { ("TCP6", "::1") } else { ("TCP4", "127.0.0.1") };
    client.preface(format!("PROXY {family} {ip} {own} 50000 443\r\n").as_bytes())
}

/// Whether it is the line of a connection from this address.
fn is_of(line: &Line, ip: &str) -> bool {
    let client = line.text("client");
    line.is("connection") && (client == format!("{ip}:50000") || client == format!("[{ip}]:50000"))
}

fn grants(policy: &str) -> String {
    if policy == "rate-limit" { "grants = [\"key-value\"]".to_owned() } else { String::new() }
}

fn page(name: &str) -> String {
    let path = repository().join("docs/policies").join(name).with_extension("md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The compiled component of a policy.
#[track_caller]
fn component(policy: &str) -> PathBuf {
    if policy != "allow-list" {
        return plugin(policy);
    }
    let path = repository().join("target/policies/allow-list.wasm");
    assert!(path.is_file(), "{} is missing: cargo xtask languages c", path.display());
    path
}
