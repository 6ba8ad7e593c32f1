//! What the libraries of C and Go find in a policy: no files, a terminal that is the log, and an end at `assert`.
//!
//! Each policy is written into a folder of `handfast policy new`, and built and judged as its author would do it.

use std::fs;
use std::os::unix::fs::symlink;

use handfast_tests::repository;

use super::Desk;

/// Once, what a library never reads but might have read was told to be built with this gateway's SDK.
#[test]
fn libraries_of_go_that_would_read_files_are_built_and_find_none() {
    let tested = tested("go", "main.go", GO, GO_CASES);
    assert!(tested.ends_with("4 passed, 0 failed\n"), "{tested}");
}

/// Once, all that was printed was lost, and the compiler was told that `assert` is for others.
#[test]
fn what_c_prints_is_in_the_log_and_what_it_asserts_is_checked() {
    let tested = tested("c", "policy.c", C, C_CASES);
    assert!(tested.ends_with("2 passed, 0 failed\n"), "{tested}");
}

/// Once, it said "in function 41 < function 41", since the compiler was told to leave out names with all the rest.
#[test]
fn a_trap_in_c_names_the_functions_it_came_through_and_debugging_information_is_left_out() {
    let (desk, built) = built("c", "policy.c", C_TRAP, C_TRAP_CASES);
    assert!(!built.contains("stubs"), "{built}");
    let component = fs::read(desk.path().join("mine/policy.wasm")).expect("a component is read");
    assert!(component.len() < 16 << 10, "{} bytes", component.len());
    assert!(!component.windows(7).any(|bytes| bytes == b".debug_"));
    let tested = test(&desk);
    assert!(tested.contains("out of bounds memory access; in weigh < handfast__export_select\n"), "{tested}");
}

/// What `handfast policy test` says of a source, built.
#[track_caller]
fn tested(language: &str, path: &str, source: &str, cases: &str) -> String {
    let (desk, built) = built(language, path, source, cases);
    assert!(built.contains("stubs      wasi:cli, wasi:io: "), "{built}");
    test(&desk)
}

fn test(desk: &Desk) -> String {
    desk.handfast(&["policy", "test", "mine/policy.wasm", "--cases", "mine/cases.toml"]).stdout
}

/// A desk with the component of a source in `mine`, and what `handfast policy build` said of it.
#[track_caller]
fn built(language: &str, path: &str, source: &str, cases: &str) -> (Desk, String) {
    let tools = repository().join("target/languages").join(language);
    assert!(tools.join("bin").is_dir(), "cargo xtask languages {language}");
    let desk = Desk::new();
    let made = desk.handfast(&["policy", "new", "--language", language, "mine"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    desk.write(&format!("mine/{path}"), source);
    desk.write("mine/cases.toml", cases);
    symlink(&tools, desk.path().join("mine/.venv")).expect("a symlink is made");
    let built = desk.handfast(&["policy", "build", "mine"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    (desk, built.stdout)
}

const GO: &str = r#"
package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"text/template"
	"time"

	"github.com/handfast/handfast/plugins/sdk/go"
	"github.com/handfast/handfast/plugins/sdk/go/onselect"
)

func init() { onselect.Call(choose) }

func choose(_ handfast.Connection, hello handfast.ClientHello) handfast.Decision {
	name, named := hello.ServerName()
	if !named {
		panic("a client without a name")
	}
	if name == "goroutine.example" {
		go func() { panic("a goroutine's own") }()
		<-make(chan int)
	}
	if name == "exit.example" {
		print("it ", "ends ", 7)
		os.Exit(3)
	}
	_, network, _ := net.ParseCIDR("192.0.2.7/24")
	fmt.Println(network)
	_, err := x509.ParseCertificate([]byte("no certificate"))
	fmt.Println(err)
	template.Must(template.New("greeting").Parse("hello, {{.}}\n")).Execute(os.Stdout, name)
	_, err = time.LoadLocation("Europe/Berlin")
	fmt.Println(err)
	_, err = os.ReadFile("/etc/passwd")
	fmt.Println(err, errors.Is(err, fs.ErrNotExist))
	fmt.Println(os.WriteFile("/tmp/mine", nil, 0o600), os.Mkdir("/tmp/mine", 0o700))
	length, err := os.Stdin.Read(make([]byte, 1))
	fmt.Println(length, err)
	log.SetFlags(0)
	log.Print("to standard error")
	return handfast.Pass()
}

func main() {}
"#;

const GO_CASES: &str = r#"
[[case]]
name = "files"
hello = { server-name = "a.example" }
expect = { verdict = "pass", log = [
    "192.0.2.0/24",
    "x509: malformed certificate",
    "hello, a.example",
    "unknown time zone Europe/Berlin",
    "open /etc/passwd: No such file or directory true",
    "open /tmp/mine: Capabilities insufficient mkdir /tmp/mine: Capabilities insufficient",
    "0 EOF",
    "to standard error",
] }

[[case]]
name = "a panic is one line"
expect = { verdict = "no-verdict", error = "trap", log = ["panic: a client without a name in main.choose (*main.go:*)"] }

[[case]]
name = "a panic where the SDK does not see it"
hello = { server-name = "goroutine.example" }
expect = { verdict = "no-verdict", error = "trap", log = [
    "panic: a goroutine's own",
    "goroutine * [running]:",
    "main.choose.func1()",
    "*main.go:*",
    "created by main.choose in goroutine 1",
    "*main.go:*",
] }

[[case]]
name = "an exit"
hello = { server-name = "exit.example" }
expect = { verdict = "no-verdict", error = "trap", log = ["it ends 7"] }
"#;

const C: &str = r#"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <handfast.h>

HANDFAST_SELECT(connection, hello) {
    (void)connection;
    assert(handfast_server_name(hello).present && "a client names its server");
    FILE *file = fopen("/etc/passwd", "r");
    printf("%s, %s\n", file == NULL ? "no file" : "a file", strerror(errno));
    printf("removed: %d\n", remove("/etc/passwd"));
    printf("stdin: %d\nand ", getchar());
    puts("a line in parts");
    fprintf(stderr, "%0150d, as one line\n", 7);
    return handfast_pass();
}
"#;

const C_CASES: &str = r#"
[[case]]
name = "files"
hello = { server-name = "a.example" }
expect = { verdict = "pass", log = [
    "no file, No such file or directory",
    "removed: -1",
    "stdin: -1",
    "and a line in parts",
    "00000000000000000000*0000007, as one line",
] }

[[case]]
name = "an assertion"
expect = { verdict = "no-verdict", error = "trap", log = [
    "Assertion failed: handfast_server_name(hello).present*policy.c: handfast__*: 10)",
] }
"#;

const C_TRAP: &str = r#"
#include <handfast.h>

__attribute__((noinline)) static uint32_t weigh(handfast_text name) {
    return *(volatile uint32_t *)(uintptr_t)(0x7fffffff - name.length);
}

HANDFAST_SELECT(connection, hello) {
    (void)connection;
    return weigh(handfast_server_name(hello).text) ? handfast_pass() : handfast_reject(HANDFAST_ACCESS_DENIED);
}
"#;

/// It fails, and so says what the trap was.
const C_TRAP_CASES: &str = r#"
[[case]]
name = "a trap"
expect = { verdict = "pass" }
"#;
