//! A folder to begin a policy with: a rule, its cases, a gateway to run it, and the SDK.
//!
//! Everything is in the binary, so that somebody who has nothing else can begin; and the SDK is the one that this
//! gateway's interface was written with. The templates in `plugins/sdk/<language>/template` are whole files under the name
//! [`NAME`], which is replaced by the policy's own.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::language::{Dialect, Language};
use crate::tool::{GO, ZIG};

/// Why there is no new folder.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{} exists already", folder.display())]
    Exists { folder: PathBuf },
    #[error("`{name}` is no name for a policy")]
    Name { name: String },
    #[error(
        "`{name}` is what the SDK's own package is called, and no package can depend on another of its name"
    )]
    Taken { name: &'static str },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl TemplateError {
    /// What to do, in a line.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "name a new folder: nothing is ever overwritten",
            Self::Name { .. } => {
                "begin with a lower-case letter, and go on with these, digits and hyphens, up to 64"
            }
            Self::Taken { .. } => "name the folder otherwise, for example my-policy",
            Self::Write { .. } => "begin where you may write",
        }
    }
}

/// What the templates call their policy.
const NAME: &str = "my-policy";
/// What the SDK is called by cargo, npm and pip.
const SDK: &str = "handfast-policy";

/// Makes a new folder, whose last part is the policy's name. What is there is complete: it is written beside its place
/// and renamed.
pub fn create(dialect: Dialect, folder: &Path) -> Result<(), TemplateError> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !is_name(name) {
        return Err(TemplateError::Name { name: folder.display().to_string() });
    }
    if name == SDK {
        return Err(TemplateError::Taken { name: SDK });
    }
    if folder.symlink_metadata().is_ok() {
        return Err(TemplateError::Exists { folder: folder.to_owned() });
    }
    let failed = |source| TemplateError::Write { path: folder.to_owned(), source };
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    // Its name is nobody else's, so what is in it is only what is written here. As every folder that is made: the umask
    // takes from its mode.
    let partial = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(failed)?;
    fill(dialect, name, partial.path())?;
    fs::rename(partial.path(), folder).map_err(failed)?;
    let _moved = partial.keep();
    Ok(())
}

/// What to run once in a new folder, so that it can be built.
pub fn preparation(language: Language) -> String {
    match language {
        Language::Rust => {
            "rustup target add wasm32-unknown-unknown      # without rustup, `handfast policy build` says how"
                .to_owned()
        }
        Language::C => format!("python3 -m venv .venv && .venv/bin/pip install {ZIG}"),
        Language::Go => {
            format!(
                "go version || {{ python3 -m venv .venv && .venv/bin/pip install {GO}; }}      # Go 1.25 or later"
            )
        }
        Language::Javascript => "npm install".to_owned(),
        Language::Python => "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt".to_owned(),
    }
}

/// Whether a policy can be called this in every language, its package managers included.
fn is_name(name: &str) -> bool {
    let is_plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    name.len() <= 64
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && name.bytes().all(is_plain)
        && !name.ends_with('-')
}

fn fill(dialect: Dialect, name: &str, folder: &Path) -> Result<(), TemplateError> {
    let (own, sdk) = files(dialect);
    for (path, text) in SHARED.iter().chain(own) {
        write(&folder.join(path), &adapted(dialect, name, text))?;
    }
    for (path, text) in sdk {
        write(&folder.join("sdk").join(path), text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), TemplateError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|source| TemplateError::Write { path: path.to_owned(), source })
}

fn adapted(dialect: Dialect, name: &str, text: &str) -> String {
    let language = dialect.language();
    // An interpreter's start costs more than its call: see docs/policies.
    let instances = match language {
        Language::Rust | Language::C => "fresh",
        Language::Go | Language::Javascript | Language::Python => "reuse",
    };
    let source = match dialect {
        Dialect::Rust => "src/lib.rs",
        Dialect::C => "policy.c",
        Dialect::Go => "main.go",
        Dialect::Javascript => "policy.js",
        Dialect::Typescript => "policy.ts",
        Dialect::Python => "policy.py",
    };
    text.replace(NAME, name)
        .replace("instances = \"fresh\"", &format!("instances = \"{instances}\""))
        .replace("{language}", &dialect.to_string())
        .replace("{source}", source)
        .replace("{tools}", &preparation(language))
}

