//! What a reader of a rejected configuration sees: file, line, column, the line itself and a remedy.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}: {cause}\n  = hint: {}", path.display(), read_hint(cause, path))]
    Read { path: PathBuf, cause: std::io::Error },
    #[error(transparent)]
    At(Box<Located>),
    /// About the whole file rather than a place in it.
    #[error("{message}\n  --> {}\n  = hint: {hint}", path.display())]
    Whole { path: PathBuf, message: String, hint: String },
}

impl ConfigError {
    /// An error at a byte range of `text`.
    pub(crate) fn at(
        path: &Path,
        text: &str,
        span: Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self::At(Box::new(Located::new(path, text, span, message.into(), hint)))
    }
}

/// A message that points at a place in a file, in the form that compilers use.
#[derive(Debug)]
pub struct Located {
    path: PathBuf,
    /// Counted from 1.
    line: usize,
    /// In characters, counted from 1.
    column: usize,
    /// The line, or as much of it around the place as fits.
    excerpt: String,
    /// In characters of the excerpt.
    indent: usize,
    width: usize,
    message: String,
    hint: Option<String>,
}

impl Located {
    fn new(path: &Path, text: &str, span: Range<usize>, message: String, hint: Option<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = text.get(line_start..).unwrap_or("").lines().next().unwrap_or("");
        let column = before.get(line_start..).unwrap_or("").chars().count() + 1;
        let spanned = text.get(span.clone()).unwrap_or("");
        let (excerpt, indent) = excerpt(line_text, column - 1);
        let most = excerpt.chars().count().saturating_sub(indent);
        let width = spanned.lines().next().unwrap_or("").chars().count().min(most).max(1);
        Self {
            path: path.to_owned(),
            line: line_of(text, span.start),
            column,
            excerpt,
            indent,
            width,
            message,
            hint,
        }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(formatter, "{}", self.message)?;
        writeln!(formatter, "{gutter}--> {}:{}:{}", self.path.display(), self.line, self.column)?;
        writeln!(formatter, "{gutter} |")?;
        writeln!(formatter, "{number} | {}", self.excerpt)?;
        let mark = " ".repeat(self.indent) + &"^".repeat(self.width);
        write!(formatter, "{gutter} | {mark}")?;
        if let Some(hint) = &self.hint {
            write!(formatter, "\n{gutter} = hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Located {}

/// The line, counted from 1, in which the byte at `position` is.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text.get(..position).unwrap_or(text).matches('\n').count() + 1
}

/// A line as it is shown, and how far its character at `position` has moved: of a long one, which may be a whole file,
/// what stands around that.
fn excerpt(line: &str, position: usize) -> (String, usize) {
    const SHOWN: usize = 160;
    const BEFORE: usize = 60;
    let length = line.chars().count();
    if length <= SHOWN {
        return (line.to_owned(), position);
    }
    let skipped = position.saturating_sub(BEFORE);
    let shown: String = line.chars().skip(skipped).take(SHOWN).collect();
    let before = if skipped > 0 { "…" } else { "" };
    let after = if skipped + SHOWN < length { "…" } else { "" };
    (format!("{before}{shown}{after}"), position - skipped + before.chars().count())
}

/// The known word nearest to a mistyped one, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| match candidate.starts_with(word) && word.len() >= 3 {
            true => (0, candidate),
            false => (strsim::damerau_levenshtein(word, candidate), candidate),
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, or the list of what is known.
pub(crate) fn suggest<'a>(
    word: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(nearest) = nearest(word, known.clone()) {
        return format!("did you mean `{nearest}`?");
    }
    let known: Vec<_> = known.into_iter().map(|name| format!("`{name}`")).collect();
    match known.as_slice() {
        [] => format!("there are no {what} yet"),
        _ => format!("known {what}: {}", known.join(", ")),
    }
}

fn read_hint(error: &std::io::Error, path: &Path) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "name an existing file with `-c FILE`, or try `handfast demo`, which needs none".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("let the gateway's user read it: chmod o+r {}", path.display())
        }
        std::io::ErrorKind::InvalidData => "the file must be UTF-8 text".to_owned(),
        _ => "check that it is a regular file on a healthy file system".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_the_line_and_column() {
        let text = "a = 1\nports = \"x\"\n";
        let error =
            ConfigError::at(Path::new("h.toml"), text, 14..17, "not a number", Some("write 443".into()));
        assert_eq!(
            error.to_string(),
            "not a number\n --> h.toml:2:9\n  |\n2 | ports = \"x\"\n  |         ^^^\n  = hint: write 443"
        );
    }

    #[test]
    fn of_a_long_line_what_is_around_the_place_is_shown() {
        let text = format!("a = [{}70000, {}]", "1, ".repeat(1_000), "2, ".repeat(10_000));
        let place = text.find("70000").unwrap();
        let error = ConfigError::at(Path::new("h.toml"), &text, place..place + 5, "too large", None);
        let told = error.to_string();
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[1], format!(" --> h.toml:1:{}", place + 1));
        assert!(told.len() < 600 && lines[3].starts_with("1 | …") && lines[3].ends_with('…'), "{told}");
        let marked = lines[4].find('^').unwrap();
        let shown: String = lines[3].chars().skip(marked).take(5).collect();
        assert_eq!((shown.as_str(), lines[4].matches('^').count()), ("70000", 5), "{told}");
        let all = ConfigError::at(Path::new("h.toml"), &text, 0..text.len(), "too long", None).to_string();
        assert!(all.chars().count() < 600, "{all}");
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("adress", ["address", "name"]), Some("address"));
        assert_eq!(nearest("allow", ["allow-list", "rate-limit"]), Some("allow-list"));
        assert_eq!(nearest("colour", ["address", "name"]), None);
    }
}
