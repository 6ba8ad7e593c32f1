//! What one call costs: `cargo bench -p handfast-plugin-host [-- policy.wasm [config-json]]`.
//!
//! Without arguments, a guest written by hand that reads the server name, finds a certificate and answers with its id;
//! with one, any component that exports `select`, compared fresh and reused. Prints the median, the 99th percentile
//! and the CPU time per call, of one thread and of two at once. Not the calls a second: on a shared machine the second
//! core may not be there, and CPU time still shows whether the threads get in each other's way.
//!
//! `-- --json policy.wasm FOLDER` prints on one line what `cargo xtask bench policy` reads; compiled code is kept in the folder.

use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handfast_plugin_host::{
    Certificate, Certificates, ClientHello, Connection, Host, HostSettings, Instances, KeyAlgorithm,
    KeyValueBounds, Limits, Plugin, Policy, PolicySettings,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const CALLS: usize = 100_000;

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").collect::<Vec<_>>();
    if let [option, path, cache] = arguments.as_slice()
        && option == "--json"
    {
        return figures(path, cache);
    }
    let host = Host::new(HostSettings::default()).expect("the host starts");
    let config = arguments.get(1).map_or("{}", String::as_str);
    match arguments.first() {
        Some(path) => {
            let bytes = std::fs::read(path).expect("the component can be read");
            measure(&host, path, &bytes, config);
        }
        None => {
            measure(&host, "by hand", &component(&["select"], ""), config);
            measure(&host, "by hand, configure", &component(&["select", "configure"], CONFIGURE), config);
        }
    }
}

fn measure(host: &Host, name: &str, bytes: &[u8], config: &str) {
    let begin = Instant::now();
    let plugin = host.load(name, bytes).expect("the component loads");
    println!("{name}: {} bytes, loaded in {:.1?}", bytes.len(), begin.elapsed());
    let reuse = Instances::Reuse { max_idle: 16, calls: 1_000 };
    for (how, instances) in [("fresh", Instances::Fresh), ("reused", reuse)] {
        let policy = Arc::new(policy(&plugin, config, instances));
        let mut times = on_thread(&policy, &mut OtherWork::none());
        times.sort_unstable();
        let (median, tail) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let mut cold = on_thread(&policy, &mut OtherWork::of(OTHER_WORK));
        cold.sort_unstable();
        let cold = cold[cold.len() / 2];
        println!(
            "  {how:7} median {:6.2} µs   p99 {:7.2} µs   after other work {:6.2} µs   CPU of one thread {:5.2} µs, of each of two {:5.2} µs",
            median.as_nanos() as f64 / 1e3,
            tail.as_nanos() as f64 / 1e3,
            cold.as_nanos() as f64 / 1e3,
            cpu_time(&policy, 1),
            cpu_time(&policy, 2),
        );
    }
}

/// Calls of one kind: as many as this time allows, since one of Python's in a fresh instance takes a thousand of Rust's.
const PATIENCE: Duration = Duration::from_secs(1);

/// Instances that are kept to see what one takes.
const KEPT: usize = 16;

fn figures(path: &str, cache: &str) {
    let bytes = std::fs::read(path).expect("the component can be read");
    let bare = Host::new(HostSettings::default()).expect("the host starts");
    let mut compile = Duration::ZERO;
    let plugin = timed(&mut compile, || bare.load(path, &bytes).expect("the component loads"));
    drop((plugin, bare));
    let settings = || HostSettings { code_cache: Some(cache.into()), ..HostSettings::default() };
    let first = Host::new(settings()).expect("the host starts");
    drop((first.load(path, &bytes).expect("the component loads"), first));
    // Another host knows of it what is on disk.
    let host = Host::new(settings()).expect("the host starts");
    let mut cached = Duration::ZERO;
    let plugin = timed(&mut cached, || host.load(path, &bytes).expect("the component loads"));

    let reuse = || Instances::Reuse { max_idle: 16, calls: u32::MAX };
    let fresh = cpu_time_within(&policy(&plugin, "{}", Instances::Fresh));
    let reused = cpu_time_within(&policy(&plugin, "{}", reuse()));
    let views = Views::new();
    let policies: Vec<Policy> = (0..KEPT).map(|_| policy(&plugin, "{}", reuse())).collect();
    let before = memory();
    // Each keeps the instance of its call.
    policies.iter().for_each(|policy| runtime().block_on(views.call(policy)));
    let kept = memory().saturating_sub(before) as f64 / KEPT as f64;
    println!(
        "{{\"size_bytes\":{},\"compile_ms\":{:.3},\"cached_load_ms\":{:.3},\"fresh_us\":{fresh:.3},\"reused_us\":{reused:.3},\"instance_kib\":{kept:.1}}}",
        bytes.len(),
        compile.as_secs_f64() * 1e3,
        cached.as_secs_f64() * 1e3,
    );
}

