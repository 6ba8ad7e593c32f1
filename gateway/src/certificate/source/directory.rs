//! A folder tree of PEM files: which pairs there are.
//!
//! The store calls [`Tree::look`] on a blocking thread, at start and at each scan. It lists folders and never opens a
//! file. A second look costs one `stat` per folder and lists only those that changed.
//!
//! Layouts, by folder, the first that fits:
//!
//! | files | id (path below the source) | made by |
//! |---|---|---|
//! | `fullchain.pem` + `privkey.pem` | the folder | certbot |
//! | `fullchain.cer` + `domain.key` (with `domain.cer`) | the folder | acme.sh |
//! | `tls.crt` + `tls.key` | the folder | Kubernetes, cert-manager |
//! | `name.crt` + `name.key` | `name` | lego, openssl, by hand |
//! | `name.pem` + `name.key` | `name` | by hand |
//! | `name.pem` + `name-key.pem` | `name` | mkcert |
//! | `name.pem` with both inside | `name` | HAProxy |
//!
//! Of certbot's whole folder, `/etc/letsencrypt`, only `live` is looked at.
//!
//! Names that begin with a dot are left out: Kubernetes keeps `..data` and the dated folders there, and editors their
//! copies. A pair in the source's own folder takes the name of the source where the table says "the folder".
//!
//! Beside each pair there may be more files ([`Candidate::beside`]). A look does not care whether they are there: the
//! store looks at their paths as often as at the pair's.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::freshness::file::file_clock;
use crate::freshness::{FileIdentity, Files, Folders};

/// Folders within folders. Deeper ones are reported and left out; certbot and Kubernetes need 2.
const MAX_DEPTH: usize = 8;

/// The WIT interface promises policies that ids are no longer.
const MAX_ID: usize = 1024;

/// A pair that is there, by the look of its file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: Arc<str>,
    /// The chain and the key, or one file that should hold both.
    pub files: Vec<PathBuf>,
}

impl Candidate {
    /// Everything that is read of this pair.
    pub fn all_files(&self, with_ocsp: bool) -> Files {
        Files::new(self.files.clone(), self.beside(with_ocsp))
    }

    /// The same for a pair that is kept fresh: the chain leads, since no key but its own goes with it.
    pub fn kept_files(&self, with_ocsp: bool, folders: &Folders) -> Files {
        let files = self.all_files(with_ocsp);
        let folder = self.files.first().and_then(|first| first.parent());
        match folder.filter(|folder| self.files.iter().all(|file| file.parent() == Some(folder))) {
            Some(folder) => files.led_by_first(folders.at(folder)),
            None => files,
        }
    }

    /// Where settings and, if wanted, OCSP responses for this pair would be: named like the file of the certificate, with
    /// another ending. HAProxy puts its ending behind `.pem`.
    fn beside(&self, with_ocsp: bool) -> Vec<PathBuf> {
        let Some(first) = self.files.first() else { return Vec::new() };
        let mut beside = vec![first.with_extension("toml")];
        if with_ocsp {
            beside.push(first.with_extension("ocsp"));
            if self.files.len() == 1 {
                beside.push(first.with_extension("pem.ocsp"));
            }
        }
        beside
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Look {
    /// The folders that are new or changed. What was a pair in one of them and is not among the candidates is none now.
    pub listed: HashSet<PathBuf>,
    /// All pairs of those folders.
    pub candidates: Vec<Candidate>,
    /// What is left out anywhere in the tree, and why; of folders that did not change, what was told of them before.
    pub left_out: Vec<LeftOut>,
    /// How many folders there are.
    pub folders: usize,
}

/// Something in the tree that is not served and perhaps was meant to be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LeftOut {
    #[error("{} has no certificate beside it; name that one alike, with .crt or .pem", path.display())]
    LoneKey { path: PathBuf },
    #[error("{} has a name that is not UTF-8; rename it", path.display())]
    Name { path: PathBuf },
    #[error("{} has too long a path for an id; move it up or shorten the names", path.display())]
    LongId { path: PathBuf },
    #[error("{} is more than {MAX_DEPTH} folders deep; move it up", path.display())]
    Deep { path: PathBuf },
    #[error("{} cannot be listed; check its permissions", path.display())]
    Unlisted { path: PathBuf, source: Arc<io::Error> },
}

/// The folders of a source, as of the last look.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    /// The id of a pair that is named after the root.
    root_id: String,
    /// Put before every id: empty, or the source's name and a colon.
    prefix: String,
    folders: HashMap<PathBuf, Folder>,
    looks: u64,
}

