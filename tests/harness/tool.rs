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
    // Debian keeps servers where an ordinary user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.into_iter().any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is needed by this test: apt-get install -y {package}");
}

/// The compiled component of a package under `tests/guests`, `plugins` or `examples`.
#[track_caller]
pub fn plugin(package: &str) -> PathBuf {
    let path = target_folder().join("plugins").join(format!("{package}.wasm"));
    assert!(path.is_file(), "{} is missing: cargo xtask plugins --guests", path.display());
    path
}

/// As root, whom file modes do not stop: takes the two capabilities that pass them over (capabilities(7)) from every
/// program that this thread starts from now on. Other users never had them.
pub fn obey_file_modes() {
    const CAP_DAC_OVERRIDE: libc::c_ulong = 1;
    const CAP_DAC_READ_SEARCH: libc::c_ulong = 2;
    for capability in [CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH] {
        // SAFETY: a plain system call without pointers. It fails where there is nothing to take.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// The folder of the profile that this program was built in, where Cargo puts binaries.
pub(crate) fn profile_folder() -> PathBuf {
    let program = std::env::current_exe().expect("the running program has a path");
    // target/<profile>/handfast-torture, target/<profile>/deps/behaviour-<hash>
    let mut folders = program.ancestors().skip(1);
    folders.find(|folder| !folder.ends_with("deps")).expect("a file lies in a folder").to_owned()
}

fn target_folder() -> PathBuf {
    profile_folder().parent().expect("the profile's folder lies in target/").to_owned()
}
