//! One table of cases, run against the conformance policy of every language: with a fresh instance for each call, and with
//! one instance for all of them, since a handle that is not given back or a buffer that is used twice shows only there.
//!
//! `cargo xtask languages` builds the policies, `cargo xtask plugins --guests` the one in Rust.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use handfast_conformance::{Hello, Pair, Peer, SUBJECT, Socket, Store, Web};
use handfast_plugin_host::{
    Attribute, CallError, Certificate, Decision, Grant, Host, HostSettings, HttpRequest, Instances,
    KeyAlgorithm, KeyValueBounds, Limits, LoadError, PeerCertificate, Plugin, Policy, PolicySettings,
    Validation, Verdict,
};
use tracing_subscriber::fmt::MakeWriter;

#[tokio::test]
async fn the_policy_in_rust_conforms() {
    conforms("plugins/conformance-rust.wasm", "cargo xtask plugins --guests", Kind::CompiledWithHttp).await;
}

#[tokio::test]
async fn the_policy_in_c_conforms() {
    conforms("policies/conformance-c.wasm", "cargo xtask languages c", Kind::Compiled).await;
}

#[tokio::test]
async fn the_policy_in_go_conforms() {
    conforms("policies/conformance-go.wasm", "cargo xtask languages go", Kind::Compiled).await;
}

#[tokio::test]
async fn the_policy_in_javascript_conforms() {
    let build = "cargo xtask languages javascript";
    conforms("policies/conformance-javascript.wasm", build, Kind::Interpreted).await;
}

#[tokio::test]
async fn the_policy_in_python_conforms() {
    conforms("policies/conformance-python.wasm", "cargo xtask languages python", Kind::Interpreted).await;
}

/// Built once, for version 1.0.0 of the interface, and never again: `tests/fixtures/policy-1.0.0` says how. Whatever of the
/// interface it was built with, it meets in every later version.
#[tokio::test]
async fn the_policy_built_for_1_0_0_still_conforms() {
    conforms("../tests/fixtures/policy-1.0.0/policy.wasm", "it is committed", Kind::For1_0_0).await;
}

/// A client that knows the keys of a policy's maps can choose names which all meet in one place.
#[tokio::test]
async fn two_instances_in_rust_hash_with_different_keys() {
    let [one, other] =
        hashes("plugins/conformance-rust.wasm", "cargo xtask plugins --guests", Kind::CompiledWithHttp).await;
    assert_ne!(one, other);
}

#[tokio::test]
async fn two_instances_in_go_hash_with_different_keys() {
    let [one, other] =
        hashes("policies/conformance-go.wasm", "cargo xtask languages go", Kind::Compiled).await;
    assert_ne!(one, other);
}

/// The opposite of what the two above see to, and of what one would wish: CPython draws the keys of its maps when the component is
/// built, and nothing draws others when an instance starts. `docs/policies/python.md` says so and warns of it; where this
/// fails, it can be said better there. JavaScript is no better: QuickJS hashes with fixed keys, out of sight of a policy.
#[tokio::test]
async fn two_instances_in_python_hash_with_the_same_keys() {
    let build = "cargo xtask languages python";
    let [one, other] = hashes("policies/conformance-python.wasm", build, Kind::Interpreted).await;
    assert_eq!(one, other);
}

/// What two fresh instances hash the same text to.
async fn hashes(component: &'static str, build: &'static str, kind: Kind) -> [String; 2] {
    let policy = Policy::new(&plugin(component, build), settings(CONFIG, Instances::Fresh, kind)).await;
    let policy = policy.expect("a policy that starts");
    let hash = async || {
        let hash = reason(&policy, "hash a.example").await;
        assert!(
            hash.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit()) && hash.len() > 4,
            "{hash}"
        );
        hash
    };
    [hash().await, hash().await]
}

/// What a conformance policy can do, and how fast.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As `README.md` says.
    Compiled,
    /// Its SDK has calls over HTTP, too.
    CompiledWithHttp,
    /// So has its SDK, and an interpreter runs it.
    Interpreted,
    /// It judges its clocks and its randomness itself.
    For1_0_0,
}

