//! Which files of a folder are a pair, by their names.
//!
//! [`super::directory`] asks for each folder that it lists. Nothing here looks at a disk: a folder's pairs depend on the
//! names in it alone, so that a listing is all that a scan needs of a folder. The layouts, the first that fits:
//!
//! | files | id (path below the source) | made by |
//! |---|---|---|
//! | `fullchain.pem` + `privkey.pem` | the folder | certbot |
//! | `fullchain.pem` + `key.pem` | the folder | acme.sh `--install-cert` |
//! | `cert.pem` + `key.pem`, without a `chain.pem` | the folder | acme.sh `--install-cert`, Docker |
//! | `fullchain.cer` + `domain.key` (with `domain.cer`) | the folder | acme.sh |
//! | `tls.crt` + `tls.key` | the folder | Kubernetes, cert-manager |
//! | `name.crt` + `name.key` | `name` | lego, openssl, by hand |
//! | `name.crt` + `name.crt.key` | `name` | HAProxy |
//! | `name.pem` + `name.key` | `name` | by hand |
//! | `name.pem` + `name-key.pem` | `name` | mkcert |
//! | `name.pem` + `name.pem.key` | `name` | HAProxy |
//! | `name.pem` with both inside | `name` | HAProxy |
//! | `name.pem.rsa`, `name.pem.ecdsa` with both inside, or with the key in `name.pem.rsa.key` | `name.rsa`, `name.ecdsa` | HAProxy |
//!
//! Not taken: one `.crt` that holds both. A `.crt` without a key is an issuer's more often than not (`ca.crt`, those of lego),
//! and only opening each at each listing would tell; it is reported, so that whoever meant it as a pair learns that `.pem` is
//! the name for that. `cert.pem` + `chain.pem` + `key.pem` would be served without its issuers; it is reported as well.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Layout<'a> {
    /// Of each the chain and the key, or the one file that should hold both.
    pub(super) pairs: Vec<Vec<&'a str>>,
    pub(super) lone_keys: Vec<&'a str>,
    /// Certificates that were perhaps meant to be served, each with what to do.
    pub(super) not_taken: Vec<(&'a str, &'static str)>,
    /// Settings and OCSP responses that are named like no pair's.
    pub(super) strays: Vec<&'a str>,
}

/// What may stand beside a pair: its settings, then its OCSP response under each name that one may have. They are named like
/// the file of the certificate, with another ending. HAProxy puts its ending behind `.pem`.
pub(super) fn beside(files: &[PathBuf]) -> (PathBuf, Vec<PathBuf>) {
    let Some(first) = files.first() else { return Default::default() };
    let with = |ending: &str| {
        let mut path = first.clone().into_os_string();
        path.push(ending);
        PathBuf::from(path)
    };
    if kind_of_bundle(first).is_some() {
        return (with(".toml"), vec![with(".ocsp")]);
    }
    let of_haproxy = (files.len() == 1).then(|| first.with_extension("pem.ocsp"));
    let responses = std::iter::once(first.with_extension("ocsp")).chain(of_haproxy);
    (first.with_extension("toml"), responses.collect())
}

/// How the pair of these files is called below its folder: `None` if like the folder.
pub(super) fn stem(files: &[PathBuf]) -> Option<&str> {
    let first = files.first()?;
    let key = files.get(1).and_then(|key| key.file_name()).and_then(|key| key.to_str());
    match (first.file_name().and_then(|name| name.to_str())?, key) {
        ("fullchain.pem", Some("privkey.pem" | "key.pem"))
        | ("cert.pem", Some("key.pem"))
        | ("fullchain.cer" | "tls.crt", _) => None,
        _ => first.file_stem().and_then(|stem| stem.to_str()),
    }
}

/// Whether the file is one of several for one name, each with a key of another kind.
pub(super) fn kind_of_bundle(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_str()?;
    KINDS.into_iter().find(|kind| name.strip_suffix(kind).is_some_and(|rest| rest.ends_with(".pem")))
}

/// HAProxy's endings for them. (DSA, which it has one for too, is not for TLS any more.)
const KINDS: [&str; 2] = [".rsa", ".ecdsa"];

