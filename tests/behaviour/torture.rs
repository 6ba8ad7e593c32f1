//! The torture test of certificate replacement (`tests/torture`) in the size that every run of the tests has time for.

use std::process::Command;

/// Enough for each layout to go through each of its methods and to be spoiled in most ways.
const UPDATES: &str = "300";

#[test]
fn no_handshake_fails_or_gets_a_mixed_or_an_older_pair_by_whatever_method_pairs_are_replaced() {
    let (is_good, output) = torture(&["--updates", UPDATES]);
    assert!(is_good, "{output}");
    let last = output.lines().last().unwrap_or_default();
    assert!(last.starts_with("torture: seed "), "{output}");
    assert!(last.ends_with(&format!(" handshakes, {UPDATES} updates, 0 failures")), "{output}");
}

#[test]
fn a_seed_gives_the_same_sequence_of_methods_again() {
    let plan = |seed| torture(&["--seed", seed, "--updates", "200", "--plan"]).1;
    assert_eq!(plan("7"), plan("7"));
    assert_ne!(plan("7"), plan("8"));
    assert!(plan("7").lines().count() > 200);
}

/// Whether it ended well, and what it wrote. Its own waits are bounded.
fn torture(arguments: &[&str]) -> (bool, String) {
    let program = env!("CARGO_BIN_EXE_handfast-torture");
    let output = Command::new(program).args(arguments).output().expect("the torture test starts");
    let text = [output.stderr, output.stdout].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
