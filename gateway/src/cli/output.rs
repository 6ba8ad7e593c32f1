//! Standard output for commands that print more than a line: terminal-safe, and quiet once nobody reads on.
//!
//! What certificates, file names and a running gateway say is not ours, and a terminal obeys control characters. So
//! everything printed passes through [`printable`] (JSON through [`printable_json`]).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, StdoutLock, Write};

use super::{Failure, RUNTIME};

/// Standard output, buffered.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    /// `head` has seen enough: no reason to fail, and none to go on writing.
    closed: bool,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), closed: false }
    }

    /// Prints a line of which every part that is not ours has been made [`printable`].
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let written = writeln!(self.out, "{line}");
        self.judge(written)
    }

    /// Makes sure that everything has been written.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.judge(flushed)
    }

    fn judge(&mut self, written: io::Result<()>) -> Result<(), Failure> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                Err(Failure { text: format!("cannot write to standard output: {error}"), code: RUNTIME })
            }
        }
    }
}

/// The text with every character escaped that a terminal or a reader could be deceived with: control characters,
/// line breaks, invisible ones and those that turn the direction of writing round.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match is_deceptive(character) {
            true => safe.extend(character.escape_default()),
            false => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// The same for a text of several lines of ours, such as an error with its place and hint.
pub(super) fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable_with_tabs).collect();
    lines.join("\n")
}

/// The same for JSON, which stays JSON: outside of strings it has none of these characters but line breaks.
pub(super) fn printable_json(json: &str) -> Cow<'_, str> {
    let is_harmful = |character: char| character != '\n' && is_deceptive(character);
    if !json.chars().any(is_harmful) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match is_harmful(character) {
            true => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String does not fail.
                    let _ = write!(safe, "\\u{unit:04x}");
                }
            }
            false => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

fn printable_with_tabs(line: &str) -> String {
    line.split('\t').map(printable).collect::<Vec<_>>().join("\t")
}

/// Unicode's categories Cc, Cf and what breaks lines, as far as they are assigned.
fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_escaped_and_the_rest_stays() {
        assert!(matches!(printable("shop.example / b\u{fc}cher \u{65e5}"), Cow::Borrowed(_)));
        assert_eq!(
            printable("\u{1b}[2Jgone\n\u{202e}lp.exe\u{9b}\u{7f}"),
            "\\u{1b}[2Jgone\\n\\u{202e}lp.exe\\u{9b}\\u{7f}"
        );
        assert_eq!(printable_lines("a\u{7}\n\tb\r\nc"), "a\\u{7}\n\tb\\r\nc");
    }

    #[test]
    fn escaped_json_says_the_same() {
        let text = "a\u{1b}b\u{202e}c\u{e0041}\u{9b}\u{7f}\"\\\n";
        let json = serde_json::to_string(text).unwrap();
        let safe = printable_json(&json);
        assert!(!safe.chars().any(is_deceptive), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
    }
}