fn timed<T>(took: &mut Duration, work: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let done = work();
    *took = begin.elapsed();
    done
}

/// CPU time of a call on one thread, in µs, once it is warm.
fn cpu_time_within(policy: &Policy) -> f64 {
    let views = Views::new();
    runtime().block_on(async {
        let calls_within = async |patience: Duration| {
            let (begin, cpu, mut calls) = (Instant::now(), on_cpu(), 0_u64);
            while begin.elapsed() < patience {
                views.call(policy).await;
                calls += 1;
            }
            (on_cpu() - cpu) as f64 / calls as f64 / 1e3
        };
        calls_within(PATIENCE / 4).await;
        calls_within(PATIENCE).await
    })
}

/// KiB that this process has in memory, a page that it maps several times counted once.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel tells the memory");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("it has a line of it");
    line.trim().trim_end_matches(" kB").parse().expect("a number comes first")
}

fn policy(plugin: &Plugin, config: &str, instances: Instances) -> Policy {
    let limits = Limits::default();
    let settings = PolicySettings {
        name: "bench".into(),
        config: config.into(),
        limits,
        instances,
        grants: Vec::new(),
        key_value: KeyValueBounds::default(),
        http: None,
    };
    runtime().block_on(Policy::new(plugin, settings)).expect("the policy starts")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// What a handshake does between two calls to the caches of its core, in bytes written.
const OTHER_WORK: usize = 512 << 10;

/// Work between calls that has nothing to do with them, so that they find their memory where a handshake finds it: not
/// in the nearest cache.
struct OtherWork(Vec<u8>);

impl OtherWork {
    fn none() -> Self {
        Self(Vec::new())
    }

    fn of(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }

    fn run(&mut self) {
        for line in self.0.chunks_mut(64) {
            line[0] = line[0].wrapping_add(1);
        }
        std::hint::black_box(&mut self.0);
    }
}

fn on_thread(policy: &Policy, work: &mut OtherWork) -> Vec<Duration> {
    let views = Views::new();
    runtime().block_on(async {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            work.run();
            let begin = Instant::now();
            views.call(policy).await;
            times.push(begin.elapsed());
        }
        times
    })
}

/// CPU time of a call, in µs, with that many threads calling at once: what contention would raise.
fn cpu_time(policy: &Arc<Policy>, threads: usize) -> f64 {
    let threads = (0..threads).map(|_| {
        let policy = Arc::clone(policy);
        std::thread::spawn(move || {
            let views = Views::new();
            runtime().block_on(async {
                let begin = on_cpu();
                for _ in 0..CALLS {
                    views.call(&policy).await;
                }
                on_cpu() - begin
            })
        })
    });
    let threads = threads.collect::<Vec<_>>();
    let calls = threads.len() * CALLS;
    let nanoseconds = threads.into_iter().map(|thread| thread.join().expect("the thread ends well"));
    nanoseconds.sum::<u64>() as f64 / calls as f64 / 1e3
}

/// Nanoseconds this thread has spent on a CPU: the first field of its `schedstat`.
fn on_cpu() -> u64 {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel accounts for threads");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number comes first")
}

struct Views {
    connection: Arc<dyn Connection>,
    hello: Arc<dyn ClientHello>,
    certificates: Arc<dyn Certificates>,
}

impl Views {
    fn new() -> Self {
        Self {
            connection: Arc::new(Socket),
            hello: Arc::new(Hello),
            certificates: Arc::new(Store(Arc::new(Pair))),
        }
    }

    async fn call(&self, policy: &Policy) {
        let (connection, hello) = (Arc::clone(&self.connection), Arc::clone(&self.hello));
        let decision = policy.select(connection, hello, Arc::clone(&self.certificates)).await;
        std::hint::black_box(decision.expect("the policy answers"));
    }
}

/// Answers with the id of the first certificate of the server name, canonical ABI by hand.
const SELECT: &str = r#"
    (func (export "handfast:policy/select@1.0.0#select") (param $connection i32) (param $hello i32) (result i32)
        (call $server_name (local.get $hello) (i32.const 128))
        (call $find (i32.load (i32.const 132)) (i32.load (i32.const 136)) (i32.const 144))
        (call $id (i32.load (i32.load (i32.const 144))) (i32.const 152))
        (i32.store8 (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.load (i32.const 152)))
        (i32.store (i32.const 24) (i32.load (i32.const 156)))
        (call $drop_certificate (i32.load (i32.load (i32.const 144))))
        (call $drop_connection (local.get $connection))
        (call $drop_hello (local.get $hello))
        (global.set $next (i32.const 1024))
        (i32.const 16))"#;

