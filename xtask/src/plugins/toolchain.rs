//! A compiler for `wasm32-unknown-unknown` on a machine that may not have one. Called by `plugins` only.
//!
//! Debian's `rustc-web` (the Rust that Debian builds its browsers with) is unpacked, not installed, into
//! `target/wasm-toolchain`: nobody's Rust is touched, root is not needed, `cargo clean` takes it away again. It has no
//! standard library for WebAssembly, but brings the sources, and cargo builds it (`-Zbuild-std`, about 10 s once).
//!
//! rustup's `wasm32-unknown-unknown` would be less work and is what policy authors use. It is not what the embedded policy
//! is built with because rustup's servers are out of reach on machines that see only a distribution's mirror; Debian
//! keeps a version until the next security update. With another compiler come other bytes, so versions are pinned, and a
//! newer one is a commit that changes [`RUST`], [`LLVM`] and the component together.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// The version of `rustc-web` and the packages built with it.
pub(super) const RUST: &str = "1.96.0+dfsg1-1~deb12u2";
/// The version of the code generator and the linker: as much a part of the bytes as the compiler.
const LLVM: &str = "1:22.1.8-1~deb12u1";

const TARGET: &str = "wasm32-unknown-unknown";
/// The stack, which an instance pays for, in bytes. Policies nest shallowly; the default is 1 MiB.
const STACK: usize = 32 << 10;

/// `rust-web-llvm` is there for the name `rust-lld`; the libraries without a version do not influence what is compiled.
const PACKAGES: &[(&str, Option<&str>)] = &[
    ("rustc-web", Some(RUST)),
    ("cargo-web", Some(RUST)),
    ("rust-web-src", Some(RUST)),
    ("rust-web-llvm", Some(RUST)),
    ("libstd-rust-web-dev", Some(RUST)),
    ("libstd-rust-web-1.96", Some(RUST)),
    ("libllvm22", Some(LLVM)),
    ("lld-22", Some(LLVM)),
    ("libgit2-1.5", None),
    ("libhttp-parser2.9", None),
    ("libmbedcrypto7", None),
    ("libmbedtls14", None),
    ("libmbedx509-1", None),
];

/// What compiles guests.
pub(super) enum Toolchain {
    /// Debian's, unpacked in this folder.
    Debian(PathBuf),
    /// The machine's own, which has the target.
    Own,
}

/// Finds the toolchain, or fetches it: 149 MB, about 15 s.
pub(super) fn install(root: &Path) -> Result<Toolchain> {
    let folder = root.join("target/wasm-toolchain").join(RUST);
    if folder.join("complete").is_file() {
        return Ok(Toolchain::Debian(folder));
    }
    match unpack(&folder) {
        Ok(()) => Ok(Toolchain::Debian(folder)),
        Err(reason) if own_has_target() => {
            eprintln!("plugins: built with this machine's own Rust, since Debian's cannot be had: {reason:#}");
            Ok(Toolchain::Own)
        }
        Err(reason) => Err(reason.context(format!(
            "no compiler for {TARGET}: Debian's rustc-web cannot be had and this machine's Rust lacks the target. \
             `rustup target add {TARGET}` is enough to build policies; `cargo xtask plugins` needs Debian 12's packages"
        ))),
    }
}

