//! The table in `docs/certificates.md`, row by row: what is wrong with the files, what the log says about it, what
//! clients get if it was so at the start, and what they get if it took the place of a good pair while that was serving.
//!
//! The page is read here, so that it can not say anything else than what happens. Every row runs with the real binary,
//! which meets the same files twice: `early.example` is bad before it starts, `shop.example` becomes bad while it
//! serves. Beside them `other.example` is good and stays so, and in the end both are made good again.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use handfast_tests::gateway::finish;
use handfast_tests::tool::obey_file_modes;
use handfast_tests::{
    Authority, Client, Gateway, Leaf, Line, Pair, Refusal, Scene, plugin, repository, require_tool,
};

/// One test for each row, and the list of the rows that there are tests for.
macro_rules! rows {
    ($($test:ident: $row:literal => $spoil:expr;)*) => {
        $(
            #[test]
            fn $test() {
                show($row, $spoil);
            }
        )*

        #[test]
        fn every_row_of_the_page_is_tested() {
            let rows: Vec<String> = rows_of_the_page().into_iter().map(|row| row.input).collect();
            assert_eq!(rows, [$($row),*, NOT_ADMITTED, UNLISTED, DUPLICATE]);
        }
    };
}

rows! {
    no_pem: "The certificate's file is not PEM" => |bad| bad.certificate("not a certificate\n");
    an_empty_file: "The certificate's file is empty" => |bad| bad.certificate("");
    der: "The certificate's file is DER" => |bad| bad.certificate(&bad.pair.leaf);
    cut_off: "The certificate's file is cut off" => |bad| bad.certificate(&bad.pair.certificates_pem[..200]);
    nonsense: "PEM around something else than a certificate" => |bad| bad.certificate(NONSENSE);
    trusted: "A TRUSTED CERTIFICATE of OpenSSL's" => |bad| {
        bad.certificate(openssl(&["x509", "-in", &bad.path("crt"), "-trustout"]));
    };
    the_key_twice: "The key in the certificate's place" => |bad| bad.certificate(&bad.pair.key_pem);
    a_bundle: "A bundle of CA certificates" => |bad| {
        bad.certificate(bad.pair.certificates_pem.repeat(11));
    };
    no_key: "No private key in the key's file" => |bad| bad.key(&bad.pair.certificates_pem);
    an_encrypted_key: "An encrypted key" => |bad| {
        let encrypt = ["pkey", "-aes256", "-passout", "pass:secret", "-in", &bad.path("key")];
        bad.key(openssl(&encrypt));
    };
    an_openssh_key: "A key in OpenSSH's own format" => |bad| {
        bad.key("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
    };
    several_keys: "Several keys" => |bad| bad.key(bad.pair.key_pem.repeat(2));
    an_unusable_key: "A key of a kind that TLS does not use" => |bad| {
        bad.key(openssl(&["ecparam", "-name", "secp256k1", "-genkey", "-noout"]));
    };
    a_stranger: "The key of another certificate" => |bad| {
        bad.key(&bad.authority.server(&[bad.name]).key_pem);
    };
    the_leaf_last: "The chain in the wrong order: the leaf is not the first" => |bad| {
        let Pair { certificates_pem: leaf, .. } = bad.pair;
        bad.certificate(format!("{}{leaf}", bad.authority.root_pem()));
    };
    a_stranger_in_the_chain: "The chain in the wrong order: a certificate that is not the issuer of the one before" => |bad| {
        let Pair { certificates_pem: leaf, .. } = bad.pair;
        bad.certificate(format!("{leaf}{}", Authority::new("Another authority").root_pem()));
    };
    a_namesake: "An issuer that has the right name and did not sign" => |bad| {
        let Pair { certificates_pem: leaf, .. } = bad.pair;
        bad.certificate(format!("{leaf}{}", Authority::new("Handfast test authority").root_pem()));
    };
    a_weak_key: "RSA with 1024 bits" => |bad| bad.self_signed(&["-newkey", "rsa:1024"]);
    an_explicit_curve: "An EC key whose curve is spelled out" => |bad| {
        let curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-pkeyopt", "ec_param_enc:explicit"];
        bad.self_signed(&[&["-newkey", "ec"], &curve[..]].concat());
    };
    sha1: "A signature with SHA-1" => |bad| bad.self_signed(&["-newkey", "rsa:2048", "-sha1"]);
    for_clients: "Issued for clients alone" => |bad| {
        bad.self_signed(&["-newkey", "rsa:2048", "-addext", "extendedKeyUsage=clientAuth"]);
    };
    expired: "Expired (with `serve-expired` it is good)" => |bad| bad.pair(Leaf::server(&[bad.name]).expired());
    an_expired_issuer: "An expired issuer in the chain (with `serve-expired` it is good)" => |bad| {
        let issuer = bad.authority.intermediate_valid_in("Expired issuer", 2020, 2021);
        bad.issued(&issuer.server(&[bad.name]));
    };
    not_yet_valid: "Not yet valid" => |bad| bad.pair(Leaf::server(&[bad.name]).valid_in(2090, 2091));
    readable_by_others: "A key that others can read" => |bad| bad.mode("key", 0o644);
    unreadable: "A file that the gateway may not read" => |bad| bad.mode("key", 0o000);
    huge: "A file of 1 TiB" => |bad| {
        let file = fs::File::options().write(true).open(bad.path("crt")).expect("a file is opened");
        file.set_len(1 << 40).expect("a sparse file is made");
    };
    a_pipe: "A named pipe" => |bad| {
        let path = bad.clear("crt");
        let name = CString::new(path).expect("a path without NUL");
        // SAFETY: a NUL-terminated path that outlives the call.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o644) }, 0);
    };
    a_folder: "A folder in the key's place" => |bad| {
        fs::create_dir(bad.clear("key")).expect("a folder is made");
    };
    no_key_file: "The key's file is missing" => |bad| drop(bad.clear("key"));
    bad_settings: "A `.toml` beside the pair that does not parse" => |bad| {
        fs::write(bad.path("toml"), "tags = [").expect("a file is written");
    };
    no_certificate_file: "The certificate's file is missing" => |bad| drop(bad.clear("crt"));
}

const NOT_ADMITTED: &str = "Refused by an `admit` policy";

#[test]
fn refused_by_a_policy() {
    let row = row(NOT_ADMITTED);
    let scene = Scene::new(&["shop.example", "other.example"]);
    let refused = |name: &str| scene.authority.server(&[name, &format!("refused.{name}")]);
    scene.certificates.put("early.example", &refused("early.example"));
    let gateway = Gateway::start(&scene.config().policy("judge", &plugin("guest-probe"), ""));
    let address = gateway.address("main");
    let log = Log { gateway: &gateway, folder: format!("{}/", scene.certificates.path().display()) };
    log.has_finding("early.example", row.log_early.as_deref().expect("a message"));
    assert_eq!(served_or_alert(address, "early.example"), row.serving_early);

    scene.certificates.put("shop.example", &refused("shop.example"));
    for _ in 0..3 {
        assert_eq!(served(address, "shop.example"), Ok(scene.pairs[0].fingerprint()));
    }
    assert_eq!(row.serving_later, "the last good pair");
    let line = gateway.wait_for("the report", |line| line.is("certificate not replaced"));
    log.says(line.text("error"), "shop.example", &row.log);
    for name in ["early.example", "shop.example"] {
        let good = scene.authority.server(&[name]);
        scene.certificates.put(name, &good);
        assert_eq!(served(address, name), Ok(good.fingerprint()), "{name} is good again");
    }
}

const UNLISTED: &str = "A folder that the gateway may not list";

#[test]
fn a_folder_that_cannot_be_listed() {
    let row = row(UNLISTED);
    let shown = std::thread::spawn(move || {
        obey_file_modes();
        let scene = Scene::new(&["other.example"]);
        let [early, shop] = ["early.example", "shop.example"].map(|name| scene.authority.server(&[name]));
        scene.certificates.put_certbot("early.example", &early);
        scene.certificates.put_certbot("shop.example", &shop);
        let set_mode = |name: &str, mode| {
            let folder = scene.certificates.path().join(name);
            fs::set_permissions(folder, Permissions::from_mode(mode)).expect("a mode is set");
        };
        set_mode("early.example", 0o000);
        let gateway = scene.start();
        let address = gateway.address("main");
        let log = Log { gateway: &gateway, folder: format!("{}/", scene.certificates.path().display()) };
        log.has_finding("early.example", row.log_early.as_deref().expect("a message"));
        assert_eq!(served_or_alert(address, "early.example"), row.serving_early);

        assert_eq!(served(address, "shop.example"), Ok(shop.fingerprint()));
        set_mode("shop.example", 0o000);
        for _ in 0..3 {
            assert_eq!(served(address, "shop.example"), Ok(shop.fingerprint()));
        }
        assert_eq!(row.serving_later, "the last good pair");
        let line = gateway.wait_for("the report", |line| line.is("certificate not replaced"));
        log.says(line.text("error"), "shop.example", &row.log);
        assert_eq!(served(address, "other.example"), Ok(scene.pairs[0].fingerprint()));
        for name in ["early.example", "shop.example"] {
            set_mode(name, 0o700);
            let good = scene.authority.server(&[name]);
            scene.certificates.put_certbot(name, &good);
            assert_eq!(served(address, name), Ok(good.fingerprint()), "{name} is good again");
        }
    });
    if let Err(panic) = shown.join() {
        std::panic::resume_unwind(panic);
    }
}

const DUPLICATE: &str = "A second pair with the same id";

#[test]
fn a_second_pair_with_the_same_id() {
    let row = row(DUPLICATE);
    assert_eq!(row.serving_later, "the last good pair");
    let scene = Scene::new(&["other.example"]);
    let pair = |name: &str| scene.authority.server(&[name]);
    let [first, late, second] = ["early.example", "shop.example", "shop.example"].map(pair);
    // In the order of their paths: a folder's name ends before that of the file beside it.
    scene.certificates.put_certbot("early.example", &first);
    scene.certificates.put("early.example", &pair("early.example"));
    scene.certificates.put_certbot("shop.example", &late);
    let gateway = scene.start();
    let address = gateway.address("main");
    let log = Log { gateway: &gateway, folder: format!("{}/", scene.certificates.path().display()) };
    log.has_finding("early.example", &row.log);
    assert_eq!(row.serving_early, Serving::First);
    assert_eq!(served(address, "early.example"), Ok(first.fingerprint()));

    scene.certificates.put("shop.example", &second);
    let line = gateway.wait_for("the report", |line| {
        line.is("certificate not served") && line.text("certificate") == "shop.example"
    });
    log.says(line.text("error"), "shop.example", &row.log);
    assert_eq!(served(address, "shop.example"), Ok(late.fingerprint()));
}

/// Spoils `early.example` before the start and `shop.example` after it.
fn show(row_name: &str, spoil: impl Fn(&Bad) + Send + 'static) {
    let row = row(row_name);
    // In a thread of its own, which gives up what lets root read every file; others may need that.
    let shown = std::thread::spawn(move || {
        obey_file_modes();
        let scene = Scene::new(&["early.example", "shop.example", "other.example"]);
        let bad = |index: usize| Bad {
            scene: &scene,
            authority: &scene.authority,
            pair: &scene.pairs[index],
            name: ["early.example", "shop.example"][index],
        };
        spoil(&bad(0));
        let gateway = scene.start();
        let address = gateway.address("main");
        let log = Log { gateway: &gateway, folder: format!("{}/", scene.certificates.path().display()) };
        match &row.log_early {
            Some(text) => log.has_finding("early.example", text),
            None => log.has_no_finding("early.example"),
        }
        assert_eq!(served_or_alert(address, "early.example"), row.serving_early);

        assert_eq!(served(address, "shop.example"), Ok(scene.pairs[1].fingerprint()));
        spoil(&bad(1));
        for _ in 0..3 {
            assert_eq!(served(address, "shop.example"), Ok(scene.pairs[1].fingerprint()));
        }
        // Not just any: where two files were changed, a slow machine may have had one about the first.
        let is_report = |line: &Line| {
            line.is("certificate not replaced") && log.is(line.text("error"), "shop.example", &row.log)
        };
        let line = gateway.wait_for(&format!("the warning {:?}", row.log), is_report);
        assert_eq!(line.text("level"), "WARN");
        assert_eq!(line.text("certificate"), "shop.example");
        assert_eq!(line.text("serving"), scene.pairs[1].fingerprint());
        assert_eq!(gateway.lines(is_report).len(), 1, "it is said once:\n{}", gateway.log_text());
        assert_eq!(row.serving_later, "the last good pair");
        assert_eq!(served(address, "other.example"), Ok(scene.pairs[2].fingerprint()));

        for name in ["early.example", "shop.example"] {
            let good = scene.authority.server(&[name]);
            clear(&scene, name);
            scene.certificates.put(name, &good);
            assert_eq!(served(address, name), Ok(good.fingerprint()), "{name} is good again");
        }
    });
    if let Err(panic) = shown.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A row of the page.
#[derive(Debug)]
struct Row {
    input: String,
    /// The error, about `shop.example` in the folder of the source. `…` stands for anything.
    log: String,
    /// The finding at the start, if there is one.
    log_early: Option<String>,
    serving_early: Serving,
    serving_later: String,
}

/// What clients get of a pair that was bad at the start.
#[derive(Debug, PartialEq, Eq)]
enum Serving {
    Alert(String),
    /// The pair that is first in the order of the paths.
    First,
}

fn row(input: &str) -> Row {
    let rows = rows_of_the_page().into_iter();
    rows.into_iter().find(|row| row.input == input).unwrap_or_else(|| panic!("no row {input:?} on the page"))
}

fn rows_of_the_page() -> Vec<Row> {
    let page = fs::read_to_string(repository().join("docs/certificates.md")).expect("the page is read");
    let table = page.split("\n\n").find(|block| block.starts_with("| what is wrong |")).expect("a table");
    let cells = |line: &str| {
        let line = line.trim_start_matches("| ").trim_end_matches(" |").to_owned();
        line.split(" | ").map(str::to_owned).collect::<Vec<_>>()
    };
    let row = |line: &str| match &cells(line)[..] {
        [input, log, early, later] => {
            let log = code(log).into_iter().next().expect("a message");
            let mut early_code = code(early).into_iter();
            let serving_early = match early.starts_with('`') {
                true => Serving::Alert(early_code.next().expect("an alert")),
                false if early == "the first in the order of their paths" => Serving::First,
                false => panic!("not understood: {early}"),
            };
            let log_early = match early_code.next() {
                Some(other) => Some(other),
                None if early.ends_with("nothing in the log") => None,
                None => Some(log.clone()),
            };
            Row { input: input.clone(), log, log_early, serving_early, serving_later: later.clone() }
        }
        other => panic!("not a row: {other:?}"),
    };
    table.lines().skip(2).map(row).collect()
}

/// What stands in backquotes, single or double.
fn code(cell: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut rest = cell;
    while let Some(start) = rest.find('`') {
        let fence = if rest[start..].starts_with("``") { "``" } else { "`" };
        let inner = &rest[start + fence.len()..];
        let end = inner.find(fence).unwrap_or_else(|| panic!("an open backquote: {cell}"));
        // A message that ends with a backquote is set off by a space.
        spans.push(inner[..end].trim().to_owned());
        rest = &inner[end + fence.len()..];
    }
    spans
}

/// The log of a gateway, and the folder that its messages name files in.
struct Log<'a> {
    gateway: &'a Gateway,
    folder: String,
}

impl Log<'_> {
    #[track_caller]
    fn has_finding(&self, name: &str, pattern: &str) {
        let findings = self.findings(name);
        assert_eq!(findings.len(), 1, "{}", self.gateway.log_text());
        let text = findings[0].split_once(": ").expect("a subject and a text").1;
        self.says(text, name, pattern);
    }

    #[track_caller]
    fn has_no_finding(&self, name: &str) {
        assert_eq!(self.findings(name), Vec::<String>::new());
    }

    /// What the start said about a certificate, or about a file of it.
    fn findings(&self, name: &str) -> Vec<String> {
        let lines = self.gateway.lines(|line| line.is("certificate source"));
        let findings = lines.iter().map(|line| line.text("finding").to_owned());
        findings.filter(|finding| finding.contains(name)).collect()
    }

    #[track_caller]
    fn says(&self, message: &str, name: &str, pattern: &str) {
        assert!(self.is(message, name, pattern), "the page: {pattern}\nthe log:  {message}");
    }

    /// Whether a message is what the page has, with `name` for `shop.example` and anything for `…`.
    fn is(&self, message: &str, name: &str, pattern: &str) -> bool {
        let message = message.replace(&self.folder, "");
        let pattern = pattern.replace("shop.example", name);
        match pattern.split_once('…') {
            Some((start, end)) => {
                message.len() >= start.len() + end.len()
                    && message.starts_with(start)
                    && message.ends_with(end)
            }
            None => message == pattern,
        }
    }
}

