//! What a test needs besides this crate: programs of the machine, files of the repository, compiled plugins.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// Fails the test with one line that says what to install. A test is never skipped: what did not run did not pass.
#[track_caller]
pub fn require_tool(program: &str, package: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is needed by this test: apt-get install -y {package}");
}

/// The compiled component of a package under `tests/guests`, `plugins` or `examples`.
#[track_caller]
pub fn plugin(package: &str) -> PathBuf {
    let path = target_folder().join("plugins").join(format!("{package}.wasm"));
    assert!(path.is_file(), "{} is missing: cargo xtask plugins --guests", path.display());
    path
}

/// The folder of the profile that this test was built in, where Cargo puts binaries.
pub(crate) fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    // target/<profile>/deps/behaviour-<hash>
    test.ancestors().nth(2).expect("Cargo runs tests from target/<profile>/deps").to_owned()
}

fn target_folder() -> PathBuf {
    profile_folder().parent().expect("the profile's folder lies in target/").to_owned()
}
