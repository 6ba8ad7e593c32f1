//! `handfast policy new`, `build`, `inspect`, `test` and `bench`: from nothing to a component that does what its cases say,
//! in every language, with the toolchains that `cargo xtask languages` has installed; and what each says about a mistake.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use handfast_tests::gateway::{binary, finish};
use handfast_tests::{Finished, plugin, repository};
use tempfile::TempDir;

mod libraries;

const USAGE: Option<i32> = Some(2);
const RUNTIME: Option<i32> = Some(1);

#[test]
fn a_new_policy_in_rust_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("rust");
}

#[test]
fn a_new_policy_in_c_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("c");
}

#[test]
fn a_new_policy_in_go_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("go");
}

#[test]
fn a_new_policy_in_javascript_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("javascript");
}

#[test]
fn a_new_policy_in_typescript_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("typescript");
}

#[test]
fn a_new_policy_in_python_builds_and_passes_its_cases() {
    from_nothing_to_a_tested_component("python");
}

#[track_caller]
fn from_nothing_to_a_tested_component(language: &str) {
    let sdk = if language == "typescript" { "javascript" } else { language };
    let tools = repository().join("target/languages").join(sdk);
    assert!(tools.join("bin").is_dir() || tools.join("node_modules").is_dir(), "cargo xtask languages {sdk}");
    let desk = Desk::new();
    let good = |finished: Finished| {
        assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
        finished.stdout
    };
    let said = good(desk.handfast(&["policy", "new", "--language", language, "tls13-only"]));
    assert!(said.contains("handfast policy build"), "{said}");

    // What `pip install` and `npm install` would leave there.
    let folder = desk.path().join("tls13-only");
    let tool = tools.join("bin/cargo").display().to_string();
    let mut build = vec!["policy", "build", "tls13-only"];
    match sdk {
        "rust" => build.extend(["--tool", &tool]),
        "javascript" => {
            symlink(tools.join("node_modules"), folder.join("node_modules")).expect("a symlink is made")
        }
        _ => symlink(&tools, folder.join(".venv")).expect("a symlink is made"),
    }
    let built = good(desk.handfast(&build));
    let fact = |name: &str| {
        let line = built.lines().find(|line| line.split(' ').next() == Some(name));
        line.map(|line| line[name.len()..].trim().to_owned())
            .unwrap_or_else(|| panic!("no {name} in {built}"))
    };
    assert_eq!(fact("component"), "tls13-only/policy.wasm");
    assert_eq!((fact("hooks").as_str(), fact("grants").as_str()), ("select, configure", "none"));
    let size = fs::metadata(folder.join("policy.wasm")).expect("a component").len();
    assert_eq!(fact("size"), format!("{size} bytes"));
    let inspected = good(desk.handfast(&["policy", "inspect", "tls13-only/policy.wasm"]));
    assert!(built.ends_with(&inspected), "{built}\n{inspected}");
    let json = good(desk.handfast(&["policy", "inspect", "--json", "tls13-only/policy.wasm"]));
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["hooks"], serde_json::json!(["select", "configure"]));
    assert_eq!((&json["size_bytes"], &json["refused"]), (&size.into(), &serde_json::Value::Null));
    let stubs = json["stubs"].as_array().expect("a list");
    let has_runtime = ["go", "javascript", "python"].contains(&sdk);
    assert_eq!(!stubs.is_empty(), has_runtime, "{json}");
    assert_eq!(inspected.contains("without files, sockets or environment"), has_runtime, "{inspected}");

    let component = "tls13-only/policy.wasm";
    let cases = "tls13-only/cases.toml";
    let tested = good(desk.handfast(&["policy", "test", component, "--cases", cases]));
    assert!(tested.ends_with("5 passed, 0 failed\n") && !tested.contains("FAIL"), "{tested}");

    let arguments = ["policy", "bench", component, "--cases", cases, "--calls", "20", "--json"];
    let report = good(desk.handfast(&arguments));
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["hook"], "select");
    assert_eq!(report["size_bytes"], size);
    for kind in ["fresh", "reused"] {
        let time = |name: &str| report[kind][name].as_f64().expect("a number");
        assert!(time("p50_us") > 0.0 && time("p50_us") <= time("max_us"), "{report}");
    }
    assert!(report["compile_ms"].as_f64() > report["cached_load_ms"].as_f64(), "{report}");
    assert!(report["memory_bytes"].as_u64() >= Some(64 << 10), "{report}");
}

