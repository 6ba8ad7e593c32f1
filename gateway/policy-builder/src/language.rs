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

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Go => "Go",
            Self::Javascript => "JavaScript",
            Self::Python => "Python",
        })
    }
}

/// What a policy is written in, as its author names it. JavaScript and TypeScript are one [`Language`]: the same SDK, the
/// same tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Rust,
    C,
    Go,
    Javascript,
    Typescript,
    Python,
}

impl Dialect {
    pub const ALL: &[Self] =
        &[Self::Rust, Self::C, Self::Go, Self::Javascript, Self::Typescript, Self::Python];

    /// What it is called on a command line: the word that is shown, and others for it.
    pub fn words(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Rust => ("rust", &["rs"]),
            Self::C => ("c", &[]),
            Self::Go => ("go", &["golang"]),
            Self::Javascript => ("javascript", &["js"]),
            Self::Typescript => ("typescript", &["ts"]),
            Self::Python => ("python", &["py"]),
        }
    }

    /// Languages without an SDK, whose compilers are those of C: what they are called, and how they are written.
    pub const NEAR_C: &[(&str, &str)] = &[("c++", "C++"), ("cpp", "C++"), ("zig", "Zig")];

    pub fn language(self) -> Language {
        match self {
            Self::Rust => Language::Rust,
            Self::C => Language::C,
            Self::Go => Language::Go,
            Self::Javascript | Self::Typescript => Language::Javascript,
            Self::Python => Language::Python,
        }
    }
}

/// A word that is the name of no language with an SDK.
#[derive(Debug, thiserror::Error)]
pub enum UnknownLanguage {
    #[error("there is no SDK for `{0}`")]
    Unknown(String),
    #[error("there is no SDK for {0}; `--language c` begins a policy in C, for zig or clang")]
    NearC(&'static str),
}

impl FromStr for Dialect {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Self, UnknownLanguage> {
        let is_called = |dialect: &&Self| {
            let (word, others) = dialect.words();
            word == name || others.contains(&name)
        };
        if let Some(known) = Self::ALL.iter().find(is_called) {
            return Ok(*known);
        }
        let near = Self::NEAR_C.iter().find(|(word, _)| *word == name);
        Err(near.map_or_else(
            || UnknownLanguage::Unknown(name.to_owned()),
            |(_, written)| UnknownLanguage::NearC(written),
        ))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typescript => formatter.write_str("TypeScript"),
            dialect => dialect.language().fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_goes_by_the_names_that_people_have_for_it() {
        for language in Language::ALL {
            assert_eq!(language.name().parse::<Dialect>().unwrap().language(), *language);
        }
        assert_eq!("ts".parse::<Dialect>().unwrap(), Dialect::Typescript);
        assert!("cpp".parse::<Dialect>().unwrap_err().to_string().contains("C++; `--language c`"));
        assert!("perl".parse::<Dialect>().unwrap_err().to_string().contains("`perl`"));
    }
}