impl Kind {
    fn calls_http(self) -> bool {
        matches!(self, Self::CompiledWithHttp | Self::Interpreted)
    }

    /// Those of a policy that sets none. Only interpreters have more time: with six endless loops beside these tests on two cores, in
    /// an unoptimised host, some of their longest calls ended with the timeout of 100 ms in five of six runs; of the others none.
    fn limits(self) -> Limits {
        match self {
            Self::Interpreted => Limits { timeout: Duration::from_secs(20), ..Limits::default() },
            _ => Limits::default(),
        }
    }
}

/// What `select` is shown, and what is to come of it.
struct Case {
    socket: Socket,
    hello: Hello,
    store: Store,
    expected: Expected,
    /// Lines in the log, each with its level.
    lines: Vec<(&'static str, String)>,
}

enum Expected {
    Decision(Verdict, Option<String>),
    /// A trap, after an error of these words in the log.
    Failure(&'static str),
    /// An answer that the interface forbids.
    Invalid,
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("pass", Verdict::Pass, None),
        case("drop", Verdict::Drop, None),
        case("passthrough büro-upstream", Verdict::Passthrough("büro-upstream".into()), None),
        case("answer büro:証明書/🔏", Verdict::Certificate("büro:証明書/🔏".into()), None),
        case("echo ünï 証明書 🤝 \"\\' %s {} $", Verdict::Pass, Some("ünï 証明書 🤝 \"\\' %s {} $")),
        case(&format!("echo {}", "ü".repeat(5_000)), Verdict::Pass, Some(&"ü".repeat(128))),
        case("greeting", Verdict::Pass, Some(GREETING)),
        case("count hits 41", Verdict::Pass, None),
        case("count hits 1", Verdict::Pass, None),
        Case { expected: Expected::Failure("told to fail"), ..case("fail", Verdict::Pass, None) },
        // After a failure the next call has an instance of its own.
        case("pass", Verdict::Pass, None),
        Case { expected: Expected::Invalid, ..case("answer ", Verdict::Pass, None) },
        case("store", Verdict::Pass, Some("- ok 010203 - 5 -2 false true not-a-number too-large")),
        reporting(Socket::told("report"), Hello::rich()),
        reporting(Socket::bare("report"), Hello::bare()),
        reporting(
            Socket::bare("report"),
            Hello { cipher_suites: (0..32_000).rev().collect(), ..Hello::rich() },
        ),
        finding("find nowhere.example", Store::default(), &[]),
        finding("by-id nothing", Store::default(), &[]),
        finding("fallback", Store::default(), &[]),
        logging(),
    ];
    // RFC 8446 section 6: those with a name in the interface, then others.
    for alert in [
        10, 40, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 70, 71, 80, 86, 90, 109, 110, 112, 113, 115, 116,
        120, 1, 200, 255,
    ] {
        cases.push(case(&format!("reject {alert}"), Verdict::Reject(alert), Some("told to reject")));
    }
    cases.push(Case { expected: Expected::Invalid, ..case("reject 0", Verdict::Pass, None) });

    let strange = Pair::strange();
    let keys = [
        (KeyAlgorithm::Rsa, "rsa", 2_048),
        (KeyAlgorithm::EcdsaP256, "ecdsa-p256", 256),
        (KeyAlgorithm::EcdsaP384, "ecdsa-p384", 384),
        (KeyAlgorithm::EcdsaP521, "ecdsa-p521", 521),
        (KeyAlgorithm::Ed25519, "ed25519", 256),
        (KeyAlgorithm::Other, "other", u32::MAX),
    ];
    for key in keys {
        let pair = Pair { key, ..Pair::named("k.example") };
        cases.push(finding("find k.example", Store(vec![pair.clone()]), &[pair]));
    }
    for instruction in [
        &format!("by-id {}", strange.id),
        "fallback",
        "tagged team größte",
        "tagged 🔑 =,:",
        "find n0.example",
    ] {
        cases.push(finding(instruction, Store(vec![strange.clone()]), std::slice::from_ref(&strange)));
    }
    // As many as there can be in a list, three times over: 4,096 handles would be gone if none were given back.
    let many: Vec<_> = (0..64).map(|id| Pair { id: format!("m{id}"), ..Pair::named("m.example") }).collect();
    for _ in 0..70 {
        cases.push(finding("find m.example", Store(many.clone()), &many));
    }
    let unusable = finding("find k.example", Store(vec![Pair::named("k.example")]), &[]);
    cases.push(Case {
        hello: Hello::bare(),
        expected: Expected::Decision(Verdict::Certificate("files:k.example".into()), Some("1".into())),
        lines: lines_of(&[Pair::named("k.example")], false),
        ..unusable
    });
    cases
}

const GREETING: &str = "grüß 🤝 \"dich\" \\ /";
const CONFIG: &str = r#"{"nested": {"greeting": "no", "list": [1, "]", {"a": "}"}]}, "number": -1.5e3, "none": null,
    "greeting": "gr\u00fc\u00df \ud83e\udd1d \"dich\" \\ \/"}"#;