impl Toolchain {
    /// Whether its bytes are the ones that are committed.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self, Self::Debian(_))
    }

    /// Compiles packages of the workspace with one run of cargo. The modules are in the order of the packages.
    pub(super) fn compile(&self, root: &Path, packages: &[&str]) -> Result<Vec<PathBuf>> {
        // Fetched first, so that the folders of all registries are there to be remapped.
        run(self.cargo(root).args(["fetch", "--locked", "--quiet", "--target", TARGET]))?;

        let folder = root.join("target/plugins-build");
        let mut build = self.cargo(root);
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "plugin",
            "--target",
            TARGET,
            "--target-dir",
        ]);
        build.arg(&folder);
        build.env("CARGO_ENCODED_RUSTFLAGS", self.flags(root)?);
        for package in packages {
            build.args(["--package", package]);
        }
        if let Self::Debian(_) = self {
            build.arg("-Zbuild-std=std,panic_abort");
        }
        run(&mut build)?;

        let modules = folder.join(TARGET).join("plugin");
        Ok(packages
            .iter()
            .map(|package| modules.join(format!("{}.wasm", package.replace('-', "_"))))
            .collect())
    }

    /// Shell scripts in the place of the toolchain's own programs, with what those need around them.
    pub(super) fn write_programs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        for name in ["cargo", "rustc"] {
            let script = match self {
                Self::Own => format!("#!/bin/sh\nexec {name} \"$@\"\n"),
                Self::Debian(unpacked) => {
                    let libraries = env::join_paths(libraries(unpacked)).unwrap_or_default();
                    let programs = unpacked.join("usr/bin");
                    let programs = programs.display();
                    format!(
                        "#!/bin/sh\n\
                         unset RUSTUP_TOOLCHAIN CARGO RUSTFLAGS CARGO_ENCODED_RUSTFLAGS\n\
                         export PATH='{programs}':\"$PATH\" LD_LIBRARY_PATH='{}' RUSTC='{programs}/rustc'\n\
                         # Debian's is a stable compiler; building the standard library is an unstable option.\n\
                         export RUSTC_BOOTSTRAP=1 CARGO_UNSTABLE_BUILD_STD=std,panic_abort\n\
                         exec '{programs}/{name}' \"$@\"\n",
                        libraries.to_string_lossy(),
                    )
                }
            };
            let path = folder.join(name);
            fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Cargo in an environment that leaves nothing to the machine: a wrapper, a flag or a profile set there would change
    /// the bytes.
    fn cargo(&self, root: &Path) -> Command {
        let program = match self {
            Self::Debian(folder) => folder.join("usr/bin/cargo"),
            Self::Own => "cargo".into(),
        };
        let mut cargo = Command::new(program);
        cargo.current_dir(root);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let foreign =
                ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_ENCODED_", "RUSTC", "RUSTFLAGS"];
            if foreign.iter().any(|prefix| text.starts_with(prefix)) || text == "LD_LIBRARY_PATH" {
                cargo.env_remove(name);
            }
        }
        if let Self::Debian(folder) = self {
            let programs = folder.join("usr/bin");
            let path = env::var_os("PATH").unwrap_or_default();
            let path = env::join_paths([programs.clone()].into_iter().chain(env::split_paths(&path)));
            cargo.env("PATH", path.unwrap_or_else(|_| programs.clone().into_os_string()));
            cargo.env("LD_LIBRARY_PATH", env::join_paths(libraries(folder)).unwrap_or_default());
            cargo.env("RUSTC", programs.join("rustc"));
            // Debian's is a stable compiler; building the standard library is an unstable option.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.env_remove("RUSTUP_TOOLCHAIN");
        }
        cargo
    }

    /// Panic messages hold paths of sources. The last prefix that matches wins, so the special ones come last.
    fn flags(&self, root: &Path) -> Result<OsString> {
        let mut remapped = vec![(root.to_owned(), "/handfast")];
        let registries = cargo_home()?.join("registry/src");
        for registry in
            fs::read_dir(&registries).with_context(|| format!("cannot read {}", registries.display()))?
        {
            remapped.push((registry?.path(), "/registry"));
        }
        if let Self::Debian(folder) = self {
            let sources = folder.join("usr/lib/rustlib/src/rust");
            // Cargo names what lies within the workspace by its relative path.
            remapped.extend(sources.strip_prefix(root).map(|relative| (relative.to_owned(), "/rust")));
            remapped.push((sources, "/rust"));
        }

        let mut flags = OsString::from(format!("-Clink-arg=-zstack-size={STACK}"));
        for (from, to) in remapped {
            // What separates flags in CARGO_ENCODED_RUSTFLAGS.
            flags.push("\x1f--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        Ok(flags)
    }
}

/// Into a folder of its own first: what carries the final name is complete.
fn unpack(folder: &Path) -> Result<()> {
    ensure!(has("apt-get") && has("dpkg"), "this is no Debian system: it lacks apt-get or dpkg");
    let partial = folder.with_file_name(format!("{RUST}.{}", std::process::id()));
    let archives = partial.join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("cannot create {}", archives.display()))?;

    let unpacked = download(&archives).and_then(|()| {
        eprintln!("plugins: unpacking Debian's rustc-web {RUST}");
        let mut children = Vec::new();
        for archive in
            fs::read_dir(&archives)?.flatten().filter(|file| file.path().extension() == Some("deb".as_ref()))
        {
            let mut dpkg = Command::new("dpkg");
            dpkg.arg("-x").arg(archive.path()).arg(&partial);
            children.push(dpkg.spawn().context("cannot run dpkg")?);
        }
        ensure!(
            children.len() == PACKAGES.len(),
            "apt-get fetched {} of {} packages",
            children.len(),
            PACKAGES.len()
        );
        for mut child in children {
            ensure!(
                child.wait()?.success(),
                "dpkg could not unpack a package: is the disk full? It takes 900 MB"
            );
        }
        fs::remove_dir_all(&archives)?;
        fs::write(partial.join("complete"), RUST)?;
        // Another run may have been faster; its folder is as good.
        match fs::rename(&partial, folder) {
            Err(_) if folder.join("complete").is_file() => Ok(()),
            renamed => renamed.with_context(|| format!("cannot create {}", folder.display())),
        }
    });
    if partial.exists() {
        fs::remove_dir_all(&partial).ok();
    }
    unpacked
}