/// What somebody reads who has a policy that is wrong, or cases that are.
#[test]
fn a_case_that_fails_says_what_was_expected_and_what_was_found() {
    let desk = Desk::new();
    fs::copy(plugin("custom-policy"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    desk.write("cases.toml", CASES);
    let finished = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "cases.toml"]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stderr);
    desk.snapshot("policy_test_failures", &finished);
}

/// Once, each case repeated what `configure` said.
#[test]
fn settings_that_a_policy_refuses_are_told_once_with_where_they_stand() {
    let desk = Desk::new();
    fs::copy(plugin("tenant"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let cases = "[[case]]\nname = \"one\"\nexpect = { verdict = \"pass\" }\n
        [[case]]\nname = \"two\"\nexpect = { verdict = \"pass\" }\n
        [[case]]\nname = \"three\"\nexpect = { verdict = \"refuse-config\", reason = \"*\" }\n";
    let mut told = String::new();
    for settings in ["", "[policy]\nconfig = { tenant = 1 }\n"] {
        desk.write("cases.toml", &format!("{settings}{cases}"));
        let finished = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "cases.toml"]);
        assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
        told += &format!("{}{}", finished.stdout, finished.stderr);
    }
    for arguments in [&["--cases", "cases.toml"][..], &[]] {
        let finished = desk.handfast(&[&["policy", "bench", "policy.wasm"], arguments].concat());
        assert_ne!(finished.code, Some(0), "{}", finished.stdout);
        told += &finished.stderr;
    }
    fs::remove_file(desk.path().join("cases.toml")).expect("a file is removed");
    told += &desk.handfast(&["policy", "bench", "policy.wasm"]).stderr;
    let finished = Finished { code: RUNTIME, stdout: String::new(), stderr: told };
    desk.snapshot("policy_test_refused_settings", &finished);
}

#[test]
fn what_a_policy_keeps_is_there_for_the_next_case_and_needs_its_grant() {
    let desk = Desk::new();
    fs::copy(plugin("guest-keeper"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    let cases = "[[case]]\nname = \"one\"\nexpect = { verdict = \"pass\" }\n";
    desk.write("cases.toml", cases);
    let refused = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "cases.toml"]);
    assert_eq!(refused.code, RUNTIME, "{}", refused.stdout);
    desk.snapshot("policy_test_without_a_grant", &refused);
}