fn case(instruction: &str, verdict: Verdict, reason: Option<&str>) -> Case {
    Case {
        socket: Socket::told(instruction),
        hello: Hello::rich(),
        store: Store::default(),
        expected: Expected::Decision(verdict, reason.map(str::to_owned)),
        lines: Vec::new(),
    }
}

fn reporting(socket: Socket, hello: Hello) -> Case {
    let lines = [socket.line()].into_iter().chain(hello.lines()).map(|line| ("INFO", line)).collect();
    Case { socket, hello, lines, ..case("report", Verdict::Pass, None) }
}

fn finding(instruction: &str, store: Store, found: &[Pair]) -> Case {
    let expected = match found {
        [] => Expected::Decision(Verdict::Reject(112), None),
        [first, ..] => {
            Expected::Decision(Verdict::Certificate(first.id.clone()), Some(found.len().to_string()))
        }
    };
    Case { store, expected, lines: lines_of(found, true), ..case(instruction, Verdict::Pass, None) }
}

fn lines_of(found: &[Pair], usable: bool) -> Vec<(&'static str, String)> {
    let lines =
        found.iter().take(3).flat_map(|pair| [pair.lines(), vec![format!("usable {usable}")]].concat());
    lines.map(|line| ("INFO", line)).collect()
}

fn logging() -> Case {
    let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
    // Four more were written, and dropped by the host.
    let lines =
        levels.into_iter().cycle().zip(0..16).map(|(level, line)| (level, format!("line {line}"))).collect();
    Case { lines, ..case("log", Verdict::Pass, None) }
}

