//! The languages that policies are written in, and how a folder shows which is its own.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A language with an SDK in `plugins/sdk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Language {
    Rust,
    C,
    Go,
    Javascript,
    Python,
}

impl Language {
    pub const ALL: &[Self] = &[Self::Rust, Self::C, Self::Go, Self::Javascript, Self::Python];

    /// As folders, files and the command line have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Go => "go",
            Self::Javascript => "javascript",
            Self::Python => "python",
        }
    }

    /// The files of which one makes a folder a policy in this language, as [`Project::find`](crate::Project::find) and
    /// the templates have them.
    pub(crate) fn entries(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["Cargo.toml"],
            Self::C => &["policy.c"],
            Self::Go => &["go.mod"],
            Self::Javascript => &["policy.ts", "policy.js"],
            Self::Python => &["policy.py"],
        }
    }

    /// Its own in this folder.
    pub(crate) fn entry(self, folder: &Path) -> Option<&'static str> {
        self.entries().iter().find(|name| folder.join(name).is_file()).copied()
    }
}

/// A word that is the name of no language.
#[derive(Debug, thiserror::Error)]
#[error("there is no SDK for `{0}`")]
pub struct UnknownLanguage(String);

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Self, UnknownLanguage> {
        let known = Self::ALL.iter().copied().find(|language| language.name() == name);
        known.ok_or_else(|| UnknownLanguage(name.to_owned()))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Go => "Go",
            Self::Javascript => "TypeScript",
            Self::Python => "Python",
        })
    }
}