/// Where a file goes, and what is in it.
type File = (&'static str, &'static str);

/// A table of files of the repository: where they go, and where they are.
macro_rules! files {
    ($folder:literal: $($to:literal = $from:literal),* $(,)?) => {
        &[$(($to, include_str!(concat!("../../../plugins/sdk/", $folder, $from)))),*]
    };
    ($folder:literal: $($path:literal),* $(,)?) => { files!($folder: $($path = $path),*) };
}

const SHARED: &[File] = files!("template/": "README.md", "cases.toml", "handfast.toml");

const JAVASCRIPT_SDK: &[File] = files!("javascript/":
    "build.mjs",
    "package.json",
    "policy.wit",
    "src/counter.ts",
    "src/http.ts",
    "src/index.ts",
    "src/key-value.ts",
    "src/text.ts",
    "src/wit.d.ts",
    "wasi/clocks.wit",
    "wasi/http.wit",
    "wasi/io.wit",
);

/// A template's own files, and those of the SDK.
fn files(dialect: Dialect) -> (&'static [File], &'static [File]) {
    match dialect {
        Dialect::Rust => (
            files!("rust/template/":
                ".cargo/config.toml" = ".cargo/config.toml",
                ".gitignore" = "ignored",
                "Cargo.lock" = "Cargo.lock",
                "Cargo.toml" = "Cargo.toml",
                "src/lib.rs" = "src/lib.rs",
            ),
            files!("rust/":
                "Cargo.toml" = "template/sdk.toml",
                "src/allocator.rs" = "src/allocator.rs",
                "src/bindings.rs" = "src/bindings.rs",
                "src/certificates.rs" = "src/certificates.rs",
                "src/clock.rs" = "src/clock.rs",
                "src/counter.rs" = "src/counter.rs",
                "src/export.rs" = "src/export.rs",
                "src/hook.rs" = "src/hook.rs",
                "src/http.rs" = "src/http.rs",
                "src/key_value.rs" = "src/key_value.rs",
                "src/lib.rs" = "src/lib.rs",
                "src/log.rs" = "src/log.rs",
                "src/random.rs" = "src/random.rs",
                "src/testing.rs" = "src/testing.rs",
                "src/testing/gateway.rs" = "src/testing/gateway.rs",
                "wit/policy.wit" = "wit/policy.wit",
            ),
        ),
        Dialect::C => (
            files!("c/template/": ".gitignore" = "ignored", "policy.c" = "policy.c"),
            files!("c/": "flags", "handfast.c", "handfast.h", "handfast_json.c", "handfast_json.h"),
        ),
        Dialect::Go => (
            files!("go/template/": ".gitignore" = "ignored", "go.mod" = "go.mod", "main.go" = "main.go"),
            files!("go/":
                "answer.go",
                "counter/counter.go",
                "go.mod",
                "handfast.go",
                "hook.go",
                "imports.go",
                "internal/abi/abi.go",
                "keyvalue/keyvalue.go",
                "onadmit/onadmit.go",
                "onconfigure/onconfigure.go",
                "onselect/onselect.go",
                "onvalidate/onvalidate.go",
            ),
        ),
        Dialect::Javascript => (
            files!("javascript/template/":
                ".gitignore" = "ignored",
                "package.json" = "package.json",
                "policy.js" = "policy.js",
            ),
            JAVASCRIPT_SDK,
        ),
        Dialect::Typescript => (
            files!("javascript/template/":
                ".gitignore" = "ignored",
                "package.json" = "package.json",
                "policy.ts" = "policy.ts",
            ),
            JAVASCRIPT_SDK,
        ),
        Dialect::Python => (
            files!("python/template/":
                ".gitignore" = "ignored",
                "policy.py" = "policy.py",
                "requirements.txt" = "requirements.txt",
            ),
            files!("python/":
                "handfast_policy/__init__.py",
                "handfast_policy/build.py",
                "handfast_policy/counter.py",
                "handfast_policy/http.py",
                "handfast_policy/key_value.py",
                "handfast_policy/policy.wit",
                "handfast_policy/py.typed",
                "handfast_policy/wasi/clocks.wit",
                "handfast_policy/wasi/http.wit",
                "handfast_policy/wasi/io.wit",
                "pyproject.toml",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_good_for_every_package_manager() {
        assert!(is_name("tls13-only") && is_name("a"));
        for name in ["", "Tls", "1st", "-a", "a-", "a_b", "a b", "../a", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }

    /// Cargo spoke of two packages of one name, when it was built.
    #[test]
    fn no_policy_is_called_as_the_sdk_is() {
        let parent = tempfile::tempdir().unwrap();
        let error = create(Dialect::Rust, &parent.path().join(SDK)).unwrap_err();
        assert!(matches!(error, TemplateError::Taken { .. }), "{error}");
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
        let text = |path: &str| fs::read_to_string(Path::new("../../plugins/sdk").join(path)).unwrap();
        for path in ["rust/Cargo.toml", "javascript/package.json", "python/pyproject.toml"] {
            assert!(text(path).contains(&format!("\"{SDK}\"")), "{path}");
        }
    }

    /// Once, it was filled in a folder of a name that was known beforehand, with whatever somebody had put there.
    #[test]
    fn a_new_folder_has_what_the_template_has_and_the_mode_of_any_folder() {
        let parent = tempfile::tempdir().unwrap();
        let planted = parent.path().join(format!(".mine.{}", std::process::id()));
        fs::create_dir(&planted).unwrap();
        fs::write(planted.join("sitecustomize.py"), "").unwrap();
        let folder = parent.path().join("mine");
        create(Dialect::Python, &folder).unwrap();
        assert!(folder.join("policy.py").is_file() && !folder.join("sitecustomize.py").exists());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&folder), mode(&planted));
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 2, "nothing is left beside it");
        create(Dialect::C, &parent.path().join("not/yet/there")).unwrap();
    }

    /// What the repository has and a new folder does not would be missed at somebody's first build.
    #[test]
    fn every_file_of_the_sdks_is_in_the_binary() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/sdk");
        for language in Language::ALL {
            let here = sdk.join(language.name());
            let mut carried = BTreeSet::new();
            for dialect in Dialect::ALL.iter().filter(|dialect| dialect.language() == *language) {
                let (own, files) = files(*dialect);
                carried.extend(files.iter().map(|(path, _)| PathBuf::from(path)));
                carried.extend(own.iter().map(|(path, _)| match *path {
                    ".gitignore" => PathBuf::from("template/ignored"),
                    path => Path::new("template").join(path),
                }));
            }
            if *language == Language::Rust {
                carried.insert("template/sdk.toml".into());
            }
            carried.insert("README.md".into());
            let missing: Vec<_> =
                tracked(&here, &here).into_iter().filter(|path| !carried.contains(path)).collect();
            assert!(missing.is_empty(), "{language}: {missing:?}");
        }
    }

    /// Its files, without what tools leave there.
    fn tracked(folder: &Path, root: &Path) -> Vec<PathBuf> {
        let left = ["__pycache__", "build", "node_modules", "target"];
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let kept = entries.filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            !left.contains(&name.as_ref()) && !name.ends_with(".egg-info")
        });
        kept.flat_map(|path| match path.is_dir() {
            true => tracked(&path, root),
            false => vec![path.strip_prefix(root).unwrap().to_owned()],
        })
        .collect()
    }
}
