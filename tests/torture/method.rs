//! The ways in which people and tools replace a pair.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use handfast_tests::Pair;

use crate::place::{Content, Layout, Place, clear, create};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Both files are ready beside their places; two renames, back to back.
    RenameBoth,
    /// One file is written and renamed, then the other.
    KeyFirst,
    CertificateFirst,
    /// Truncate and write, each file in one piece.
    InPlace,
    /// The same, with the chain in two: `cat leaf.pem issuer.pem > fullchain.pem`.
    InPieces,
    /// Renames of files with the size and the modification time of those that were there.
    SameTimeAndSize,
    /// `cp -p` of such files over those that are there.
    CopyPreserving,
    /// Delete both, create both.
    DeleteAndCreate,
    /// As certbot: the files are links to numbered ones; each is removed and made anew.
    Relink,
    /// As Kubernetes: one link for both is replaced by one rename.
    SymlinkSwap,
}

impl Method {
    pub(crate) fn of(layout: Layout) -> &'static [Self] {
        match layout {
            Layout::CrtAndKey | Layout::PemAndKey | Layout::Certbot => &[
                Self::RenameBoth,
                Self::KeyFirst,
                Self::CertificateFirst,
                Self::InPlace,
                Self::InPieces,
                Self::SameTimeAndSize,
                Self::CopyPreserving,
                Self::DeleteAndCreate,
                Self::Relink,
            ],
            Layout::Combined => &[
                Self::RenameBoth,
                Self::InPlace,
                Self::InPieces,
                Self::SameTimeAndSize,
                Self::CopyPreserving,
                Self::DeleteAndCreate,
                Self::Relink,
            ],
            Layout::Kubernetes => &[Self::SymlinkSwap, Self::SymlinkSwap, Self::DeleteAndCreate],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RenameBoth => "rename both",
            Self::KeyFirst => "key first",
            Self::CertificateFirst => "certificate first",
            Self::InPlace => "in place",
            Self::InPieces => "in pieces",
            Self::SameTimeAndSize => "same time and size",
            Self::CopyPreserving => "cp -p",
            Self::DeleteAndCreate => "delete and create",
            Self::Relink => "relink",
            Self::SymlinkSwap => "symlink swap",
        }
    }

    /// Whether a file is missing on the way.
    pub(crate) fn is_through_absence(self) -> bool {
        matches!(self, Self::DeleteAndCreate | Self::Relink)
    }

    /// Replaces whatever is there. `half` is called where the files are half done, if there is such a moment. Returns
    /// for how long the chain's file held the leaf alone.
    pub(crate) fn apply(self, place: &mut Place, pair: &Pair, half: &mut dyn FnMut()) -> Duration {
        let mut contents = place.contents(pair);
        match self {
            Self::RenameBoth => {
                let staged: Vec<_> = contents.iter().map(Content::stage).collect();
                for (content, staged) in contents.iter().zip(&staged) {
                    content.rename(staged);
                }
            }
            Self::KeyFirst => each(&contents, half, |content| content.rename(&content.stage())),
            Self::CertificateFirst => {
                contents.reverse();
                each(&contents, half, |content| content.rename(&content.stage()));
            }
            Self::InPlace => each(&contents, half, |content| drop(content.write_in_place())),
            Self::InPieces => return in_pieces(&contents, half),
            Self::SameTimeAndSize => each(&contents, half, |content| {
                let staged = content.stage();
                let file = fs::File::options().write(true).open(&staged).expect("a file is opened");
                file.set_modified(content.modified()).expect("a time is set");
                content.rename(&staged);
            }),
            Self::CopyPreserving => each(&contents, half, |content| {
                let modified = content.modified();
                content.write_in_place().set_modified(modified).expect("a time is set");
            }),
            Self::DeleteAndCreate if place.layout == Layout::Kubernetes => {
                place.unlink_data();
                half();
                swap(place, &contents);
            }
            Self::DeleteAndCreate => {
                for content in &contents {
                    clear(&content.path);
                }
                half();
                each(&contents, half, |content| create(&content.path, &content.bytes, content.mode));
            }
            Self::Relink => each(&contents, half, |content| {
                let target = place.archived();
                create(&target, &content.bytes, content.mode);
                clear(&content.path);
                symlink(&target, &content.path).expect("a link is made");
            }),
            Self::SymlinkSwap => swap(place, &contents),
        }
        Duration::ZERO
    }
}

fn each(contents: &[Content], half: &mut dyn FnMut(), write: impl Fn(&Content)) {
    for (index, content) in contents.iter().enumerate() {
        if index > 0 {
            half();
        }
        write(content);
    }
}

/// The chain goes last: its leaf alone is a sound pair with the key that is there already, and only that its file is not at
/// rest tells that it is not the whole.
fn in_pieces(contents: &[Content], half: &mut dyn FnMut()) -> Duration {
    let mut alone = Duration::ZERO;
    for (index, content) in contents.iter().enumerate() {
        if index > 0 {
            half();
        }
        let Some(end) = content.leaf_ends else {
            content.write_in_place();
            continue;
        };
        let begun = Instant::now();
        let (leaf, rest) = content.bytes.split_at(end);
        let mut file = Content { bytes: leaf.to_vec(), ..content.clone() }.write_in_place();
        half();
        file.write_all(rest).expect("a file is written");
        alone = begun.elapsed();
    }
    alone
}

fn swap(place: &mut Place, contents: &[Content]) {
    place.swap(|folder| {
        for content in contents {
            let name = content.path.file_name().expect("a file has a name");
            create(&folder.join(name), &content.bytes, content.mode);
        }
    });
}