#[test]
fn mistakes_in_a_file_of_cases_have_a_place_and_a_remedy() {
    let desk = Desk::new();
    fs::copy(plugin("custom-policy"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    for (name, from, to) in [
        ("policy_test_unknown_key", "server-name = \"pay", "servername = \"pay"),
        ("policy_test_unknown_alert", "protocol-version\"", "protocol-verison\""),
        ("policy_test_bad_limit", "[policy]", "[policy]\ntimeout = \"1ms\""),
        ("policy_test_not_toml", "[policy]", "[policy"),
    ] {
        assert!(CASES.contains(from), "nothing to change");
        desk.write("cases.toml", &CASES.replacen(from, to, 1));
        let finished = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "cases.toml"]);
        assert_eq!(finished.code, USAGE, "{}", finished.stderr);
        desk.snapshot(name, &finished);
    }
    let finished = desk.handfast(&["policy", "test", "policy.wasm", "--cases", "none.toml"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("policy_test_no_cases", &finished);
}

#[test]
fn a_file_that_is_no_component_is_neither_tested_nor_measured() {
    let desk = Desk::new();
    desk.write("policy.wasm", "hello");
    desk.write("cases.toml", CASES);
    for arguments in [
        &["policy", "test", "policy.wasm", "--cases", "cases.toml"][..],
        &["policy", "bench", "policy.wasm"],
        &["policy", "inspect", "policy.wasm"],
    ] {
        let finished = desk.handfast(arguments);
        assert_eq!(finished.code, RUNTIME);
        assert!(finished.stderr.starts_with("error: policy.wasm is not a policy: this is not WebAssembly"));
    }
    let finished = desk.handfast(&["policy", "bench", "nowhere.wasm"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("policy_bench_no_file", &finished);
}

#[test]
fn a_folder_and_a_file_that_is_too_large_are_no_components() {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("mine")).expect("a folder is made");
    let mut told = String::new();
    told += &desk.handfast(&["policy", "inspect", "mine"]).stderr;
    desk.write("mine/policy.wasm", "");
    told += &desk.handfast(&["policy", "inspect", "mine"]).stderr;
    let large = fs::File::create(desk.path().join("large.wasm")).expect("a file is made");
    large.set_len(100 << 20).expect("a sparse file");
    told += &desk.handfast(&["policy", "inspect", "large.wasm"]).stderr;
    desk.snapshot(
        "policy_inspect_what_is_none",
        &Finished { code: RUNTIME, stdout: String::new(), stderr: told },
    );
}

/// Once, `/dev/zero` was read until the memory was full, and a pipe waited for.
#[test]
fn what_is_no_regular_file_is_not_opened_and_no_file_is_read_without_a_bound() {
    let desk = Desk::new();
    fs::copy(plugin("custom-policy"), desk.path().join("policy.wasm")).expect("a plugin is copied");
    desk.write("cases.toml", CASES);
    desk.write("certificate.toml", &format!("[[certificate]]\nid = \"zero\"\nfile = \"/dev/zero\"\n{CASES}"));
    let large = fs::File::create(desk.path().join("large.toml")).expect("a file is made");
    large.set_len(100 << 20).expect("a sparse file");
    let pipe = Command::new("mkfifo").arg(desk.path().join("pipe")).status().expect("mkfifo runs");
    assert!(pipe.success());
    let mut told = String::new();
    for (arguments, code) in [
        (&["policy", "inspect", "pipe"][..], RUNTIME),
        (&["policy", "bench", "/dev/zero"], RUNTIME),
        (&["policy", "test", "pipe", "--cases", "cases.toml"], RUNTIME),
        (&["policy", "test", "policy.wasm", "--cases", "pipe"], USAGE),
        (&["policy", "bench", "policy.wasm", "--cases", "/dev/zero"], USAGE),
        (&["policy", "test", "policy.wasm", "--cases", "large.toml"], USAGE),
        (&["policy", "test", "policy.wasm", "--cases", "certificate.toml"], USAGE),
    ] {
        let finished = desk.handfast(arguments);
        assert_eq!(finished.code, code, "{arguments:?}: {}", finished.stderr);
        told += &finished.stderr;
    }
    desk.snapshot(
        "policy_files_that_are_none",
        &Finished { code: None, stdout: String::new(), stderr: told },
    );
}

/// Once, `inspect` called these good, or said of one import that it is stood in for and not provided.
#[test]
fn what_is_called_good_can_be_loaded() {
    let desk = Desk::new();
    let mut told = String::new();
    for component in [
        "(component (instance $i) (export \"handfast:policy/select@1.0.0\" (instance $i)))",
        "(component (instance $i) (export \"handfast:policy/select\" (instance $i)))",
        "(component (import \"wasi:nn/graph@0.2.0\" (instance)) (import \"wasi:cli/exit@0.2.0\" (instance)) (instance $i)
            (export \"handfast:policy/select@1.0.0\" (instance $i)))",
        "(component)",
    ] {
        desk.write("policy.wat", component);
        let finished = desk.handfast(&["policy", "inspect", "policy.wat"]);
        assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
        let facts = finished.stdout.lines().filter(|line| !line.starts_with("s"));
        told += &facts.map(|line| format!("{line}\n")).collect::<String>();
        told += &finished.stderr;
    }
    desk.write("policy.wat", &format!("(component) ;; {}", "a".repeat(300_000)));
    told += &desk.handfast(&["policy", "inspect", "policy.wat"]).stderr;
    desk.snapshot(
        "policy_inspect_what_does_not_load",
        &Finished { code: RUNTIME, stdout: String::new(), stderr: told },
    );
}

#[test]
fn one_case_is_shown_by_its_name_and_an_unknown_name_brings_those_there_are() {
    let desk = Desk::new();
    let component = plugin("custom-policy").display().to_string();
    desk.write("cases.toml", CASES);
    let with = |command: &str, name: &str| {
        desk.handfast(&["policy", command, &component, "--cases", "cases.toml", "--case", name])
    };
    let one = with("test", "a client with TLS 1.3 gets the certificate");
    assert_eq!(
        (one.code, one.stdout.lines().last()),
        (Some(0), Some("1 passed, 0 failed")),
        "{}",
        one.stderr
    );
    let unknown = with("test", "nope");
    assert_eq!((unknown.code, &unknown.stderr), (USAGE, &with("bench", "nope").stderr));
    desk.snapshot("policy_test_unknown_case", &unknown);
}

#[test]
fn a_component_that_is_not_there_is_told_before_mistakes_in_the_cases() {
    let desk = Desk::new();
    desk.write("cases.toml", "[policy");
    for command in ["test", "bench"] {
        let finished = desk.handfast(&["policy", command, "nowhere.wasm", "--cases", "cases.toml"]);
        assert_eq!(finished.code, RUNTIME);
        assert!(
            finished.stderr.starts_with("error: cannot read nowhere.wasm: No such file or directory\n"),
            "{}",
            finished.stderr
        );
        assert!(finished.stderr.contains("`handfast policy build` leaves one"), "{}", finished.stderr);
    }
}

#[test]
fn a_language_without_an_sdk_and_a_name_that_is_none_are_wrong_usage() {
    let desk = Desk::new();
    let finished = desk.handfast(&["policy", "new", "--language", "pyhton", "x"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("policy_new_unknown_language", &finished);
    let finished = desk.handfast(&["policy", "new", "--language", "cpp", "x"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("policy_new_near_c", &finished);
    for (word, source, other) in [
        ("ts", "policy.ts", "policy.js"),
        ("typescript", "policy.ts", "policy.js"),
        ("js", "policy.js", "policy.ts"),
    ] {
        let finished = desk.handfast(&["policy", "new", "--language", word, word]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let folder = desk.path().join(word);
        assert!(folder.join(source).is_file() && !folder.join(other).exists(), "{word}");
    }
    let finished = desk.handfast(&["policy", "new", "--language", "c", "My_Policy"]);
    assert_eq!(finished.code, USAGE);
    desk.snapshot("policy_new_bad_name", &finished);
}

/// Once, a folder was made whose configuration is refused, or whose package cargo knows two of.
#[test]
fn a_name_that_something_else_has_is_refused_before_there_is_a_folder() {
    let desk = Desk::new();
    let mut told = String::new();
    for name in ["server-name", "listener", "handfast-policy"] {
        let finished = desk.handfast(&["policy", "new", "--language", "rust", name]);
        assert_eq!(finished.code, USAGE);
        told += &finished.stderr;
    }
    desk.snapshot("policy_new_taken", &Finished { code: USAGE, stdout: String::new(), stderr: told });
    assert_eq!(fs::read_dir(desk.path()).expect("a folder").count(), 0);
    // Go looks for what begins without a domain among its own packages.
    desk.handfast(&["policy", "new", "--language", "go", "runtime"]);
    let module = fs::read_to_string(desk.path().join("runtime/go.mod")).expect("a file is read");
    assert!(module.starts_with("module example.org/runtime\n"), "{module}");
}

#[test]
fn a_module_that_python_does_not_find_is_told_in_the_words_of_python_alone() {
    let tools = repository().join("target/languages/python");
    assert!(tools.join("bin").is_dir(), "cargo xtask languages python");
    let desk = Desk::new();
    desk.handfast(&["policy", "new", "--language", "python", "mine"]);
    let source = read("plugins/sdk/python/template/policy.py");
    desk.write("mine/policy.py", &format!("import no_such_module\n{source}"));
    symlink(&tools, desk.path().join("mine/.venv")).expect("a symlink is made");
    let finished = desk.handfast(&["policy", "build", "mine"]);
    assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
    desk.snapshot("policy_build_no_python_module", &finished);
}

#[test]
fn a_folder_that_is_there_is_left_alone() {
    let desk = Desk::new();
    fs::create_dir(desk.path().join("mine")).expect("a folder is made");
    let finished = desk.handfast(&["policy", "new", "--language", "rust", "mine"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("policy_new_exists", &finished);
    assert_eq!(fs::read_dir(desk.path().join("mine")).expect("a folder").count(), 0);
    assert_eq!(fs::read_dir(desk.path()).expect("a folder").count(), 1, "nothing is left beside it");
}

#[test]
fn a_folder_without_a_policy_is_not_built() {
    let desk = Desk::new();
    let finished = desk.handfast(&["policy", "build"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("policy_build_nothing", &finished);
    desk.write("policy.c", "");
    desk.write("policy.py", "");
    let finished = desk.handfast(&["policy", "build"]);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("policy_build_several", &finished);
}

#[test]
fn a_missing_toolchain_is_named_with_the_command_that_gets_it() {
    let desk = Desk::new();
    let nothing = desk.path().join("nothing");
    fs::create_dir(&nothing).expect("a folder is made");
    let mut told = String::new();
    for language in ["rust", "c", "go", "javascript", "python"] {
        desk.handfast(&["policy", "new", "--language", language, language]);
        let mut command = desk.command(&["policy", "build", language]);
        command.env("PATH", &nothing);
        let finished = finish(command);
        assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
        told += &finished.stderr;
    }
    // With Node, but without what `npm install` brings.
    desk.stub("node", "exit 1");
    let mut command = desk.command(&["policy", "build", "javascript"]);
    command.env("PATH", desk.path().join("stubs"));
    told += &finish(command).stderr;
    desk.snapshot(
        "policy_build_missing_tools",
        &Finished { code: RUNTIME, stdout: String::new(), stderr: told },
    );
}

/// Once, to look for the wheel ran what lay there under its name.
#[test]
fn a_build_runs_nothing_of_the_folder_that_one_happens_to_be_in() {
    let desk = Desk::new();
    desk.handfast(&["policy", "new", "--language", "c", "mine"]);
    desk.stub("python3", "echo asked > ../asked; PATH=\"$TEST_PATH\" exec python3 \"$@\"");
    let elsewhere = desk.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder is made");
    fs::write(elsewhere.join("ziglang.py"), "open('ran', 'w')").expect("a file is written");
    let mut command = desk.command(&["policy", "build", "../mine"]);
    command.current_dir(&elsewhere).env("PATH", desk.path().join("stubs"));
    command.env("TEST_PATH", std::env::var_os("PATH").unwrap_or_default());
    let finished = finish(command);
    assert!(desk.path().join("asked").exists(), "{}", finished.stderr);
    assert!(!elsewhere.join("ran").exists(), "{}", finished.stderr);
}

#[test]
fn a_rust_without_the_target_says_how_to_add_it() {
    let desk = Desk::new();
    desk.handfast(&["policy", "new", "--language", "rust", "mine"]);
    desk.stub("cargo", "[ $1 = build ] && echo compiling >&2; exit 101");
    desk.stub("rustc", "echo /nonexistent/lib");
    let mut told = String::new();
    for has_rustup in [false, true] {
        if has_rustup {
            desk.stub("rustup", "exit 1");
        }
        let mut command = desk.command(&["policy", "build", "mine"]);
        command.env("PATH", desk.path().join("stubs"));
        let finished = finish(command);
        assert_eq!(finished.code, RUNTIME);
        told += &finished.stderr;
    }
    assert!(!told.contains("compiling"), "{told}");
    desk.snapshot("policy_build_no_target", &Finished { code: RUNTIME, stdout: String::new(), stderr: told });
}

#[test]
fn a_toolchain_that_is_too_old_is_told_before_it_compiles() {
    let desk = Desk::new();
    let modules = desk.path().join("javascript/node_modules");
    let mut told = String::new();
    for (language, program, says) in [
        ("rust", "cargo", "cargo 1.63.0 (fd9c4297c 2022-07-01)"),
        ("c", "zig", "0.9.1"),
        ("go", "go", "go version go1.22.1 linux/amd64"),
        ("javascript", "node", "v16.20.2"),
        ("python", "python3", "Python 3.9.2"),
    ] {
        desk.handfast(&["policy", "new", "--language", language, language]);
        desk.stub(program, &format!("case \"$*\" in *version) echo '{says}' ;; *) exit 1 ;; esac"));
        desk.stub("componentize-py", "echo componentize-py 0.16.0");
        if language == "javascript" {
            fs::create_dir_all(modules.join("handfast-policy")).expect("a folder is made");
            desk.write("javascript/node_modules/handfast-policy/build.mjs", "");
        }
        let mut command = desk.command(&["policy", "build", language]);
        command.env("PATH", desk.path().join("stubs"));
        let finished = finish(command);
        assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
        told += &finished.stderr;
    }
    desk.stub("python3", "echo Python 3.12.0");
    let mut command = desk.command(&["policy", "build", "python"]);
    command.env("PATH", desk.path().join("stubs"));
    told += &finish(command).stderr;
    desk.snapshot("policy_build_old_tools", &Finished { code: RUNTIME, stdout: String::new(), stderr: told });
}

#[test]
fn a_tool_that_does_nothing_is_told_with_what_it_was_to_leave() {
    let desk = Desk::new();
    let mut told = String::new();
    for language in ["rust", "c", "go", "python"] {
        desk.handfast(&["policy", "new", "--language", language, language]);
        let finished = desk.handfast(&["policy", "build", language, "--tool", "/bin/true"]);
        assert_eq!(finished.code, RUNTIME, "{}", finished.stdout);
        told += &finished.stderr;
    }
    desk.snapshot("policy_build_no_output", &Finished { code: RUNTIME, stdout: String::new(), stderr: told });
}

/// As Debian's `clang` is by itself: it compiles for its own machine, and names what it does not find without a folder.
#[test]
fn a_clang_without_a_libc_for_webassembly_says_what_brings_one() {
    let desk = Desk::new();
    desk.handfast(&["policy", "new", "--language", "c", "mine"]);
    let script = "case \"$*\" in
        *-print-prog-name=wasm-ld) echo /bin/true ;;
        *-print-file-name=*) echo crt1-reactor.o ;;
        *-print-libgcc-file-name) echo /nonexistent/libclang_rt.builtins.a ;;
        *) echo \"policy.c:1:10: fatal error: 'string.h' file not found\" >&2; exit 1 ;;
        esac";
    desk.stub("clang", script);
    let mut command = desk.command(&["policy", "build", "mine"]);
    command.env("PATH", desk.path().join("stubs"));
    let finished = finish(command);
    assert_eq!(finished.code, RUNTIME);
    desk.snapshot("policy_build_no_libc", &finished);
}

/// From a clone, as the page on first-party policies says. That in C stands for those in Rust, which take the same way with
/// cargo, and whose compiler is slower than all of this.
#[test]
fn a_first_party_policy_is_built_where_it_lies() {
    let desk = Desk::new();
    let tools = repository().join("target/languages/c/bin");
    assert!(tools.is_dir(), "cargo xtask languages c");
    let plugins = repository().join("plugins");
    let policy = plugins.join("allow-list").display().to_string();
    let mut command = desk.command(&["policy", "build", &policy, "--output", "allow-list.wasm"]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", tools.display()));
    let finished = finish(command);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.contains("hooks      select, configure\n"), "{}", finished.stdout);
    let cases = plugins.join("allow-list/cases.toml").display().to_string();
    let tested = desk.handfast(&["policy", "test", "allow-list.wasm", "--cases", &cases]);
    assert_eq!(tested.code, Some(0), "{}\n{}", tested.stdout, tested.stderr);
}

/// Cargo takes the profile `release` for what is built from a policy's own folder.
#[test]
fn the_policies_in_rust_are_built_alike_by_hand_and_by_xtask() {
    let (workspace, own) = (read("Cargo.toml"), read("plugins/.cargo/config.toml"));
    let template = read("plugins/sdk/rust/template/Cargo.toml");
    let keys = |text: &str, table: &str| -> BTreeSet<String> {
        let rest = text.split(&format!("{table}\n")).nth(1).unwrap_or_else(|| panic!("no {table}"));
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        lines
            .filter(|line| line.contains(" = ") && !line.starts_with("inherits"))
            .map(str::to_owned)
            .collect()
    };
    let by_hand = keys(&own, "[profile.release]");
    assert!(by_hand.len() > 4, "{by_hand:?}");
    assert_eq!(by_hand, keys(&workspace, "[profile.plugin]"));
    assert!(by_hand.is_superset(&keys(&template, "[profile.release]")));
    let stack = read("plugins/sdk/rust/template/.cargo/config.toml");
    assert!(stack.contains("zstack-size=32768") && own.contains("zstack-size=32768"));
}

#[test]
fn nobody_is_sent_for_a_tool_that_is_not_needed() {
    for page in ["plugins/sdk/rust/src/lib.rs", "docs/policies/rust.md", "plugins/sdk/template/README.md"] {
        let text = read(page);
        assert!(text.contains("handfast policy build") && !text.contains("wasm-tools"), "{page}");
    }
}

#[test]
fn a_build_that_fails_leaves_the_last_component_in_its_place() {
    let desk = Desk::new();
    desk.handfast(&["policy", "new", "--language", "c", "mine"]);
    desk.write("mine/policy.wasm", "the last one");
    for (name, script) in [
        ("policy_build_fails", "echo 'policy.c:1:1: error: unknown type name' >&2\nexit 1"),
        // The last argument is the file to write.
        ("policy_build_no_component", "for last; do :; done\necho hello >\"$last\""),
    ] {
        desk.stub("zig", script);
        let tool = desk.path().join("stubs/zig").display().to_string();
        let finished = desk.handfast(&["policy", "build", "mine", "--tool", &tool]);
        assert_eq!(finished.code, RUNTIME);
        desk.snapshot(name, &finished);
    }
    let kept = fs::read_to_string(desk.path().join("mine/policy.wasm")).expect("a file is read");
    assert_eq!(kept, "the last one");
}

#[test]
fn the_page_on_cases_has_every_key() {
    let files = ["written", "written/certificates", "written/client", "written/expected"];
    let source = files.map(|file| read(&format!("gateway/src/cli/policy/cases/{file}.rs"))).concat();
    let page = read("docs/policies/testing.md");
    let keys = keys(&source);
    assert!(keys.len() > 30, "the source is not understood any more: {keys:?}");
    for key in keys {
        assert!(page.contains(&format!("`{key}`")), "`{key}` is not in docs/policies/testing.md");
    }
}

#[test]
fn the_templates_have_the_versions_of_the_repository() {
    let version = |text: &str, dependency: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{dependency} = ")));
        line.unwrap_or_else(|| panic!("no {dependency}")).to_owned()
    };
    let (workspace, template) = (read("Cargo.toml"), read("plugins/sdk/rust/template/sdk.toml"));
    assert_eq!(version(&template, "wit-bindgen"), version(&workspace, "wit-bindgen"));
    let requirement = read("plugins/sdk/python/template/requirements.txt");
    let requirement = requirement.trim();
    assert!(
        read("plugins/sdk/python/pyproject.toml").contains(&format!("\"{requirement}\"")),
        "{requirement}"
    );
    assert!(
        read("gateway/policy-builder/src/tool.rs").contains(&format!("\"{requirement}\"")),
        "{requirement}"
    );
}

/// For a policy that takes `tls13-only` and `canary-percent`: good cases and bad ones.
const CASES: &str = r#"
[policy]
config = { tls13-only = ["pay.localhost"] }

[[certificate]]
id = "pay"
names = ["pay.localhost"]

[[case]]
name = "a client with TLS 1.3 gets the certificate"
hello = { server-name = "pay.localhost" }
expect = { verdict = "certificate", certificate = "pay", reason = "stable", log = [] }

[[case]]
name = "another verdict"
hello = { server-name = "pay.localhost", protocol-versions = ["1.2"] }
expect = { verdict = "pass" }

[[case]]
name = "another reason and another line"
hello = { server-name = "pay.localhost", protocol-versions = ["1.2"] }
expect = { verdict = "reject", alert = "protocol-version", reason = "no", log = ["pay.localhost wanted*", "more"] }

[[case]]
name = "another config"
config = { canary-percent = 101 }
expect = { verdict = "refuse-config", reason = "*more than 100" }

[[case]]
name = "a hook that is not there"
chain = [{ common-name = "till" }]
expect = { verdict = "accept" }
"#;

/// A scratch folder to run commands in.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().expect("a scratch folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file is written");
    }

    /// A program in the folder `stubs`.
    fn stub(&self, name: &str, script: &str) {
        fs::create_dir_all(self.path().join("stubs")).expect("a folder is made");
        let path = self.path().join("stubs").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode is set");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).envs(caches());
        command
    }

    #[track_caller]
    fn handfast(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments))
    }

    /// Exit code and output, without what differs from run to run.
    #[track_caller]
    fn snapshot(&self, name: &str, finished: &Finished) {
        let Finished { code, stdout, stderr } = finished;
        let code = code.map_or("killed".to_owned(), |code| code.to_string());
        let shown = format!("exit code: {code}\n----- stdout -----\n{stdout}----- stderr -----\n{stderr}");
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.add_filter(&self.path().display().to_string().replace('.', "\\."), "[folder]");
        settings.add_filter(r"[tq]13[di]\w+_[0-9a-f]{12}_[0-9a-f]{12}", "[ja4]");
        settings.add_filter(r"t12[di]\w+_[0-9a-f]{12}_[0-9a-f]{12}", "[ja4]");
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

/// What is compiled once is compiled already; nothing is downloaded.
pub(crate) fn caches() -> Vec<(&'static str, PathBuf)> {
    let target = repository().join("target");
    let languages = target.join("languages");
    vec![
        ("XDG_CACHE_HOME", target.join("policies/cache-home")),
        ("CARGO_TARGET_DIR", languages.join("rust/target")),
        ("CARGO_NET_OFFLINE", "true".into()),
        ("ZIG_GLOBAL_CACHE_DIR", languages.join("c-cache")),
        ("ZIG_LOCAL_CACHE_DIR", languages.join("c-cache")),
        ("GOCACHE", languages.join("go-cache")),
        ("GOTOOLCHAIN", "local".into()),
        ("GOPROXY", "off".into()),
    ]
}

/// The fields of the tables of a source file, as the file of cases writes them.
fn keys(source: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for body in source.split("Table {\n").skip(1).filter_map(|rest| rest.split("\n}").next()) {
        let fields = body
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.trim_start_matches("pub(super) ").split_once(": "));
        let is_name = |name: &str| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        keys.extend(fields.filter(|(name, _)| is_name(name)).map(|(name, _)| name.replace('_', "-")));
    }
    // A word of Rust, and renamed.
    if keys.remove("kind") {
        keys.insert("type".to_owned());
    }
    keys
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
