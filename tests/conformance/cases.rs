//! One table of cases, run against the conformance policy of every language: with a fresh instance for each call, and with
//! one instance for all of them, since a handle that is not given back or a buffer that is used twice shows only there.
//!
//! `cargo xtask languages` builds the policies, `cargo xtask plugins --guests` the one in Rust.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handfast_conformance::{Hello, Pair, Peer, SUBJECT, Socket, Store};
use handfast_plugin_host::{
    Attribute, CallError, Certificate, Decision, Grant, Host, HostSettings, Instances, KeyAlgorithm,
    KeyValueBounds, Limits, LoadError, PeerCertificate, Plugin, Policy, PolicySettings, Validation, Verdict,
};
use tracing_subscriber::fmt::MakeWriter;

#[tokio::test]
async fn the_policy_in_rust_conforms() {
    conforms("plugins/conformance-rust.wasm", "cargo xtask plugins --guests").await;
}

#[tokio::test]
async fn the_policy_in_c_conforms() {
    conforms("policies/conformance-c.wasm", "cargo xtask languages c").await;
}

#[tokio::test]
async fn the_policy_in_go_conforms() {
    conforms("policies/conformance-go.wasm", "cargo xtask languages go").await;
}

#[tokio::test]
async fn the_policy_in_javascript_conforms() {
    conforms("policies/conformance-javascript.wasm", "cargo xtask languages javascript").await;
}

#[tokio::test]
async fn the_policy_in_python_conforms() {
    conforms("policies/conformance-python.wasm", "cargo xtask languages python").await;
}

/// Built once, for version 1.0.0 of the interface, and never again: `tests/fixtures/policy-1.0.0` says how. Whatever of the
/// interface it was built with, it meets in every later version.
#[tokio::test]
async fn the_policy_built_for_1_0_0_still_conforms() {
    conforms("../tests/fixtures/policy-1.0.0/policy.wasm", "it is committed").await;
}

/// A client that knows the keys of a policy's maps can choose names which all meet in one place.
#[tokio::test]
async fn two_instances_in_rust_hash_with_different_keys() {
    let [one, other] = hashes("plugins/conformance-rust.wasm", "cargo xtask plugins --guests").await;
    assert_ne!(one, other);
}

#[tokio::test]
async fn two_instances_in_go_hash_with_different_keys() {
    let [one, other] = hashes("policies/conformance-go.wasm", "cargo xtask languages go").await;
    assert_ne!(one, other);
}

/// Not what one would wish, but what `docs/policies/python.md` says and warns of: the interpreter's keys were drawn when the
/// component was built. Where this fails, the page is out of date.
#[tokio::test]
async fn two_instances_in_python_hash_with_the_same_keys() {
    let [one, other] = hashes("policies/conformance-python.wasm", "cargo xtask languages python").await;
    assert_eq!(one, other);
}

/// What two fresh instances hash the same text to.
async fn hashes(component: &'static str, build: &'static str) -> [String; 2] {
    let policy = Policy::new(&plugin(component, build), settings(CONFIG, Instances::Fresh)).await;
    let policy = policy.expect("a policy that starts");
    let hash = async || {
        let told = Socket::told("hash a.example");
        let answer = policy.select(Arc::new(told), Arc::new(Hello::bare()), Arc::new(Store::default())).await;
        answer.expect("a verdict").reason.expect("a reason")
    };
    [hash().await, hash().await]
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
        case("clock", Verdict::Pass, Some("true")),
        case("random", Verdict::Pass, Some("true")),
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
fn conforms(component: &'static str, build: &'static str) -> impl Future<Output = ()> {
    let plugin = plugin(component, build);
    async move {
        let mut wrong = Vec::new();
        for instances in [Instances::Fresh, Instances::Reuse { max_idle: 1, calls: u32::MAX }] {
            let policy =
                Policy::new(&plugin, settings(CONFIG, instances)).await.expect("a policy that starts");
            for case in cases() {
                wrong.extend(select(&policy, case).await.map(|found| format!("{instances:?}: {found}")));
            }
            wrong.extend(validate(&policy).await);
            wrong.extend(admit(&policy).await);
            let counters = policy.counted().counters;
            if !counters.iter().any(|(name, count)| name == "hits" && *count >= 42) {
                wrong.push(format!("{instances:?}: the counters are {counters:?}"));
            }
        }
        wrong.extend(configure(&plugin).await);
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
    // Compiling Python's interpreter takes many seconds in an unoptimised build.
    let settings = HostSettings { max_instances: 4, code_cache: Some(cache), ..HostSettings::default() };
    let host = Host::new(settings).expect("a host");
    host.load_trusted("conformance", &bytes).expect("a component that loads")
}

/// The memory is the default; the time is generous, since the machine that runs the tests is busy.
fn settings(config: &str, instances: Instances) -> PolicySettings {
    PolicySettings {
        // The store is found by it: each run has its own.
        name: format!("conformance-{instances:?}"),
        config: config.to_owned(),
        limits: Limits { timeout: Duration::from_secs(20), ..Limits::default() },
        instances,
        grants: vec![Grant::Counter, Grant::KeyValue],
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

async fn configure(plugin: &Plugin) -> Option<String> {
    let refused = settings(r#"{"fail": "nö: 失敗 \"x\""}"#, Instances::Fresh);
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
