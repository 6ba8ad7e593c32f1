//! More clients than a policy's calls may be under way, each of which makes its call take all the memory that it can get and
//! keep it: the gateway stays below the bound that docs/configuration.md states, and nobody else notices.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use handfast_tests::{Client, Gateway, Load};
use tempfile::TempDir;

use super::scene;
use crate::guest::{component, pass, select_module};

/// KiB that go to what a policy's calls take beside memory, and to the connections of so many clients.
const BESIDE: u64 = 48 << 10;
/// KiB of memory that all policies' instances may have by default, and of those of each that are not counted.
const ALL: u64 = 256 << 10;
const FREE: u64 = 1 << 10;
/// Calls under way of one policy, by default.
const CONCURRENCY: u64 = 100;

/// Once, a hundred times 16 MiB.
#[test]
fn one_policy_stays_below_half_of_the_memory_for_all() {
    let scene = scene();
    let folder = TempDir::new().expect("a scratch folder");
    let config = scene.config().listener("hostile", "policies = [\"hog\"]").policy("hog", &hog(&folder), "");
    let gateway = Arc::new(Gateway::start(&config));
    let beside = Beside::start(&gateway);
    let clients = clients(&gateway, "hostile", 150);
    clients.wait_for_rounds(300);
    let grown = beside.stop();
    assert!(clients.stop().into_iter().all(|got_in| !got_in));
    assert!(grown < ALL / 2 + CONCURRENCY * FREE + BESIDE, "the gateway grew by {grown} KiB");
}

/// One that starts with as much as others ask for finds room beside three that take all they can get.
#[test]
fn three_policies_stay_below_the_memory_for_all_and_leave_some_to_a_fourth() {
    let scene = scene();
    let folder = TempDir::new().expect("a scratch folder");
    let (hog, large) = (hog(&folder), folder.path().join("large.wasm"));
    fs::write(&large, with_pages(192, &select_module("", &pass()))).expect("a component is written");
    let mut config = scene.config().main_listener("policies = [\"large\"]").policy("large", &large, "");
    let names = ["one", "two", "three"];
    for name in names {
        config = config.listener(name, &format!("policies = [\"{name}\"]")).policy(name, &hog, "");
    }
    let gateway = Arc::new(Gateway::start(&config));
    let beside = Beside::start(&gateway);
    let clients = names.map(|name| clients(&gateway, name, 50));
    clients.iter().for_each(|clients| clients.wait_for_rounds(100));
    let grown = beside.stop();
    assert!(clients.into_iter().flat_map(Load::stop).all(|got_in| !got_in));
    assert!(grown < ALL + 160 * FREE + BESIDE, "the gateway grew by {grown} KiB");
}

/// Takes memory until it gets no more, touches every page of it, and goes on for ever.
fn hog(folder: &TempDir) -> PathBuf {
    let body = "(loop $grow (br_if $grow (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        (loop $touch
            (i32.store8 (global.get $at) (i32.const 1))
            (global.set $at (i32.add (global.get $at) (i32.const 4096)))
            (br_if $touch (i32.lt_u (global.get $at) (i32.mul (memory.size) (i32.const 65536)))))
        (loop $forever (br $forever))";
    let items = format!("(global $at (mut i32) (i32.const 4096)) {}", pass());
    let file = folder.path().join("hog.wasm");
    fs::write(&file, with_pages(1, &select_module(body, &items))).expect("a component is written");
    file
}

fn with_pages(pages: u32, module: &str) -> Vec<u8> {
    let module = module.replacen("\"memory\") 1)", &format!("\"memory\") {pages})"), 1);
    component(&["select"], &module)
}

/// Whether each of these clients was let in, again and again.
fn clients(gateway: &Gateway, listener: &str, number: usize) -> Load<bool> {
    let address = gateway.address(listener);
    Load::start(number, move || Client::new().connect(address, "any.example").is_ok())
}

/// Good handshakes, which look at the gateway's memory as they go.
struct Beside {
    before: u64,
    good: Load<u64>,
}

impl Beside {
    fn start(gateway: &Arc<Gateway>) -> Self {
        let round = {
            let gateway = Arc::clone(gateway);
            move || {
                let response = Client::new().get(gateway.address("main"), "good.example", "/");
                assert_eq!(response.expect("a good handshake").status, 200);
                gateway.memory()
            }
        };
        round();
        let before = gateway.memory();
        let good = Load::start(2, round);
        good.wait_for_rounds(5);
        Self { before, good }
    }

    /// The KiB that it had grown by when it had most.
    #[track_caller]
    fn stop(self) -> u64 {
        self.good.wait_for_rounds(10);
        let most = self.good.stop().into_iter().max().expect("some rounds");
        most.saturating_sub(self.before)
    }
}