/// A pair that is made bad.
struct Bad<'a> {
    scene: &'a Scene,
    authority: &'a Authority,
    /// What it is while it is good.
    pair: &'a Pair,
    name: &'a str,
}

impl Bad<'_> {
    fn path(&self, extension: &str) -> String {
        self.file(extension).into_os_string().into_string().expect("a path is UTF-8")
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.scene.certificates.path().join(format!("{}.{extension}", self.name))
    }

    fn certificate(&self, bytes: impl AsRef<[u8]>) {
        self.replace("crt", bytes.as_ref());
    }

    fn key(&self, bytes: impl AsRef<[u8]>) {
        self.replace("key", bytes.as_ref());
    }

    fn pair(&self, leaf: Leaf) {
        self.issued(&self.authority.issue(leaf));
    }

    fn issued(&self, pair: &Pair) {
        self.scene.certificates.put(self.name, pair);
    }

    /// What `openssl req` makes of these arguments.
    fn self_signed(&self, arguments: &[&str]) {
        let scratch = tempfile::TempDir::new().expect("a scratch folder");
        let key = scratch.path().join("key.pem");
        let (subject, names) = (format!("/CN={}", self.name), format!("subjectAltName=DNS:{}", self.name));
        let common = ["req", "-x509", "-nodes", "-days", "90", "-subj", &subject, "-addext", &names];
        let key_text = key.to_str().expect("a path is UTF-8");
        let certificate = openssl(&[&common[..], arguments, &["-keyout", key_text]].concat());
        self.key(fs::read(&key).expect("a key was made"));
        self.certificate(certificate);
    }

    fn mode(&self, extension: &str, mode: u32) {
        fs::set_permissions(self.file(extension), Permissions::from_mode(mode)).expect("a mode is set");
    }

    /// Removes a file and returns where it was.
    fn clear(&self, extension: &str) -> String {
        fs::remove_file(self.file(extension)).expect("a file is removed");
        self.path(extension)
    }

    fn replace(&self, extension: &str, bytes: &[u8]) {
        let staged = self.scene.certificates.path().join(".staged");
        fs::write(&staged, bytes).expect("a file is written");
        fs::set_permissions(&staged, Permissions::from_mode(0o600)).expect("a mode is set");
        fs::rename(&staged, self.file(extension)).expect("a file is renamed");
    }
}

/// PEM, and base64, and nothing in it.
const NONSENSE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// Removes what a new pair does not take the place of: no file can be renamed over a folder.
fn clear(scene: &Scene, name: &str) {
    let path = |extension| scene.certificates.path().join(format!("{name}.{extension}"));
    let _ = fs::remove_dir(path("key"));
    let _ = fs::remove_file(path("toml"));
}

#[track_caller]
fn served_or_alert(address: SocketAddr, name: &str) -> Serving {
    match served(address, name) {
        Err(Refusal::Alert(alert)) => Serving::Alert(alert.to_owned()),
        other => panic!("{other:?}"),
    }
}

fn served(address: SocketAddr, name: &str) -> Result<String, Refusal> {
    Client::new().connect(address, name).map(|session| session.certificate())
}

#[track_caller]
fn openssl(arguments: &[&str]) -> String {
    require_tool("openssl", "openssl");
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(std::process::Stdio::null());
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}
