//! Mistakes of an operator: each is one screen of text with its place and its remedy, and the exit code says whether the
//! command was wrong (2) or the world was (1).

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use handfast_tests::gateway::{binary, finish};
use handfast_tests::{Finished, Scene, handfast, plugin, require_tool};
use tempfile::TempDir;

const USAGE: Option<i32> = Some(2);
const RUNTIME: Option<i32> = Some(1);

#[test]
fn no_command() {
    let desk = Desk::new();
    let finished = desk.handfast(&[]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("no_command", &finished);
}

#[test]
fn no_config() {
    let desk = Desk::new();
    let finished = desk.handfast(&["run"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("no_config", &finished);
}

#[test]
fn a_config_that_does_not_exist() {
    let desk = Desk::new();
    let finished = desk.handfast(&["run", "-c", "missing.toml"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("missing_config", &finished);
}

#[test]
fn an_unknown_key() {
    Desk::new().refuses("unknown_key", USAGE, GOOD, ("address = ", "adress = "));
}

#[test]
fn an_unknown_table() {
    Desk::new().refuses("unknown_table", USAGE, GOOD, ("[[listener]]", "[[listner]]"));
}

#[test]
fn a_wrong_type() {
    Desk::new().refuses("wrong_type", USAGE, GOOD, ("\"127.0.0.1:0\"", "443"));
}

#[test]
fn an_address_that_is_none() {
    Desk::new().refuses("wrong_address", USAGE, GOOD, ("127.0.0.1:0", "localhost"));
}

#[test]
fn a_duration_without_a_unit() {
    let change = ("[[listener]]", "[gateway]\nhandshake-timeout = \"10\"\n\n[[listener]]");
    Desk::new().refuses("duration_without_unit", USAGE, GOOD, change);
}

#[test]
fn text_that_is_not_toml() {
    Desk::new().refuses("not_toml", USAGE, GOOD, ("name = \"main\"", "name = main"));
}

#[test]
fn a_policy_that_is_not_configured() {
    let change = ("name = \"main\"", "name = \"main\"\npolicies = [\"allow\"]");
    let good = format!("{GOOD}\n[[policy]]\nname = \"allow-list\"\nplugin = \"policy.wasm\"\n");
    Desk::new().refuses("unknown_policy", USAGE, &good, change);
}

#[test]
fn a_policy_that_is_named_twice() {
    let change = ("name = \"main\"", "name = \"main\"\npolicies = [\"allow-list\", \"allow-list\"]");
    let good = format!("{GOOD}\n[[policy]]\nname = \"allow-list\"\nplugin = \"policy.wasm\"\n");
    Desk::new().refuses("policy_twice", USAGE, &good, change);
}

#[test]
fn an_upstream_that_is_not_configured() {
    Desk::new().refuses("unknown_upstream", USAGE, GOOD, ("upstream = \"echo\"", "upstream = \"ecko\""));
}

#[test]
fn a_rule_that_needs_a_default_certificate() {
    let change = ("name = \"main\"", "name = \"main\"\nno-server-name = \"default\"");
    Desk::new().refuses("rule_without_default", USAGE, GOOD, change);
}

#[test]
fn a_folder_of_certificates_that_does_not_exist() {
    Desk::new().refuses(
        "missing_certificates",
        RUNTIME,
        GOOD,
        ("path = \"certificates\"", "path = \"certs\""),
    );
}

#[test]
fn a_plugin_that_does_not_exist() {
    Desk::new().refuses_plugin("missing_plugin", None);
}

#[test]
fn trust_anchors_that_do_not_exist() {
    let change = (
        "name = \"main\"",
        "name = \"main\"\nclient-certificates = { mode = \"require\", trust-anchors = \"ca.pem\" }",
    );
    Desk::new().refuses("missing_trust_anchors", RUNTIME, GOOD, change);
}

#[test]
fn trust_anchors_that_hold_none() {
    let desk = Desk::new();
    fs::write(desk.path().join("ca.pem"), "no certificate").expect("a file is written");
    let change = (
        "name = \"main\"",
        "name = \"main\"\nclient-certificates = { mode = \"require\", trust-anchors = \"ca.pem\" }",
    );
    desk.refuses("empty_trust_anchors", RUNTIME, GOOD, change);
}

#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    Desk::new().refuses("port_in_use", RUNTIME, GOOD, ("127.0.0.1:0", &address));
}

#[test]
fn an_address_of_another_machine() {
    Desk::new().refuses("foreign_address", RUNTIME, GOOD, ("127.0.0.1:0", "192.0.2.1:443"));
}

#[test]
fn a_port_without_permission() {
    require_tool("setpriv", "util-linux");
    require_tool("unshare", "util-linux");
    let desk = Desk::new();
    desk.write_config(&GOOD.replace("127.0.0.1:0", "0.0.0.0:443"));
    desk.open_to_others();
    let key = desk.scene.certificates.path().join("a.example.key");
    chown(key, Some(65534), Some(65534)).expect("root gives a file away");
    // Root may bind any port, and some machines let everybody: another user in a network of its own may not.
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
    ]);
    command.arg(desk.path().join("handfast")).args(["run", "-c", "handfast.toml"]).current_dir(desk.path());
    fs::copy(binary(), desk.path().join("handfast")).expect("the binary is copied where others can run it");
    let finished = finish(command);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stderr);
    desk.snapshot("port_without_permission", &finished);
}

#[test]
fn two_listeners_on_one_address() {
    let second = "[[listener]]\nname = \"second\"\naddress = \"0.0.0.0:8443\"\n\n[[certificate-source]]";
    let good = GOOD.replace("127.0.0.1:0", "127.0.0.1:8443");
    Desk::new().check_refuses("clashing_addresses", &good, ("[[certificate-source]]", second));
}

#[test]
fn an_admin_listener_on_the_address_of_another() {
    let admin = "[admin]\naddress = \"127.0.0.1:8443\"\n\n[[certificate-source]]";
    let good = GOOD.replace("127.0.0.1:0", "[::]:8443");
    Desk::new().check_refuses("clashing_admin_address", &good, ("[[certificate-source]]", admin));
}

#[test]
fn an_endpoint_that_is_none() {
    for (name, endpoint) in [
        ("endpoint_without_port", "app.internal"),
        ("endpoint_with_scheme", "http://127.0.0.1:8080"),
        ("endpoint_with_port_zero", "127.0.0.1:0"),
    ] {
        Desk::new().check_refuses(name, GOOD, ("127.0.0.1:1", endpoint));
    }
}

#[test]
fn a_log_filter_that_is_none() {
    for (name, filter) in
        [("mistyped_log_level", "inof"), ("mistyped_log_target_level", "handfast=debgu,warn")]
    {
        let log = format!("[log]\nfilter = \"{filter}\"\n\n[[certificate-source]]");
        Desk::new().check_refuses(name, GOOD, ("[[certificate-source]]", &log));
    }
}

#[test]
fn bounds_of_http_that_let_nothing_through() {
    for (name, key) in [
        ("no_streams", "max-concurrent-streams = 0"),
        ("too_many_streams", "max-concurrent-streams = 100000"),
        ("tiny_heads", "max-header-bytes = \"100B\""),
    ] {
        let http = format!("[http]\n{key}\n\n[[certificate-source]]");
        Desk::new().check_refuses(name, GOOD, ("[[certificate-source]]", &http));
    }
}

#[test]
fn no_connections_per_client() {
    let change = ("name = \"main\"", "name = \"main\"\nmax-connections-per-client = 0");
    Desk::new().check_refuses("no_connections_per_client", GOOD, change);
}

#[test]
fn values_of_the_wrong_kind() {
    for (name, from, to) in [
        ("text_for_a_number", "[[listener]]", "[gateway]\nmax-connections = \"many\"\n\n[[listener]]"),
        ("negative_number", "[[listener]]", "[gateway]\nmax-connections = -1\n\n[[listener]]"),
        ("number_for_text", "name = \"main\"", "name = 1"),
        ("text_for_a_list", "hosts = [\"*\"]", "hosts = \"*\""),
        ("table_for_a_list_of_tables", "[[route]]", "[route]"),
    ] {
        Desk::new().check_refuses(name, GOOD, (from, to));
    }
}

/// Once, the message named a setting that did not exist.
#[test]
fn a_limit_on_address_space_needs_fewer_instances_of_policies() {
    let desk = Desk::new();
    // In KiB: room for some twenty instances.
    let check = || {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 300000000 && exec \"$0\" check -c handfast.toml"]);
        command.arg(binary()).current_dir(desk.path());
        finish(command)
    };
    let with = |setting: &str| {
        desk.write_config(&GOOD.replacen(
            "[[listener]]",
            &format!("[gateway]\n{setting}\n\n[[listener]]"),
            1,
        ));
    };
    desk.write_config(GOOD);
    let refused = check();
    assert_eq!(refused.code, RUNTIME, "{}", refused.stdout);
    let remedy =
        "1000 instances of policies: raise `ulimit -v`, or lower `max-policy-instances` in [gateway]";
    assert!(refused.stderr.contains(remedy), "{}", refused.stderr);
    with("max-policy-instances = 8");
    assert_eq!(check().code, Some(0), "{}", check().stderr);
    for beyond in ["max-policy-instances = 7", "max-policy-instances = 10001"] {
        with(beyond);
        let refused = check();
        assert!(refused.stderr.contains("must be between 8 and 10000"), "{}", refused.stderr);
    }
}

