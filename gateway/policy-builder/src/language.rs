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

    /// What it is called on a command line: words that are shown, each with others for it. The template that is in
    /// TypeScript is JavaScript's, whose SDK takes both.
    pub const WORDS: &[(&str, &[&str], Self)] = &[
        ("rust", &["rs"], Self::Rust),
        ("c", &[], Self::C),
        ("go", &["golang"], Self::Go),
        ("javascript", &["js"], Self::Javascript),
        ("typescript", &["ts"], Self::Javascript),
        ("python", &["py"], Self::Python),
    ];

    /// Languages without an SDK, whose compilers are those of C: what they are called, and how they are written.
    pub const NEAR_C: &[(&str, &str)] = &[("c++", "C++"), ("cpp", "C++"), ("zig", "Zig")];

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

/// A word that is the name of no language with an SDK.
#[derive(Debug, thiserror::Error)]
pub enum UnknownLanguage {
    #[error("there is no SDK for `{0}`")]
    Unknown(String),
    #[error("there is no SDK for {0}; `--language c` begins a policy in C, for zig or clang")]
    NearC(&'static str),
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(name: &str) -> Result<Self, UnknownLanguage> {
        let known = Self::WORDS.iter().find(|(word, others, _)| *word == name || others.contains(&name));
        let near = || Self::NEAR_C.iter().find(|(word, _)| *word == name);
        match known {
            Some((_, _, language)) => Ok(*language),
            None => Err(near().map_or_else(
                || UnknownLanguage::Unknown(name.to_owned()),
                |(_, written)| UnknownLanguage::NearC(written),
            )),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_goes_by_the_names_that_people_have_for_it() {
        for language in Language::ALL {
            assert_eq!(language.name().parse::<Language>().unwrap(), *language);
        }
        assert_eq!("ts".parse::<Language>().unwrap(), Language::Javascript);
        assert!("cpp".parse::<Language>().unwrap_err().to_string().contains("C++; `--language c`"));
        assert!("perl".parse::<Language>().unwrap_err().to_string().contains("`perl`"));
    }
}