const CONFIGURE: &str = r#"
    (func (export "handfast:policy/configure@1.0.0#configure") (param i32 i32) (result i32) (i32.const 64))"#;

fn component(exports: &[&str], functions: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "handfast:policy/types@1.0.0" "[resource-drop]connection" (func $drop_connection (param i32)))
            (import "handfast:policy/types@1.0.0" "[resource-drop]client-hello" (func $drop_hello (param i32)))
            (import "handfast:policy/types@1.0.0" "[resource-drop]certificate" (func $drop_certificate (param i32)))
            (import "handfast:policy/types@1.0.0" "[method]client-hello.server-name"
                (func $server_name (param i32 i32)))
            (import "handfast:policy/types@1.0.0" "[method]certificate.id" (func $id (param i32 i32)))
            (import "handfast:policy/certificates@1.0.0" "find" (func $find (param i32 i32 i32)))
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            {SELECT} {functions})"#
    );
    let mut resolve = Resolve::default();
    resolve.push_str("policy.wit", include_str!("../../../wit/v1/policy.wit")).expect("the interface parses");
    let exports =
        exports.iter().map(|name| format!("export handfast:policy/{name}@1.0.0;")).collect::<String>();
    let world =
        format!("package bench:guest; world guest {{ include handfast:policy/imports@1.0.0; {exports} }}");
    let package = resolve.push_str("guest.wit", &world).expect("the world parses");
    let world = resolve.select_world(&[package], Some("guest")).expect("the world is there");
    let mut module = wat::parse_str(module).expect("the module parses");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("it has a world");
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).expect("the module fits its world");
    encoder.encode().expect("it becomes a component")
}

struct Socket;

impl Connection for Socket {
    fn listener(&self) -> &str {
        "https"
    }

    fn client_address(&self) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 7], 4711))
    }

    fn server_address(&self) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 443))
    }

    fn proxied(&self) -> bool {
        false
    }

    fn proxy_tlvs(&self) -> Vec<(u8, Vec<u8>)> {
        Vec::new()
    }
}

struct Hello;

impl ClientHello for Hello {
    fn server_name(&self) -> Option<&str> {
        Some("www.example.org")
    }

    fn alpn(&self) -> Vec<Vec<u8>> {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    }

    fn protocol_versions(&self) -> Vec<u16> {
        vec![0x0304, 0x0303]
    }

    fn cipher_suites(&self) -> Vec<u16> {
        vec![0x1301, 0x1302, 0x1303]
    }

    fn signature_schemes(&self) -> Vec<u16> {
        vec![0x0403, 0x0804]
    }

    fn named_groups(&self) -> Vec<u16> {
        vec![0x001d, 0x0017]
    }

    fn extensions(&self) -> Vec<u16> {
        vec![0, 10, 13, 16, 43, 51]
    }

    fn ja3(&self) -> String {
        "0".repeat(32)
    }

    fn ja4(&self) -> String {
        "t13d1516h2_8daaf6152771_e5627efa2ab1".into()
    }

    fn raw(&self) -> Vec<u8> {
        vec![0; 512]
    }

    fn offers_resumption(&self) -> bool {
        false
    }
}

struct Pair;

impl Certificate for Pair {
    fn id(&self) -> &str {
        "www.example.org/ecdsa"
    }

    fn names(&self) -> Vec<String> {
        vec!["www.example.org".into()]
    }

    fn key_algorithm(&self) -> KeyAlgorithm {
        KeyAlgorithm::EcdsaP256
    }

    fn key_bits(&self) -> u32 {
        256
    }

    fn not_before(&self) -> i64 {
        0
    }

    fn not_after(&self) -> i64 {
        i64::MAX
    }

    fn issuer(&self) -> String {
        "CN=ca".into()
    }

    fn serial(&self) -> String {
        "1".into()
    }

    fn fingerprint(&self) -> String {
        "0".repeat(64)
    }

    fn der(&self) -> Vec<u8> {
        vec![0; 1_024]
    }

    fn tags(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn usable_by(&self, hello: &dyn ClientHello) -> bool {
        hello.signature_schemes().contains(&0x0403)
    }
}

struct Store(Arc<dyn Certificate>);

impl Certificates for Store {
    fn find(&self, _: &str) -> Vec<Arc<dyn Certificate>> {
        vec![Arc::clone(&self.0)]
    }

    fn refresh<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(ready(false))
    }

    fn by_id(&self, _: &str) -> Option<Arc<dyn Certificate>> {
        Some(Arc::clone(&self.0))
    }

    fn tagged(&self, _: &str, _: &str) -> Vec<Arc<dyn Certificate>> {
        vec![Arc::clone(&self.0)]
    }

    fn fallback(&self) -> Option<Arc<dyn Certificate>> {
        Some(Arc::clone(&self.0))
    }
}