/// Runs all cases, and then says all that was wrong.
#[track_caller]
fn conforms(component: &'static str, build: &'static str, kind: Kind) -> impl Future<Output = ()> {
    let plugin = plugin(component, build);
    async move {
        let mut wrong = Vec::new();
        for instances in [Instances::Fresh, Instances::Reuse { max_idle: 1, calls: u32::MAX }] {
            let web = Arc::new(Web::default());
            let settings = PolicySettings { http: Some(web.clone()), ..settings(CONFIG, instances, kind) };
            let policy = Policy::new(&plugin, settings).await.expect("a policy that starts");
            let mut found = Vec::new();
            for case in cases() {
                found.extend(select(&policy, case).await);
            }
            found.extend(validate(&policy).await);
            found.extend(admit(&policy).await);
            match kind {
                Kind::For1_0_0 => {
                    for own in ["clock", "random"] {
                        found.extend(select(&policy, case(own, Verdict::Pass, Some("true"))).await);
                    }
                }
                _ => {
                    found.extend(clock(&policy, instances != Instances::Fresh).await);
                    found.extend(random(&policy).await);
                }
            }
            if kind.calls_http() {
                found.extend(http(&policy, &web).await);
            }
            let counters = policy.counted().counters;
            if counters != [("hits".to_owned(), 42)] {
                found.push(format!("the counters are {counters:?}"));
            }
            wrong.extend(found.into_iter().map(|found| format!("{instances:?}: {found}")));
        }
        wrong.extend(configure(&plugin, kind).await);
        assert!(wrong.is_empty(), "{} of the cases:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// The component of this path below `target`.
#[track_caller]
fn plugin(component: &str, build: &str) -> Plugin {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let path = target.join(component);
    assert!(path.is_file(), "{} is missing: {build}", path.display());
    let bytes = std::fs::read(path).expect("a component is read");
    let cache = target.join("policies/cache");
    // Compiling Python's interpreter takes many seconds in an unoptimised build. That a child process compiles is the gateway's
    // affair; the address space of a thousand instances is more than the hosts of all these tests can have together.
    let settings = HostSettings { max_instances: 4, code_cache: Some(cache), ..HostSettings::default() };
    let host = Host::new(settings).expect("a host");
    host.load("conformance", &bytes).expect("a component that loads")
}

fn settings(config: &str, instances: Instances, kind: Kind) -> PolicySettings {
    PolicySettings {
        // The store is found by it: each run has its own.
        name: format!("conformance-{instances:?}"),
        config: config.to_owned(),
        limits: kind.limits(),
        instances,
        grants: vec![Grant::Counter, Grant::KeyValue, Grant::Http],
        key_value: KeyValueBounds::default(),
        http: None,
    }
}

async fn select(policy: &Policy, case: Case) -> Option<String> {
    let name = case.socket.instruction.chars().take(40).collect::<String>();
    let call = policy.select(Arc::new(case.socket), Arc::new(case.hello), Arc::new(case.store));
    let (answer, mut lines) = logged(call).await;
    match (&case.expected, &answer) {
        (Expected::Decision(verdict, reason), Ok(decision)) => {
            let expected = Decision { verdict: verdict.clone(), reason: reason.clone() };
            if *decision != expected {
                return Some(format!("{name}: {decision:?}, not {expected:?}"));
            }
        }
        (Expected::Invalid, Err(CallError::InvalidVerdict(_))) => {}
        (Expected::Failure(words), Err(CallError::Trap(trap))) => {
            if !trap.said.as_ref().is_some_and(|said| said.contains(words)) {
                return Some(format!("{name}: {trap}"));
            }
            lines.clear();
        }
        _ => return Some(format!("{name}: {answer:?}")),
    }
    differing(&name, &lines, &case.lines)
}

fn differing(name: &str, lines: &[(String, String)], expected: &[(&str, String)]) -> Option<String> {
    if lines.len() != expected.len() {
        return Some(format!("{name}: {} lines, not {}: {lines:?}", lines.len(), expected.len()));
    }
    lines.iter().zip(expected).find_map(|((level, line), (expected_level, expected))| {
        // 1,024 bytes are kept (`wit/v1`, interface `log`), less at most three of a character that was cut.
        let expected = &expected[..expected.floor_char_boundary(1_024)];
        (level != expected_level || line != expected)
            .then(|| format!("{name}: {level} {line:?}\n     not {expected_level} {expected:?}"))
    })
}

async fn validate(policy: &Policy) -> Vec<String> {
    let leaf =
        Peer { lists: [vec![], vec!["a:b".into(), "c:d".into()], vec![], vec![]], ..Peer::rich("client") };
    let attribute = |name: &str, value: &str| Attribute { name: name.into(), value: value.into() };
    let accepted =
        |uris| Ok(Validation::Accept(vec![attribute("subject", SUBJECT), attribute("uris", uris)]));
    let rejected = Ok(Validation::Reject { alert: 44, reason: Some("revoked".into()) });
    let mut wrong = Vec::new();
    for (chain, expected) in [
        (vec![leaf, Peer::rich("ünï 証明書"), Peer::bare()], accepted("a:b c:d")),
        (vec![Peer::bare()], accepted("")),
        (vec![Peer::rich("revoked")], rejected),
    ] {
        let expected: Result<Validation, CallError> = expected;
        let views = chain.iter().cloned().map(|peer| Arc::new(peer) as Arc<dyn PeerCertificate>).collect();
        let call = policy.validate(
            Arc::new(Socket::told("pass")),
            Arc::new(Hello::rich()),
            Arc::new(Store::default()),
            views,
        );
        let (answer, lines) = logged(call).await;
        if answer.as_ref().ok() != expected.as_ref().ok() {
            wrong.push(format!("validate: {answer:?}, not {expected:?}"));
        }
        let expected: Vec<_> = chain.iter().flat_map(Peer::lines).map(|line| ("INFO", line)).collect();
        wrong.extend(differing("validate", &lines, &expected));
    }
    wrong
}

async fn admit(policy: &Policy) -> Vec<String> {
    let mut wrong = Vec::new();
    for (pair, expected) in [
        (Pair::strange(), Ok(())),
        (Pair::named("refused.büro.example"), Err("refused: refused.büro.example".to_owned())),
        (Pair { names: Vec::new(), ..Pair::named("any") }, Ok(())),
    ] {
        let view = Arc::new(pair.clone()) as Arc<dyn Certificate>;
        let (answer, lines) = logged(policy.admit(view, Arc::new(Store::default()))).await;
        match answer {
            Ok(answer) if answer == expected => {}
            answer => wrong.push(format!("admit: {answer:?}, not {expected:?}")),
        }
        let expected: Vec<_> = pair.lines().into_iter().map(|line| ("INFO", line)).collect();
        wrong.extend(differing("admit", &lines, &expected));
    }
    wrong
}

/// The host's own clocks before and after the call judge. Two calls of one instance are as far apart as the host sees them; how far
/// those of two instances are is for the language to say (Go's clock begins with each).
async fn clock(policy: &Policy, one_instance: bool) -> Vec<String> {
    let seconds = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs();
    let mut wrong = Vec::new();
    let mut last: Option<(Instant, Instant, u64)> = None;
    for _ in 0..3 {
        let (first, begun) = (seconds(), Instant::now());
        let said = reason(policy, "clock").await;
        let (ended, then) = (Instant::now(), seconds());
        let numbers = said
            .split_once(' ')
            .and_then(|(now, monotonic)| Some((now.parse::<u64>().ok()?, monotonic.parse::<u64>().ok()?)));
        let Some((now, monotonic)) = numbers else {
            wrong.push(format!("clock: {said:?}"));
            continue;
        };
        if !(first..=then).contains(&now) {
            wrong.push(format!("clock: {now}, not from {first} to {then}"));
        }
        if let Some((last_begun, last_ended, last)) = last
            && one_instance
        {
            let (least, most) = (begun - last_ended, ended - last_begun);
            let between = monotonic.checked_sub(last).map(Duration::from_nanos);
            if !between.is_some_and(|between| (least..=most).contains(&between)) {
                wrong.push(format!("clock: {between:?} between two calls, not {least:?} to {most:?}"));
            }
        }
        last = Some((begun, ended, monotonic));
    }
    wrong
}

/// Of 4,096 random bits, 2,048 are set, give or take 32: nine times that is not met by chance, nor are two equal draws.
async fn random(policy: &Policy) -> Vec<String> {
    const CALLS: usize = 16;
    let (mut draws, mut numbers, mut ones) = (BTreeSet::new(), BTreeSet::new(), 0);
    for _ in 0..CALLS {
        let said = reason(policy, "random").await;
        let words: Vec<_> = said.split(' ').collect();
        let [one, other, number] = words[..] else { return vec![format!("random: {said:?}")] };
        for draw in [one, other] {
            let bits = u128::from_str_radix(draw, 16).ok().filter(|_| draw.len() == 32);
            let Some(bits) = bits else { return vec![format!("random: {draw:?} are not 16 bytes")] };
            ones += bits.count_ones();
            draws.insert(bits);
        }
        numbers.insert(number.to_owned());
    }
    let mut wrong = Vec::new();
    if draws.len() != 2 * CALLS || numbers.len() != CALLS {
        wrong.push(format!("random: it repeats itself: {draws:x?}, {numbers:?}"));
    }
    if !(1_760..=2_336).contains(&ones) {
        wrong.push(format!("random: {ones} of 4,096 bits are set"));
    }
    wrong
}

/// What arrives at the host's client, to the byte, and what the policy makes of each answer.
async fn http(policy: &Policy, web: &Web) -> Vec<String> {
    let request = |method: &str, secure, authority: &str, path: &str, body: &[u8]| HttpRequest {
        method: method.to_owned(),
        secure,
        authority: authority.to_owned(),
        path: path.to_owned(),
        fields: vec![("x-conformance".to_owned(), b"1".to_vec())],
        body: body.to_vec(),
        patience: Some(Duration::from_millis(250)),
    };
    let path = "/a%20b/c?d=e&f=%C3%BC";
    let body = "ü".repeat(8 << 10);
    let (large, answered) = (format!("{body}."), Web::reason());
    let mut calls = vec![
        ("GET", format!("https://keys.example{path}"), "", request("GET", true, "keys.example", path, b"")),
        ("POST", "https://keys.example:8443/x".into(), &*body, {
            request("POST", true, "keys.example:8443", "/x", body.as_bytes())
        }),
        ("PROPFIND", "http://[2001:db8::1]:80/x".into(), "", {
            request("PROPFIND", false, "[2001:db8::1]:80", "/x", b"")
        }),
    ]
    .into_iter()
    .map(|(method, url, body, asked)| (format!("http {method} {url} {body}"), Some(asked), answered.clone()))
    .collect::<Vec<_>>();
    let nothing = request("GET", true, "keys.example", "/", b"");
    calls.push(("http GET https://keys.example ".into(), Some(nothing), "404 - 0:0".into()));
    for (path, _, word) in Web::FAILURES {
        let asked = request("GET", true, "keys.example", path, b"");
        calls.push((format!("http GET https://keys.example{path} "), Some(asked), word.into()));
    }
    // What never gets as far as that.
    calls.push(("http GET ftp://keys.example/ ".into(), None, "request".into()));
    calls.push(("http GET keys.example ".into(), None, "request".into()));
    calls.push((format!("http POST https://keys.example/x {large}"), None, "too-large".into()));
    let mut wrong = Vec::new();
    for (instruction, expected, word) in calls {
        let (said, asked) = (reason(policy, &instruction).await, web.asked());
        let instruction = instruction.chars().take(60).collect::<String>();
        if said != word {
            wrong.push(format!("{instruction}: {said:?}, not {word:?}"));
        }
        if asked != Vec::from_iter(expected.clone()) {
            wrong.push(format!("{instruction}: asked for {asked:?}, not {expected:?}"));
        }
    }
    wrong
}

/// Why the policy passes.
async fn reason(policy: &Policy, instruction: &str) -> String {
    let told = Socket::told(instruction);
    let answer = policy.select(Arc::new(told), Arc::new(Hello::bare()), Arc::new(Store::default())).await;
    match answer {
        Ok(Decision { verdict: Verdict::Pass, reason }) => reason.unwrap_or_default(),
        answer => format!("{answer:?}"),
    }
}

async fn configure(plugin: &Plugin, kind: Kind) -> Option<String> {
    let refused = settings(r#"{"fail": "nö: 失敗 \"x\""}"#, Instances::Fresh, kind);
    match Policy::new(plugin, refused).await {
        Err(LoadError::Configuration(text)) if text == "nö: 失敗 \"x\"" => None,
        Err(error) => Some(format!("configure: {error:?}")),
        Ok(_) => Some("configure: a configuration that is to be refused is not".to_owned()),
    }
}

/// What a call gives, and the lines that the policy writes meanwhile, with their levels.
async fn logged<T>(call: impl Future<Output = T>) -> (T, Vec<(String, String)>) {
    let written = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(written.clone())
        .with_ansi(false)
        .without_time()
        .with_target(true)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let answer = call.await;
    drop(guard);
    let text = String::from_utf8(written.0.lock().expect("no writer has panicked").clone()).expect("UTF-8");
    let lines = text.lines().filter_map(|line| {
        let (level, rest) = line.split_once(" handfast::policy: ")?;
        let (message, _) = rest.rsplit_once(" policy=")?;
        Some((level.trim().to_owned(), message.to_owned()))
    });
    (answer, lines.collect())
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer has panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