impl<'a> Layout<'a> {
    pub(super) fn of(names: &'a BTreeSet<String>) -> Self {
        let mut layout = Self::default();
        let mut used: HashSet<&str> = HashSet::new();
        layout.take_folder(names, &mut used);
        for extension in [".crt", ".pem"] {
            for name in names {
                let Some(stem) = name.strip_suffix(extension).filter(|_| !used.contains(name.as_str()))
                else {
                    continue;
                };
                let unused = |key: String| names.get(&key).filter(|key| !used.contains(key.as_str()));
                let of_mkcert = || unused(format!("{stem}-key.pem")).filter(|_| extension == ".pem");
                let of_haproxy = || unused(format!("{name}.key"));
                match unused(format!("{stem}.key")).or_else(of_mkcert).or_else(of_haproxy) {
                    Some(key) => {
                        used.extend([name.as_str(), key.as_str()]);
                        layout.pairs.push(vec![name, key]);
                    }
                    // A `.pem` may hold the key itself.
                    None if extension == ".pem" && may_hold_both(name, names) => {
                        used.insert(name);
                        layout.pairs.push(vec![name]);
                    }
                    None => {}
                }
            }
        }
        for name in names.iter().filter(|name| kind_of_bundle(Path::new(name)).is_some()) {
            let key = names.get(&format!("{name}.key"));
            used.insert(name);
            used.extend(key.map(String::as_str));
            layout.pairs.push(std::iter::once(name).chain(key).map(String::as_str).collect());
        }
        for name in names.iter().filter(|name| !used.contains(name.as_str())) {
            if name.ends_with(".toml") || name.ends_with(".ocsp") {
                layout.strays.push(name);
            } else if name.ends_with(".key") {
                layout.lone_keys.push(name);
            } else if let Some(why) = why_not_taken(name) {
                layout.not_taken.push((name, why));
            }
        }
        layout.leave_what_pairs_have();
        layout
    }

    /// Takes what stands beside a pair out of the strays.
    fn leave_what_pairs_have(&mut self) {
        if self.strays.is_empty() {
            return;
        }
        let of_pair = |files: &Vec<&str>| {
            let (settings, responses) = beside(&files.iter().map(PathBuf::from).collect::<Vec<_>>());
            std::iter::once(settings).chain(responses)
        };
        let owned: HashSet<PathBuf> = self.pairs.iter().flat_map(of_pair).collect();
        self.strays.retain(|name| !owned.contains(Path::new(name)));
    }

    /// The one pair that a whole folder is for.
    fn take_folder(&mut self, names: &'a BTreeSet<String>, used: &mut HashSet<&'a str>) {
        let has = |name: &str| names.contains(name);
        // The parts that certbot and acme.sh also write one by one.
        let parts = ["cert.pem", "chain.pem", "fullchain.pem"];
        let (chain, key) = match () {
            () if has("fullchain.pem") && has("privkey.pem") => ("fullchain.pem", "privkey.pem"),
            () if has("fullchain.pem") && has("key.pem") && !has("fullchain.key") => {
                ("fullchain.pem", "key.pem")
            }
            () if has("cert.pem") && has("key.pem") && !has("cert.key") && !has("chain.pem") => {
                ("cert.pem", "key.pem")
            }
            () if has("cert.pem") && has("key.pem") && !has("cert.key") => {
                self.not_taken.push(("cert.pem", "put it and chain.pem, in this order, into fullchain.pem"));
                used.extend(parts.into_iter().chain(["key.pem"]));
                ("", "")
            }
            () => ("", ""),
        };
        if !chain.is_empty() {
            self.pairs.push(vec![chain, key]);
            used.extend(parts.into_iter().chain([key]));
        }
        if let Some((own, key)) = acme_sh(names) {
            self.pairs.push(vec!["fullchain.cer", key]);
            used.extend(["fullchain.cer", "ca.cer", own, key]);
        }
    }
}

/// The certificate and the key of a folder of acme.sh, which names them after the domain.
fn acme_sh(names: &BTreeSet<String>) -> Option<(&str, &str)> {
    names.get("fullchain.cer")?;
    let mut keys = names.iter().filter_map(|key| {
        let own = names.get(&format!("{}.cer", key.strip_suffix(".key")?))?;
        Some((own.as_str(), key.as_str()))
    });
    let first = keys.next()?;
    keys.next().is_none().then_some(first)
}

