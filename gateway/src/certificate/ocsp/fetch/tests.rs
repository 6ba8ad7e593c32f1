use super::*;
use crate::certificate::ocsp::test_responder::{self, http};

const WAIT: Duration = Duration::from_secs(20);

async fn ask(answer: &[u8], request: &[u8], post: bool) -> (Result<Bytes, OcspError>, String) {
    let server = test_responder::Responder::start(answer.to_vec()).await;
    let responder = Responder::parse(&server.url()).unwrap();
    let result = responder.ask(request, post, WAIT, WAIT).await;
    (result, server.requests().pop().unwrap_or_default())
}

#[tokio::test]
async fn a_short_request_goes_by_get_in_the_path() {
    let (answer, asked) = ask(&http(b"answer"), &[0xff, 0xef, 0xbe, 0x01], false).await;
    assert_eq!(answer.unwrap(), &b"answer"[..]);
    assert!(asked.starts_with("GET /ocsp/%2F%2B%2B%2BAQ%3D%3D HTTP/1.1\r\nhost: 127.0.0.1:"), "{asked}");
}

#[tokio::test]
async fn a_long_request_and_one_that_get_did_not_help_go_by_post() {
    for (request, post) in [(vec![b'x'; 200], false), (vec![b'x'; 20], true)] {
        let (answer, asked) = ask(&http(b"answer"), &request, post).await;
        assert_eq!(answer.unwrap(), &b"answer"[..]);
        assert!(asked.starts_with("POST /ocsp HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("content-type: application/ocsp-request\r\n"), "{asked}");
        assert!(asked.contains(&format!("content-length: {}\r\n", request.len())), "{asked}");
    }
}

#[tokio::test]
async fn redirects_and_errors_are_not_followed_or_read() {
    let (answer, _) = ask(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", b"r", false).await;
    assert!(matches!(answer, Err(OcspError::HttpStatus { status: 302, .. })), "{answer:?}");
    let (answer, _) = ask(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", b"r", false).await;
    assert!(matches!(answer, Err(OcspError::HttpStatus { status: 503, .. })), "{answer:?}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let (answer, _) = ask(&http(&vec![0; MAX_RESPONSE + 1]), b"r", false).await;
    assert!(matches!(answer, Err(OcspError::Long)), "{answer:?}");
    let (answer, _) = ask(&http(&vec![0; MAX_RESPONSE]), b"r", false).await;
    assert_eq!(answer.unwrap().len(), MAX_RESPONSE);
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_no_http_is_an_error() {
    for broken in [&b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"[..], b"", b"SSH-2.0-x\r\n"] {
        let (answer, _) = ask(broken, b"r", false).await;
        assert!(matches!(answer, Err(OcspError::Http { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_responder_that_says_nothing_is_given_up_on() {
    // Accepts by the kernel's hand only.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let responder = Responder::parse(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let answer = responder.ask(b"r", false, WAIT, Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(OcspError::Timeout { .. })), "{answer:?}");
    drop(silent);
    let answer = responder.ask(b"r", false, WAIT, WAIT).await;
    assert!(matches!(answer, Err(OcspError::Connect { .. })), "{answer:?}");
}

#[tokio::test]
async fn addresses_where_no_responder_lives_are_not_asked() {
    for address in [
        "169.254.169.254",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "0.0.0.0",
        "[::]",
        "255.255.255.255",
        "224.0.0.1",
        "[ff02::1]",
    ] {
        let responder = Responder::parse(&format!("http://{address}/latest/")).unwrap();
        let answer = responder.ask(b"r", false, WAIT, WAIT).await;
        assert!(matches!(answer, Err(OcspError::Address { .. })), "{answer:?}");
    }
}

#[test]
fn responders_may_be_on_the_internet_and_on_private_networks() {
    for address in ["192.0.2.1", "10.0.0.1", "127.0.0.1", "fd00::1", "2001:db8::1", "64:ff9b::192.0.2.1"] {
        assert!(is_responders(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn only_http_urls_with_a_host_name_a_responder() {
    for good in ["http://ocsp.example", "HTTP://ocsp.example:8080/a?b", "http://[::1]/"] {
        Responder::parse(good).unwrap();
    }
    for bad in
        ["", "https://ocsp.example", "ldap://x/", "http://", "http://user@x/", "/path", "x", "http://a b/"]
    {
        assert!(matches!(Responder::parse(bad), Err(OcspError::Url { .. })), "{bad}");
    }
}
