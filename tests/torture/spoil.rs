//! The ways in which a pair is spoiled. None of them may ever go live, nor take the last good pair away.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use handfast_tests::Pair;

use crate::place::{Content, Layout, Place, clear, create, staged};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoil {
    Garbage,
    Empty,
    CutOff,
    /// The key of another pair.
    Mismatched,
    /// A pair that is sound but for its validity.
    Expired,
    /// 1 TiB, without a block on the disk.
    Huge,
    Pipe,
    Folder,
    /// Mode 0000. The gateway runs without the capabilities that let root read all the same.
    Unreadable,
    /// A key of mode 0644.
    ReadableByOthers,
    /// A link to itself.
    Loop,
    Missing,
}

/// Which file is spoiled, where there are two and it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Chain,
    Key,
}

/// The pairs that a spoiled one is made of.
pub(crate) struct Material {
    pub(crate) last: Pair,
    pub(crate) stranger: Pair,
    pub(crate) expired: Pair,
}

impl Spoil {
    pub(crate) const ALL: &[Self] = &[
        Self::Garbage,
        Self::Empty,
        Self::CutOff,
        Self::Mismatched,
        Self::Expired,
        Self::Huge,
        Self::Pipe,
        Self::Folder,
        Self::Unreadable,
        Self::ReadableByOthers,
        Self::Loop,
        Self::Missing,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Empty => "empty",
            Self::CutOff => "cut off",
            Self::Mismatched => "mismatched",
            Self::Expired => "expired",
            Self::Huge => "huge",
            Self::Pipe => "pipe",
            Self::Folder => "folder",
            Self::Unreadable => "unreadable",
            Self::ReadableByOthers => "readable by others",
            Self::Loop => "loop",
            Self::Missing => "missing",
        }
    }

    pub(crate) fn apply(self, place: &mut Place, part: Part, material: &Material) {
        let (contents, target) = self.contents(place, part, material);
        if place.layout == Layout::Kubernetes {
            if self == Self::Missing {
                return place.unlink_data();
            }
            place.swap(|folder| {
                for (index, content) in contents.iter().enumerate() {
                    let path = folder.join(content.path.file_name().expect("a file has a name"));
                    match index == target {
                        true => self.make(&path, content),
                        false => create(&path, &content.bytes, content.mode),
                    }
                }
            });
            return;
        }
        if self == Self::Expired {
            for content in &contents {
                content.rename(&content.stage());
            }
            return;
        }
        let content = &contents[target];
        match self {
            Self::Missing => clear(&content.path),
            // A folder takes no file's place by a rename.
            Self::Folder => {
                clear(&content.path);
                self.make(&content.path, content);
            }
            _ => {
                let staged = staged(&content.path);
                self.make(&staged, content);
                content.rename(&staged);
            }
        }
    }

    /// The files as they would be if nothing but their content were wrong, and which of them is the spoiled one.
    fn contents(self, place: &Place, part: Part, material: &Material) -> (Vec<Content>, usize) {
        let Material { last, stranger, expired } = material;
        let mixed = Pair { key_pem: stranger.key_pem.clone(), ..last.clone() };
        let contents = match self {
            Self::Mismatched => place.contents(&mixed),
            Self::Expired => place.contents(expired),
            _ => place.contents(last),
        };
        let is_key = part == Part::Key || matches!(self, Self::Mismatched | Self::ReadableByOthers);
        let target = if is_key { 0 } else { contents.len() - 1 };
        (contents, target)
    }

    /// Makes the spoiled file at a path where there is nothing.
    fn make(self, path: &Path, content: &Content) {
        let Content { bytes, mode, .. } = content;
        match self {
            Self::Garbage => create(path, &b"not a certificate\n".repeat(100), *mode),
            Self::Empty => create(path, b"", *mode),
            Self::CutOff => create(path, &bytes[..100], *mode),
            Self::Mismatched | Self::Expired => create(path, bytes, *mode),
            Self::Huge => {
                create(path, b"", *mode);
                let file = fs::File::options().write(true).open(path).expect("a file is opened");
                file.set_len(1 << 40).expect("a sparse file is made");
            }
            Self::Pipe => {
                let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path without NUL");
                // SAFETY: a NUL-terminated path that outlives the call.
                let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
                assert_eq!(made, 0, "a pipe is made");
            }
            Self::Folder => fs::create_dir(path).expect("a folder is made"),
            Self::Unreadable => create(path, bytes, 0o000),
            Self::ReadableByOthers => create(path, bytes, 0o644),
            // Of the name that it will have.
            Self::Loop => {
                symlink(content.path.file_name().expect("a file has a name"), path).expect("a link is made");
            }
            Self::Missing => {}
        }
    }
}