/// Not where a pair of the same name was found, and not the parts of a certbot folder that is being filled.
fn may_hold_both(name: &str, names: &BTreeSet<String>) -> bool {
    match name {
        "fullchain.pem" | "privkey.pem" | "chain.pem" => false,
        "cert.pem" => !names.contains("chain.pem") && !names.contains("fullchain.pem"),
        _ => {
            let has_key = |stem| names.contains(&format!("{stem}.key"));
            // "a-key.pem" sorts before "a.pem".
            let is_key = |stem: &str| names.contains(&format!("{stem}.pem"));
            !name.strip_suffix(".pem").is_some_and(has_key)
                && !name.strip_suffix("-key.pem").is_some_and(|stem| is_key(stem) && !has_key(stem))
        }
    }
}

/// Why a file that is no part of a pair is not one, unless it is an issuer's by its name.
fn why_not_taken(name: &str) -> Option<&'static str> {
    let stem = name.strip_suffix(".crt").or_else(|| name.strip_suffix(".cer"));
    let Some(stem) = stem else {
        return name.ends_with(".pem.dsa").then_some("TLS uses no DSA keys any more; remove it");
    };
    let is_issuers = ["ca", "chain", "issuer", "root", "ca-bundle", "bundle"].contains(&stem)
        || [".issuer", ".ca", ".chain", "-ca", "-chain", ".ca-bundle"].iter().any(|end| stem.ends_with(end));
    match name.ends_with(".crt") {
        _ if is_issuers => None,
        true => Some(
            "no key is beside it, with .key in place of .crt; if it holds the key too, rename it to .pem",
        ),
        false => Some("it is no part of a folder of acme.sh; rename it to .crt, and its key to .key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_pairs(names: &[&str], pairs: &[&[&str]], not_taken: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let layout = Layout::of(&names);
        assert_eq!(layout.pairs, pairs);
        let left: Vec<_> = layout.not_taken.iter().map(|(name, _)| *name).collect();
        assert_eq!(left, not_taken);
        assert!(layout.lone_keys.is_empty(), "{layout:?}");
    }

    #[test]
    fn a_folder_for_one_pair_is_exactly_one_pair() {
        let certbot = ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"];
        assert_pairs(&certbot, &[&["fullchain.pem", "privkey.pem"]], &[]);
        assert_pairs(&["cert.pem", "key.pem"], &[&["cert.pem", "key.pem"]], &[]);
        let installed = ["ca.pem.bak", "cert.pem", "fullchain.pem", "key.pem"];
        assert_pairs(&installed, &[&["fullchain.pem", "key.pem"]], &[]);
        assert_pairs(&["cert.pem", "chain.pem", "key.pem"], &[], &["cert.pem"]);
    }

    #[test]
    fn keys_of_haproxy_stand_behind_the_whole_name() {
        assert_pairs(&["a.pem", "a.pem.key"], &[&["a.pem", "a.pem.key"]], &[]);
        assert_pairs(&["a.crt", "a.crt.key"], &[&["a.crt", "a.crt.key"]], &[]);
        let bundle = ["a.pem.ecdsa", "a.pem.rsa", "a.pem.rsa.key"];
        assert_pairs(&bundle, &[&["a.pem.ecdsa"], &["a.pem.rsa", "a.pem.rsa.key"]], &[]);
    }

    #[test]
    fn what_stands_beside_no_pair_is_told_of() {
        let names = [
            "a.crt",
            "a.crt.toml",
            "a.key",
            "a.ocsp",
            "a.toml",
            "b.pem",
            "b.pem.ocsp",
            "b.toml",
            "c.pem.rsa",
            "c.pem.rsa.ocsp",
            "c.rsa.toml",
            "d.ocsp",
            "fullchain.pem",
            "fullchain.toml",
            "privkey.pem",
            "privkey.toml",
        ];
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(Layout::of(&names).strays, ["a.crt.toml", "c.rsa.toml", "d.ocsp", "privkey.toml"]);
    }

    #[test]
    fn what_looks_like_a_certificate_is_taken_or_told_of() {
        let names = ["a.crt", "a.issuer.crt", "b.cer", "ca.crt", "d.pem.dsa", "notes.txt"];
        assert_pairs(&names, &[], &["a.crt", "b.cer", "d.pem.dsa"]);
    }
}
