//! The PROXY protocol: believed from trusted networks, and from nobody else.

use handfast_tests::{Client, Gateway, Refusal, Scene, plugin};

const TRUSTING: &str = "proxy-protocol = [\"127.0.0.0/8\"]";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[test]
fn the_address_in_the_header_is_the_client() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener(TRUSTING));
    let headers = [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(), "2001:db8::7"),
        (version_2_ipv4([192, 0, 2, 8]), "192.0.2.8"),
        // Written as an IPv6 address, and the same client to policies, upstreams and logs all the same.
        (version_2_mapped([192, 0, 2, 9]), "192.0.2.9"),
    ];
    for (count, (header, client)) in headers.into_iter().enumerate() {
        let response = Client::new().preface(&header).get(gateway.address("main"), "a.example", "/");
        let json = response.expect("a response").json();
        let forwarded = field(&json, "x-forwarded-for");
        assert_eq!(forwarded, [client]);
        let line = gateway.wait_for_nth(count + 1, "the connection", |line| line.is("connection"));
        let socket: std::net::SocketAddr = line.text("client").parse().expect("an address");
        assert_eq!(socket.ip().to_string(), client);
    }
}

#[test]
fn a_header_without_addresses_leaves_those_of_the_socket() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener(TRUSTING));
    let local = [SIGNATURE, &[0x20, 0x00, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let response = Client::new().preface(&header).get(gateway.address("main"), "a.example", "/");
        assert_eq!(field(&response.expect("a response").json(), "x-forwarded-for"), ["127.0.0.1"]);
    }
}

/// Once, `connection.proxied` was true for any header, and what it stood beside was the socket's address.
#[test]
fn a_policy_is_told_that_the_addresses_are_the_headers_only_where_they_are() {
    let scene = Scene::new(&["a.example"]);
    let listener = format!("{TRUSTING}\npolicies = [\"probe\"]");
    let config = scene.config().main_listener(&listener).policy("probe", &plugin("guest-probe"), "");
    let gateway = Gateway::start(&config);
    let unspecified = [SIGNATURE, &[0x21, 0x00, 0, 0]].concat();
    let local = [SIGNATURE, &[0x20, 0x11, 0, 12], &[7; 12]].concat();
    let headers = [
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", false),
        (local, "127.0.0.1", false),
        (unspecified, "127.0.0.1", false),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(), "192.0.2.7", true),
        (version_2_ipv4([192, 0, 2, 8]), "192.0.2.8", true),
    ];
    for (count, (header, client, proxied)) in headers.into_iter().enumerate() {
        Client::new().preface(&header).connect(gateway.address("main"), "a.example").expect("a handshake");
        let said = gateway.wait_for_nth(count + 1, "what the policy sees", |line| {
            line.text("target") == "handfast::policy" && line.text("message").contains("proxied=")
        });
        let said = said.text("message");
        assert!(said.contains(&format!("client={client}:")), "{said}");
        assert!(said.contains(&format!("proxied={proxied} ")), "{said}");
    }
}

#[test]
fn a_header_that_comes_in_pieces_is_put_together() {
    use std::io::Write;
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener(TRUSTING));
    let mut bytes = version_2_ipv4([192, 0, 2, 9]);
    bytes.extend(Client::new().hello("unknown.example"));
    let mut stream = std::net::TcpStream::connect(gateway.address("main")).expect("a connection");
    stream.set_nodelay(true).expect("an option is set");
    for piece in bytes.chunks(5) {
        stream.write_all(piece).expect("the gateway reads");
    }
    let line = gateway.wait_for("the connection", |line| line.is("connection"));
    assert!(line.text("client").contains("192.0.2.9"), "{line}");
    assert_eq!(line.text("server_name"), "unknown.example");
}

#[test]
fn a_trusted_network_must_send_a_header() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener(TRUSTING));
    let refusal = Client::new().connect(gateway.address("main"), "a.example").expect_err("a refusal");
    assert_eq!(refusal, Refusal::Closed);
    assert_eq!(gateway.wait_for("the outcome", |line| line.is("connection")).text("verdict"), "error");
}

#[test]
fn a_damaged_header_ends_the_connection() {
    let scene = Scene::new(&["a.example"]);
    let gateway = Gateway::start(&scene.config().main_listener(TRUSTING));
    let mut short = version_2_ipv4([192, 0, 2, 7]);
    short[15] = 4;
    let damaged = [
        b"PROXY TCP4 192.0.2.7 nonsense 4711 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n".to_vec(),
        [SIGNATURE, &[0x31, 0x11, 0, 0]].concat(),
        short,
    ];
    for header in damaged {
        let refusal = Client::new().preface(&header).connect(gateway.address("main"), "a.example");
        assert_eq!(refusal.expect_err("a refusal"), Refusal::Closed, "{header:?}");
    }
}

#[test]
fn a_header_from_anywhere_else_is_not_believed() {
    let scene = Scene::new(&["a.example"]);
    let elsewhere = "proxy-protocol = [\"192.0.2.0/24\"]";
    let gateway = Gateway::start(&scene.config().main_listener(elsewhere));
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let refusal = Client::new().preface(header).connect(gateway.address("main"), "a.example");
    refusal.expect_err("the header is not TLS");
    let response = Client::new().get(gateway.address("main"), "a.example", "/").expect("a response");
    assert_eq!(field(&response.json(), "x-forwarded-for"), ["127.0.0.1"]);
}

/// The same over IPv6, with the addresses mapped into it (RFC 4291 section 2.5.5.2).
fn version_2_mapped(client: [u8; 4]) -> Vec<u8> {
    let mapped = |address: [u8; 4]| std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
    let ports = [4711u16.to_be_bytes(), 443u16.to_be_bytes()].concat();
    let addresses = [&mapped(client)[..], &mapped([198, 51, 100, 1]), &ports].concat();
    [SIGNATURE, &[0x21, 0x21, 0, 36], &addresses].concat()
}

/// PROXY, TCP over IPv4, from this address to 198.51.100.1:443.
fn version_2_ipv4(client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[198, 51, 100, 1], &4711u16.to_be_bytes(), &443u16.to_be_bytes()].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
}

/// The values of a field that the upstream received.
fn field(json: &serde_json::Value, name: &str) -> Vec<String> {
    let received: Vec<(String, String)> =
        serde_json::from_value(json["headers"].clone()).expect("pairs of strings");
    received.into_iter().filter(|(found, _)| found == name).map(|(_, value)| value).collect()
}
