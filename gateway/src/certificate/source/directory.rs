//! A folder tree of PEM files: which pairs there are.
//!
//! The store calls [`Tree::look`] on a blocking thread, at start and at each scan. It lists folders and never opens a
//! file. A second look costs one `stat` per folder and lists only those that changed.
//!
//! Which files are a pair is for [`super::layout`] to say.
//!
//! Of certbot's whole folder, `/etc/letsencrypt`, only `live` is looked at.
//!
//! Names that begin with a dot are left out: Kubernetes keeps `..data` and the dated folders there, and editors their
//! copies. A pair in the source's own folder takes the name of the source where the layout is named after its folder.
//!
//! Beside each pair there may be more files ([`Candidate::beside`]). A look does not care whether they are there: the
//! store looks at their paths as often as at the pair's.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::{self, Layout};
use crate::freshness::file::file_clock;
use crate::freshness::{FileIdentity, Files, Folders};

#[cfg(test)]
mod tests;

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

    /// Where settings and, if wanted, OCSP responses for this pair would be.
    fn beside(&self, with_ocsp: bool) -> Vec<PathBuf> {
        if self.files.is_empty() {
            return Vec::new();
        }
        let (settings, responses) = layout::beside(&self.files);
        let responses = responses.into_iter().filter(|_| with_ocsp);
        std::iter::once(settings).chain(responses).collect()
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
    #[error("{} belongs to no pair; name it like the file of a certificate, with this ending in place of that one's", path.display())]
    Stray { path: PathBuf },
    #[error("{} is not taken: {hint}", path.display())]
    NotTaken { path: PathBuf, hint: &'static str },
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
        let Some(first) = files.first() else { return Err(LeftOut::Name { path: self.root.clone() }) };
        let folder = first.parent().unwrap_or(&self.root);
        match (layout::stem(files), layout::kind_of_bundle(first)) {
            (Some(stem), Some(kind)) => {
                self.id(folder, Some(&format!("{}{kind}", stem.strip_suffix(".pem").unwrap_or(stem))))
            }
            (stem, _) => self.id(folder, stem),
        }
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
        let Layout { pairs, lone_keys, not_taken, strays } = Layout::of(names);
        let lone = lone_keys.into_iter().map(|name| LeftOut::LoneKey { path: folder.join(name) });
        look.left_out.extend(lone);
        let others =
            not_taken.into_iter().map(|(name, hint)| LeftOut::NotTaken { path: folder.join(name), hint });
        look.left_out.extend(others);
        let strays = strays.into_iter().map(|name| LeftOut::Stray { path: folder.join(name) });
        look.left_out.extend(strays);
        for files in pairs {
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
