//! Text that a guest wrote, made fit for logs and messages.

/// At most `limit` bytes of `text`, with everything escaped that could forge a line or hide in one: control
/// characters, line and paragraph separators, and the invisible and direction-changing ones.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        if needs_escape(character) {
            let escaped = character.escape_default();
            if kept.len() + escaped.len() > limit {
                break;
            }
            kept.extend(escaped);
        } else {
            if kept.len() + character.len_utf8() > limit {
                break;
            }
            kept.push(character);
        }
    }
    kept
}

fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_line_cannot_be_forged() {
        assert_eq!(printable("a\r\nb\u{1b}[31m", 100), r"a\r\nb\u{1b}[31m");
        assert_eq!(printable("evil\u{202e}txt", 100), r"evil\u{202e}txt");
    }

    #[test]
    fn a_cut_never_splits_a_character_or_an_escape() {
        assert_eq!(printable("ääää", 5), "ää");
        assert_eq!(printable("abc\u{7f}", 5), "abc");
    }

    #[test]
    fn ordinary_text_is_kept_as_it_is() {
        assert_eq!(printable("no “such” name: Größe", 100), "no “such” name: Größe");
    }
}