#[test]
fn output_that_nobody_reads_is_an_error_and_no_panic() {
    let desk = Desk::new();
    desk.write_config(GOOD);
    let program = binary().display().to_string();
    for arguments in ["version", "check -c handfast.toml", "--help", "policy inspect policy.wasm"] {
        fs::copy(plugin("custom-policy"), desk.path().join("policy.wasm")).expect("a plugin is copied");
        for redirected in [">&-", "| true", ">/dev/full"] {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{program} {arguments} {redirected}")).current_dir(desk.path());
            let finished = finish(command);
            assert!(!finished.stderr.contains("panicked"), "{arguments} {redirected}: {}", finished.stderr);
            assert!(finished.code.is_some_and(|code| code <= 2), "{arguments} {redirected}: {finished:?}");
        }
    }
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{program} version >/dev/full"));
    let finished = finish(command);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("full_output", &finished);
}

#[test]
fn a_key_that_does_not_match() {
    let desk = Desk::new();
    let stranger = desk.scene.authority.server(&["a.example"]);
    desk.scene.certificates.put_key("a.example", &stranger.key_pem);
    desk.write_config(GOOD);
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    desk.snapshot("mismatched_key", &finished);
    assert_eq!(finished.code, RUNTIME);
}

#[test]
fn a_key_that_cannot_be_read() {
    require_tool("setpriv", "util-linux");
    let desk = Desk::new();
    desk.write_config(GOOD);
    desk.open_to_others();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    fs::copy(binary(), desk.path().join("handfast")).expect("the binary is copied where others can run it");
    command.arg(desk.path().join("handfast")).args(["check", "-c", "handfast.toml"]).current_dir(desk.path());
    let finished = finish(command);
    desk.snapshot("unreadable_key", &finished);
    assert_eq!(finished.code, RUNTIME);
}