#[derive(Debug)]
struct Folder {
    /// Which folder it was when it was listed.
    which: FileIdentity,
    /// `None` if it may have changed since without showing it: it is listed again.
    identity: Option<FileIdentity>,
    children: Vec<PathBuf>,
    /// Of its own files.
    left_out: Vec<LeftOut>,
    look: u64,
}

impl Tree {
    pub fn new(root: PathBuf, source: &str, several_sources: bool) -> Self {
        let prefix = if several_sources { format!("{source}:") } else { String::new() };
        Self { root, root_id: source.to_owned(), prefix, folders: HashMap::new(), looks: 0 }
    }

    /// Finds the pairs in folders that changed since the last look. Blocks. The error is about the root.
    pub fn look(&mut self) -> io::Result<Look> {
        self.looks += 1;
        let mut look = Look::default();
        // Each with the folders above it, by identity: a link that leads to one of those is a loop.
        let mut pending: Vec<(PathBuf, Vec<FileIdentity>)> = vec![(self.root.clone(), Vec::new())];
        while let Some((path, above)) = pending.pop() {
            match self.visit(&path, &above, &mut look) {
                Ok(Some(identity)) => {
                    let mut above = above;
                    above.push(identity);
                    let children =
                        self.folders.get(&path).map(|folder| folder.children.clone()).unwrap_or_default();
                    pending.extend(children.into_iter().map(|child| (child, above.clone())));
                }
                Ok(None) => {}
                Err(source) if path == self.root => return Err(source),
                // Gone between listing its parent and looking at it.
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    look.left_out.push(LeftOut::Unlisted { path, source: Arc::new(source) });
                }
            }
        }
        let current = self.looks;
        self.folders.retain(|_, folder| folder.look == current);
        look.folders = self.folders.len();
        Ok(look)
    }

    /// Finds the pairs of the root alone, without the folders in it. Blocks.
    pub fn look_at_root(&mut self) -> io::Result<Look> {
        let mut look = Look::default();
        let root = self.root.clone();
        self.visit(&root, &[], &mut look)?;
        Ok(look)
    }

    /// The folders that could be listed, and which they were.
    pub fn folders(&self) -> Vec<(PathBuf, FileIdentity)> {
        self.folders.iter().map(|(path, folder)| (path.clone(), folder.which)).collect()
    }

    /// The id of a pair, by its files.
    pub fn id_of(&self, files: &[PathBuf]) -> Result<Arc<str>, LeftOut> {
        let name = |file: &PathBuf| file.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(first) = files.first() else { return Err(LeftOut::Name { path: self.root.clone() }) };
        let is_named_after_folder = match name(first).as_deref() {
            Some("fullchain.pem") => files.get(1).and_then(name).as_deref() == Some("privkey.pem"),
            Some("fullchain.cer" | "tls.crt") => true,
            _ => false,
        };
        let stem =
            if is_named_after_folder { None } else { first.file_stem().and_then(|stem| stem.to_str()) };
        self.id(first.parent().unwrap_or(&self.root), stem)
    }

    /// Lists a folder if it changed. `None` if it is not to be entered.
    fn visit(
        &mut self,
        path: &Path,
        above: &[FileIdentity],
        look: &mut Look,
    ) -> io::Result<Option<FileIdentity>> {
        let clock = file_clock();
        let metadata = std::fs::metadata(path)?;
        if !above.is_empty() && !metadata.is_dir() {
            // A link that led nowhere when its folder was listed, and leads to a file now.
            return Ok(None);
        }
        let identity = FileIdentity::from(&metadata);
        if above.iter().any(|above| above.is_same_file(&identity)) {
            return Ok(None);
        }
        if above.len() > MAX_DEPTH {
            look.left_out.push(LeftOut::Deep { path: path.to_owned() });
            return Ok(None);
        }
        if let Some(folder) = self.folders.get_mut(path)
            && folder.identity == Some(identity)
        {
            folder.look = self.looks;
            look.left_out.extend_from_slice(&folder.left_out);
            return Ok(Some(identity));
        }
        let told = look.left_out.len();
        let (names, mut children) = list(path, look)?;
        leave_out_certbots_own(&mut children);
        look.listed.insert(path.to_owned());
        self.classify(path, &names, look);
        let left_out = look.left_out.iter().skip(told).cloned().collect();
        let settled = identity.is_settled(clock).then_some(identity);
        let folder = Folder { which: identity, identity: settled, children, left_out, look: self.looks };
        self.folders.insert(path.to_owned(), folder);
        Ok(Some(identity))
    }

    /// The pairs among the names of a folder's files.
    fn classify(&self, folder: &Path, names: &BTreeSet<String>, look: &mut Look) {
        let mut used: HashSet<&str> = HashSet::new();
        let mut found: Vec<Vec<&str>> = Vec::new();
        if names.contains("fullchain.pem") && names.contains("privkey.pem") {
            found.push(vec!["fullchain.pem", "privkey.pem"]);
            // The parts that certbot also writes one by one.
            used.extend(["fullchain.pem", "privkey.pem", "cert.pem", "chain.pem"]);
        }
        if let Some((own, key)) = acme_sh(names) {
            found.push(vec!["fullchain.cer", key]);
            used.extend(["fullchain.cer", "ca.cer", own, key]);
        }
        for extension in [".crt", ".pem"] {
            for name in names {
                let Some(stem) = name.strip_suffix(extension).filter(|_| !used.contains(name.as_str()))
                else {
                    continue;
                };
                let unused = |key: String| names.get(&key).filter(|key| !used.contains(key.as_str()));
                let of_mkcert = || unused(format!("{stem}-key.pem")).filter(|_| extension == ".pem");
                match unused(format!("{stem}.key")).or_else(of_mkcert) {
                    Some(key) => {
                        used.extend([name.as_str(), key.as_str()]);
                        found.push(vec![name, key]);
                    }
                    // A `.crt` without a key is an issuer's or a CA's. A `.pem` may hold the key itself.
                    None if extension == ".pem" && may_hold_both(name, names) => found.push(vec![name]),
                    None => {}
                }
            }
        }
        for name in names.iter().filter(|name| name.ends_with(".key") && !used.contains(name.as_str())) {
            look.left_out.push(LeftOut::LoneKey { path: folder.join(name) });
        }
        for files in found {
            let files: Vec<PathBuf> = files.into_iter().map(|name| folder.join(name)).collect();
            match self.id_of(&files) {
                Ok(id) => look.candidates.push(Candidate { id, files }),
                Err(reason) => look.left_out.push(reason),
            }
        }
    }

    fn id(&self, folder: &Path, stem: Option<&str>) -> Result<Arc<str>, LeftOut> {
        let below = folder.strip_prefix(&self.root).unwrap_or(folder);
        let Some(below) = below.to_str() else { return Err(LeftOut::Name { path: folder.to_owned() }) };
        let id = match (below, stem) {
            ("", None) => self.root_id.as_str().to_owned(),
            ("", Some(stem)) => stem.to_owned(),
            (below, None) => below.to_owned(),
            (below, Some(stem)) => format!("{below}/{stem}"),
        };
        let id = format!("{}{id}", self.prefix);
        match id.len() <= MAX_ID {
            true => Ok(id.into()),
            false => Err(LeftOut::LongId { path: folder.to_owned() }),
        }
    }
}