/// With the package lists of the machine, and where those are missing or old, with lists of our own: as nobody but root
/// could renew the machine's.
fn download(archives: &Path) -> Result<()> {
    eprintln!("plugins: fetching Debian's rustc-web {RUST}, 149 MB");
    let wanted: Vec<String> = PACKAGES
        .iter()
        .map(|(package, version)| {
            version.map_or((*package).to_owned(), |version| format!("{package}={version}"))
        })
        .collect();
    if run(apt_get(archives).arg("download").args(&wanted)).is_ok() {
        return Ok(());
    }

    let own = archives.join("apt");
    for folder in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(own.join(folder))?;
    }
    let mut options = vec![OsString::from("-oDir::State::Status=/var/lib/dpkg/status")];
    for (option, folder) in [("-oDir::State=", "state"), ("-oDir::Cache=", "cache")] {
        let mut value = OsString::from(option);
        value.push(own.join(folder));
        options.push(value);
    }
    run(apt_get(archives).args(&options).arg("update"))?;
    run(apt_get(archives).args(&options).arg("download").args(&wanted)).map_err(|error| {
        let offered = offered(&options);
        error.context(match offered.as_deref() {
            None | Some("(none)") => "the package sources of this system have no rustc-web: Debian 12's security archive has".to_owned(),
            Some(version) => format!(
                "the package sources offer rustc-web {version}, and {RUST} is wanted. To move on: change the versions in \
                 xtask/src/plugins/toolchain.rs, run `cargo xtask plugins` and commit both"
            ),
        })
    })
}

fn apt_get(folder: &Path) -> Command {
    let mut apt_get = Command::new("apt-get");
    // Root's apt-get would fetch as a user that cannot write here, and warn about it.
    apt_get.current_dir(folder).args(["-qq", "-oAPT::Sandbox::User=root"]);
    apt_get
}

fn offered(options: &[OsString]) -> Option<String> {
    let output = Command::new("apt-cache")
        .args(options)
        .args(["policy", "rustc-web"])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))
        .map(|version| version.trim().to_owned())
}

fn libraries(folder: &Path) -> Vec<PathBuf> {
    let folders =
        fs::read_dir(folder.join("usr/lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).collect()
}

fn own_has_target() -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn cargo_home() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home).context("neither CARGO_HOME nor HOME is set")
}

fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let shown = || {
        [program.as_os_str()]
            .into_iter()
            .chain(command.get_args().take(2))
            .collect::<Vec<_>>()
            .join(OsStr::new(" "))
    };
    let shown = shown().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown} …` failed, {status}");
    }
    Ok(())
}