#[test]
fn a_component_of_the_wrong_world() {
    Desk::new().refuses_plugin(
        "wrong_world",
        Some(&fs::read(plugin("guest-wrong-world")).expect("a plugin is read")),
    );
}

#[test]
fn a_component_without_a_hook() {
    Desk::new().refuses_plugin("no_hook", Some(b"(component)"));
}

#[test]
fn a_core_module_that_is_no_component() {
    Desk::new().refuses_plugin("core_module", Some(b"\0asm\x01\0\0\0"));
}

#[test]
fn a_plugin_that_is_not_wasm_at_all() {
    Desk::new().refuses_plugin("not_wasm", Some(b"#!/bin/sh\necho hello\n"));
}

#[test]
fn a_policy_that_refuses_its_config() {
    let desk = Desk::new();
    fs::copy(plugin("custom-policy"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let good = format!("{GOOD}{POLICY}config = {{ canary-percent = 101 }}\n");
    desk.refuses(
        "refused_policy_config",
        RUNTIME,
        &good,
        ("name = \"main\"", "name = \"main\"\npolicies = [\"mine\"]"),
    );
}

/// Once, its settings were dropped without a word.
#[test]
fn a_config_for_a_plugin_that_reads_none() {
    let desk = Desk::new();
    fs::copy(plugin("guest-loop"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let good = format!("{GOOD}{POLICY}config = {{ limit = 5 }}\n");
    let change = ("name = \"main\"", "name = \"main\"\npolicies = [\"mine\"]");
    desk.refuses("config_that_nobody_reads", RUNTIME, &good, change);
    let error = "exports no `configure` to be told of it";
    let checked = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!((checked.code, checked.stderr.contains(error)), (RUNTIME, true), "{}", checked.stderr);

    let cases =
        "[policy]\nconfig = { limit = 5 }\n\n[[case]]\nname = \"any\"\nexpect = { verdict = \"pass\" }\n";
    fs::write(desk.path().join("cases.toml"), cases).expect("cases are written");
    let tested = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "cases.toml"]);
    assert_eq!(tested.code, RUNTIME, "{}", tested.stderr);
    assert!(tested.stderr.contains(error), "{}", tested.stderr);
}

/// Once, `check` called it good, and everybody came in.
#[test]
fn a_policy_for_client_certificates_where_none_is_asked_for() {
    let desk = Desk::new();
    fs::copy(plugin("client-certificate"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let good = format!("{GOOD}{POLICY}config = {{ common-names = [\"alice\"] }}\n");
    let change = ("name = \"main\"", "name = \"main\"\npolicies = [\"mine\"]");
    desk.refuses("validate_without_client_certificates", RUNTIME, &good, change);

    // One that also selects may be meant.
    fs::copy(plugin("guest-probe"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let grants = "grants = [\"counter\"]\n";
    desk.write_config(&format!("{GOOD}{POLICY}{grants}").replacen(change.0, change.1, 1));
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let warning = "warning: the listener `main` asks for no client certificates, so the `validate` of its policy `mine` judges nobody\n";
    assert!(finished.stdout.starts_with(warning), "{}", finished.stdout);
}

#[test]
fn inspecting_what_is_no_policy() {
    let desk = Desk::new();
    fs::write(desk.path().join("policy.wasm"), "hello").expect("a file is written");
    let finished = desk.handfast(&["policy", "inspect", "policy.wasm"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("inspect_not_wasm", &finished);
}

#[test]
fn a_good_config_passes_the_check() {
    let desk = Desk::new();
    desk.write_config(GOOD);
    let finished = desk.handfast(&["check", "-c", "handfast.toml"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    desk.snapshot("good_config", &finished);
}

/// What the mistakes are made in.
const GOOD: &str = r#"[[listener]]
name = "main"
address = "127.0.0.1:0"

[[certificate-source]]
kind = "directory"
path = "certificates"

[[upstream]]
name = "echo"
endpoints = ["127.0.0.1:1"]

[[route]]
hosts = ["*"]
upstream = "echo"
"#;

const POLICY: &str = "\n[[policy]]\nname = \"mine\"\nplugin = \"policy.wasm\"\n";

/// A folder with a configuration, and certificates in `certificates`.
struct Desk {
    folder: TempDir,
    scene: Scene,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().expect("a scratch folder");
        let scene = Scene::new(&["a.example"]);
        let link = folder.path().join("certificates");
        symlink(scene.certificates.path(), link).expect("a symlink is made");
        Self { folder, scene }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write_config(&self, text: &str) {
        fs::write(self.path().join("handfast.toml"), text).expect("the configuration is written");
    }

    /// Scratch folders are closed to other users.
    fn open_to_others(&self) {
        for folder in [self.path(), self.scene.certificates.path()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a mode is set");
        }
    }

    #[track_caller]
    fn handfast(&self, arguments: &[&str]) -> Finished {
        handfast(self.path(), arguments)
    }

    /// `run` with the good configuration after one change must fail as the snapshot says.
    #[track_caller]
    fn refuses(&self, name: &str, code: Option<i32>, good: &str, (from, to): (&str, &str)) {
        assert!(good.contains(from), "nothing to change");
        self.write_config(&good.replacen(from, to, 1));
        let finished = self.handfast(&["run", "-c", "handfast.toml"]);
        self.snapshot(name, &finished);
        assert_eq!(finished.code, code, "{}", finished.stderr);
    }

    /// `check` finds fault with the good configuration after one change, as the snapshot says.
    #[track_caller]
    fn check_refuses(&self, name: &str, good: &str, (from, to): (&str, &str)) {
        assert!(good.contains(from), "nothing to change");
        self.write_config(&good.replacen(from, to, 1));
        let finished = self.handfast(&["check", "-c", "handfast.toml"]);
        self.snapshot(name, &finished);
        assert_eq!(finished.code, USAGE, "{}", finished.stderr);
    }

    /// `run` with a plugin of these bytes, or none.
    #[track_caller]
    fn refuses_plugin(&self, name: &str, bytes: Option<&[u8]>) {
        if let Some(bytes) = bytes {
            fs::write(self.path().join("policy.wasm"), bytes).expect("a file is written");
        }
        let change = ("name = \"main\"", "name = \"main\"\npolicies = [\"mine\"]");
        self.refuses(name, RUNTIME, &format!("{GOOD}{POLICY}"), change);
    }

    /// Exit code and output, without what differs from run to run.
    #[track_caller]
    fn snapshot(&self, name: &str, finished: &Finished) {
        let Finished { code, stdout, stderr } = finished;
        let code = code.map_or("killed".to_owned(), |code| code.to_string());
        let shown = format!("exit code: {code}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}");
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.add_filter(&regex_of(self.path()), "[folder]");
        settings.add_filter(&regex_of(self.scene.certificates.path()), "[certificates]");
        settings.add_filter(r"sport = :\d+", "sport = :[port]");
        settings.add_filter(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]");
        settings.add_filter(r"127\.0\.0\.1:\d{4,5}", "127.0.0.1:[port]");
        settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

fn regex_of(path: &Path) -> String {
    path.display().to_string().replace('.', "\\.")
}