/// certbot's whole folder, `/etc/letsencrypt`: what is served are the links in `live`. `archive` keeps what they lead to
/// and all that was served before, under numbers; the others hold keys without certificates.
fn leave_out_certbots_own(children: &mut Vec<PathBuf>) {
    let is = |path: &PathBuf, names: &[&str]| names.iter().any(|name| path.ends_with(name));
    if ["live", "archive", "renewal"].iter().all(|name| children.iter().any(|child| is(child, &[name]))) {
        children.retain(|child| !is(child, &["accounts", "archive", "csr", "keys"]));
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

/// A folder's file names and its sub-folders, without those that begin with a dot.
fn list(folder: &Path, look: &mut Look) -> io::Result<(BTreeSet<String>, Vec<PathBuf>)> {
    let (mut names, mut children) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type()?;
        let is_folder = match kind.is_symlink() {
            true => match std::fs::metadata(entry.path()) {
                Ok(metadata) => metadata.is_dir(),
                Err(error) => {
                    // What it leads to may come into being, as a folder too, and nothing here will show it.
                    if error.kind() == io::ErrorKind::NotFound {
                        children.push(entry.path());
                    }
                    false
                }
            },
            false => kind.is_dir(),
        };
        if is_folder {
            children.push(entry.path());
            continue;
        }
        match name.into_string() {
            Ok(name) => {
                names.insert(name);
            }
            Err(name) if has_certificate_extension(Path::new(&name)) => {
                look.left_out.push(LeftOut::Name { path: entry.path() });
            }
            Err(_) => {}
        }
    }
    Ok((names, children))
}

fn has_certificate_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "crt" || extension == "pem" || extension == "cer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(root: &Path) -> Tree {
        Tree::new(root.to_owned(), "files", false)
    }

    fn touch(root: &Path, paths: &[&str]) {
        for path in paths {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    fn ids(look: &Look) -> Vec<(String, Vec<String>)> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut ids: Vec<_> = look
            .candidates
            .iter()
            .map(|candidate| (candidate.id.to_string(), candidate.files.iter().map(name).collect()))
            .collect();
        ids.sort();
        ids
    }

    fn expected(pairs: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        pairs
            .iter()
            .map(|(id, files)| (id.to_string(), files.iter().map(|file| file.to_string()).collect()))
            .collect()
    }

    #[test]
    fn every_layout_is_found() {
        let root = tempfile::tempdir().unwrap();
        touch(
            root.path(),
            &[
                "a.crt",
                "a.key",
                "b.pem",
                "b.key",
                "both.pem",
                "issuer.crt",
                "lone.key",
                "live/c.example/fullchain.pem",
                "live/c.example/privkey.pem",
                "live/c.example/cert.pem",
                "live/c.example/chain.pem",
                "live/c.example/README",
                "secret/..2024/tls.crt",
                "secret/tls.crt",
                "secret/tls.key",
                "acme/d.example_ecc/d.example.cer",
                "acme/d.example_ecc/d.example.key",
                "acme/d.example_ecc/d.example.conf",
                "acme/d.example_ecc/ca.cer",
                "acme/d.example_ecc/fullchain.cer",
                "lego/_.e.example.crt",
                "lego/_.e.example.key",
                "lego/_.e.example.issuer.crt",
                "lego/_.e.example.json",
                "lego/_.e.example.pem",
            ],
        );
        let look = tree(root.path()).look().unwrap();
        assert_eq!(
            ids(&look),
            expected(&[
                ("a", &["a.crt", "a.key"]),
                ("acme/d.example_ecc", &["fullchain.cer", "d.example.key"]),
                ("b", &["b.pem", "b.key"]),
                ("both", &["both.pem"]),
                ("lego/_.e.example", &["_.e.example.crt", "_.e.example.key"]),
                ("live/c.example", &["fullchain.pem", "privkey.pem"]),
                ("secret", &["tls.crt", "tls.key"]),
            ])
        );
        assert!(matches!(&look.left_out[..], [LeftOut::LoneKey { path }] if path.ends_with("lone.key")));
    }

    #[test]
    fn files_beside_a_pair_are_named_like_its_certificate() {
        let beside = |files: &[&str], with_ocsp| -> Vec<String> {
            let candidate = Candidate { id: "a".into(), files: files.iter().map(PathBuf::from).collect() };
            candidate.beside(with_ocsp).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(beside(&["www.a.example.crt", "k"], true), ["www.a.example.toml", "www.a.example.ocsp"]);
        assert_eq!(beside(&["a.pem"], true), ["a.toml", "a.ocsp", "a.pem.ocsp"]);
        assert_eq!(beside(&["a/fullchain.pem", "k"], false), ["a/fullchain.toml"]);
    }

    #[test]
    fn a_pair_in_the_sources_own_folder_has_its_name_and_several_sources_prefix_theirs() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["tls.crt", "tls.key", "a/b.crt", "a/b.key"]);
        let look = Tree::new(root.path().to_owned(), "files", true).look().unwrap();
        assert_eq!(
            ids(&look),
            expected(&[("files:a/b", &["b.crt", "b.key"]), ("files:files", &["tls.crt", "tls.key"])])
        );
    }

    #[test]
    fn a_second_look_lists_only_what_changed() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["a/a.crt", "a/a.key", "b/b.crt", "b/b.key"]);
        let mut tree = tree(root.path());
        // Folders made within the clock's last tick are listed again, so look until they are older than that.
        while !tree.look().unwrap().candidates.is_empty() {}
        touch(root.path(), &["b/c.pem"]);
        let look = tree.look().unwrap();
        assert_eq!(ids(&look), expected(&[("b/b", &["b.crt", "b.key"]), ("b/c", &["c.pem"])]));
        assert_eq!(look.folders, 3);
        std::fs::remove_dir_all(root.path().join("a")).unwrap();
        assert_eq!(tree.look().unwrap().folders, 2);
    }

    #[test]
    fn a_link_is_followed_once_it_leads_somewhere() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        touch(root.path(), &["a.pem"]);
        for name in ["later", "file.pem"] {
            std::os::unix::fs::symlink(elsewhere.path().join(name), root.path().join(name)).unwrap();
        }
        let mut tree = tree(root.path());
        while !tree.look().unwrap().candidates.is_empty() {}
        touch(elsewhere.path(), &["later/b.pem", "file.pem"]);
        let look = tree.look().unwrap();
        assert_eq!(ids(&look), expected(&[("later/b", &["b.pem"])]));
        assert!(look.left_out.is_empty(), "{:?}", look.left_out);
    }

    #[test]
    fn of_certbots_whole_folder_what_is_live_is_found() {
        let root = tempfile::tempdir().unwrap();
        let parts = ["cert", "chain", "fullchain", "privkey"];
        for part in parts {
            touch(
                root.path(),
                &[&format!("archive/a.example/{part}1.pem"), &format!("archive/a.example/{part}2.pem")],
            );
        }
        touch(
            root.path(),
            &[
                "accounts/acme-v02.api.letsencrypt.org/directory/1/private_key.json",
                "cli.ini",
                "csr/0000_csr-certbot.pem",
                "keys/0000_key-certbot.pem",
                "live/README",
                "live/a.example/README",
                "options-ssl-nginx.conf",
                "renewal/a.example.conf",
                "renewal-hooks/deploy/reload.sh",
            ],
        );
        for part in parts {
            let target = format!("../../archive/a.example/{part}2.pem");
            std::os::unix::fs::symlink(target, root.path().join(format!("live/a.example/{part}.pem")))
                .unwrap();
        }
        let look = tree(root.path()).look().unwrap();
        assert_eq!(ids(&look), expected(&[("live/a.example", &["fullchain.pem", "privkey.pem"])]));
        assert!(look.left_out.is_empty(), "{:?}", look.left_out);
    }

    /// A look that found a folder unchanged was silent about its files, so a scan after it took them for put right.
    #[test]
    fn what_is_left_out_is_told_at_each_look_until_it_is_put_right() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["a/lone.key", "b/b.pem"]);
        let mut tree = tree(root.path());
        // Until no folder may have changed unseen.
        while !tree.look().unwrap().listed.is_empty() {}
        let look = tree.look().unwrap();
        assert!(look.listed.is_empty(), "{look:?}");
        assert!(matches!(&look.left_out[..], [LeftOut::LoneKey { path }] if path.ends_with("a/lone.key")));
        touch(root.path(), &["a/lone.crt"]);
        assert!(tree.look().unwrap().left_out.is_empty());
    }

    #[test]
    fn a_key_of_mkcert_is_no_pair_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        touch(
            root.path(),
            &["a.example+1.pem", "a.example+1-key.pem", "b-key.pem", "c.pem", "c.key", "c-key.pem"],
        );
        assert_eq!(
            ids(&tree(root.path()).look().unwrap()),
            expected(&[
                ("a.example+1", &["a.example+1.pem", "a.example+1-key.pem"]),
                ("b-key", &["b-key.pem"]),
                ("c", &["c.pem", "c.key"]),
                ("c-key", &["c-key.pem"]),
            ])
        );
    }

    #[test]
    fn the_root_alone_is_looked_at_without_its_folders() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["a.pem", "deep/b.pem"]);
        assert_eq!(ids(&tree(root.path()).look_at_root().unwrap()), expected(&[("a", &["a.pem"])]));
    }

    #[test]
    fn links_are_followed_but_not_in_circles_nor_without_end() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), &["a/a.pem", "1/2/3/4/5/6/7/8/9/deep.pem"]);
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink(root.path().join("a"), root.path().join("b")).unwrap();
        let look = tree(root.path()).look().unwrap();
        assert_eq!(ids(&look), expected(&[("a/a", &["a.pem"]), ("b/a", &["a.pem"])]));
        assert!(matches!(&look.left_out[..], [LeftOut::Deep { path }] if path.ends_with("8/9")));
        assert!(tree(&root.path().join("none")).look().is_err());
    }
}
