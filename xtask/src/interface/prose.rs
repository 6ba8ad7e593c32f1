//! Comments of the WIT as Markdown, which they nearly are.
//!
//! Paragraphs, lists and fenced examples stay what they are, in lines of one width. What a reader would look up becomes a
//! link: a name in backticks that has a heading on the page, a section of an RFC, another page of `docs/`.

use std::collections::BTreeMap;

const WIDTH: usize = 120;

/// Where the names of the interface are on the page.
#[derive(Default)]
pub(super) struct Anchors {
    names: BTreeMap<String, String>,
    types: BTreeMap<String, String>,
}

impl Anchors {
    /// The first of a name is the one that prose means.
    pub(super) fn add(&mut self, name: &str, anchor: &str) {
        self.names.entry(name.to_owned()).or_insert_with(|| anchor.to_owned());
    }

    pub(super) fn add_type(&mut self, name: &str, anchor: &str) {
        self.types.entry(name.to_owned()).or_insert_with(|| anchor.to_owned());
        self.add(name, anchor);
    }

    /// A type as code, which leads to the type of the interface that is in it.
    pub(super) fn of_type(&self, text: &str) -> String {
        match self.types_in(text).first() {
            Some((_, anchor)) => format!("[`{text}`](#{anchor})"),
            None => format!("`{text}`"),
        }
    }

    /// The types of the interface in a type, each with its anchor.
    pub(super) fn types_in(&self, text: &str) -> Vec<(&str, &str)> {
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '-');
        let found = words.filter_map(|word| self.types.get_key_value(word));
        found.map(|(name, anchor)| (name.as_str(), anchor.as_str())).collect()
    }

    /// A whole comment. `here` is the anchor it stands under, to which nothing in it need lead.
    pub(super) fn block(&self, comment: &str, here: &str) -> String {
        let mut blocks: Vec<String> = Vec::new();
        let mut lines = comment.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with("```") {
                let rest = lines.by_ref().take_while(|line| !line.starts_with("```"));
                let inside: Vec<&str> = rest.collect();
                blocks.push(format!("{line}\n{}\n```\n", inside.join("\n")));
            } else if !line.trim().is_empty() {
                let mut text = line.trim().to_owned();
                while let Some(next) = lines.next_if(|next| continues(next)) {
                    text.push(' ');
                    text.push_str(next.trim());
                }
                let is_item = text.starts_with("- ");
                let follows_item = blocks.last().is_some_and(|last| last.starts_with("- "));
                let text = wrapped(&self.linked(&text, here), if is_item { "  " } else { "" });
                match blocks.last_mut() {
                    Some(list) if is_item && follows_item => list.push_str(&text),
                    _ => blocks.push(text),
                }
            }
        }
        blocks.join("\n")
    }

    /// A whole comment on one line, for the cell of a table.
    pub(super) fn cell(&self, comment: &str, here: &str) -> String {
        let words: Vec<&str> = comment.split_whitespace().collect();
        self.linked(&words.join(" "), here).replace('|', "\\|")
    }

    /// A whole comment as an item of a list, behind what it is about.
    pub(super) fn item(&self, head: &str, comment: &str, here: &str) -> String {
        let words: Vec<&str> = comment.split_whitespace().collect();
        wrapped(&format!("- {head} {}", self.linked(&words.join(" "), here)), "  ")
    }

    fn linked(&self, text: &str, here: &str) -> String {
        let parts = text.split('`').enumerate().map(|(number, part)| {
            if number % 2 == 0 {
                return with_references(&with_pages(part));
            }
            match self.names.get(part) {
                Some(anchor) if anchor != here => format!("[`{part}`](#{anchor})"),
                _ => format!("`{part}`"),
            }
        });
        parts.collect()
    }
}

/// What a comment says before it goes into details: its first sentence, up to a colon.
pub(super) fn first_clause(comment: &str) -> String {
    let paragraph: Vec<&str> = comment.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    match [". ", ": "].iter().filter_map(|end| paragraph.find(end)).min() {
        Some(end) => format!("{}.", paragraph.get(..end).unwrap_or_default()),
        None => paragraph,
    }
}

/// Whether a line goes on with what the line before it began.
fn continues(line: &str) -> bool {
    !line.trim().is_empty() && !line.starts_with("- ") && !line.starts_with("```")
}

/// Links to the sections of RFCs.
fn with_references(text: &str) -> String {
    let mut linked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("RFC ") {
        let (before, from) = rest.split_at(at);
        linked.push_str(before);
        let (length, address) = reference(from);
        let (reference, after) = from.split_at(length);
        match address {
            Some(address) => linked.push_str(&format!("[{reference}]({address})")),
            None => linked.push_str(reference),
        }
        rest = after;
    }
    linked + rest
}

/// How long the reference at the start of a text is, `RFC 8446 section 4.2.1` or `RFC 7301`, and where it leads.
fn reference(text: &str) -> (usize, Option<String>) {
    const RFC: &str = "RFC ";
    const SECTION: &str = " section ";
    let number = leading(text.strip_prefix(RFC).unwrap_or_default(), |character| character.is_ascii_digit());
    let length = RFC.len() + number.len();
    if number.is_empty() {
        return (length, None);
    }
    let address = format!("https://www.rfc-editor.org/rfc/rfc{number}.html");
    let section = text.get(length..).and_then(|rest| rest.strip_prefix(SECTION)).unwrap_or_default();
    let section = leading(section, |character| character.is_ascii_digit() || character == '.');
    match section.trim_end_matches('.') {
        "" => (length, Some(address)),
        section => (length + SECTION.len() + section.len(), Some(format!("{address}#section-{section}"))),
    }
}

fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    text.split(|character| !belongs(character)).next().unwrap_or_default()
}

/// Links to other pages, which comments name by their path from the root. The page itself lies in `docs/policies`.
fn with_pages(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let path = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let after = word.strip_prefix(path).unwrap_or_default();
        match path.strip_prefix("docs/") {
            Some(page) if page.ends_with(".md") => {
                let link = page.strip_prefix("policies/").map_or_else(|| format!("../{page}"), str::to_owned);
                format!("[{path}]({link}){after}")
            }
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// In lines of [`WIDTH`], the second and later ones behind `indent`. A link is as wide as what is shown of it.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let shown = word.split("](").next().unwrap_or_default().chars().count();
        // A dash at the beginning of a line would make a list of it.
        let may_begin = word.starts_with(|first: char| first.is_alphanumeric() || "`[(*\"".contains(first));
        if width > 0 && width + 1 + shown > WIDTH && may_begin {
            lines.push('\n');
            lines.push_str(indent);
            width = indent.len();
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += shown;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchors() -> Anchors {
        let mut anchors = Anchors::default();
        anchors.add("log", "import-log");
        anchors.add_type("alert", "variant-alert");
        anchors
    }

    #[test]
    fn names_of_the_interface_lead_to_their_headings_but_not_to_where_one_is() {
        let anchors = anchors();
        assert_eq!(anchors.block("`log` an `alert`, or `none`", "import-log"), {
            "`log` an [`alert`](#variant-alert), or `none`\n"
        });
        assert_eq!(anchors.of_type("option<alert>"), "[`option<alert>`](#variant-alert)");
        assert_eq!(anchors.of_type("list<u8>"), "`list<u8>`");
    }

    #[test]
    fn references_lead_to_their_sections() {
        let linked = with_references("(RFC 8446 section 4.2.1), RFC 7301. An RFC is no RFC x");
        assert_eq!(
            linked,
            "([RFC 8446 section 4.2.1](https://www.rfc-editor.org/rfc/rfc8446.html#section-4.2.1)), \
             [RFC 7301](https://www.rfc-editor.org/rfc/rfc7301.html). An RFC is no RFC x"
        );
        assert_eq!(
            with_pages("see docs/policies/http.md, docs/ocsp.md."),
            "see [docs/policies/http.md](http.md), [docs/ocsp.md](../ocsp.md)."
        );
    }

    #[test]
    fn lists_examples_and_paragraphs_stay_what_they_are() {
        let comment = "One\ntwo.\n\n- three\n  four\n- five\n\n```wit\nworld a {\n    b\n}\n```\n\nsix";
        assert_eq!(
            anchors().block(comment, ""),
            "One two.\n\n- three four\n- five\n\n```wit\nworld a {\n    b\n}\n```\n\nsix\n"
        );
        assert_eq!(anchors().cell("one\ntwo |\n\nthree", ""), "one two \\| three");
        assert_eq!(anchors().item("`a`", "one\n\ntwo `log`", ""), "- `a` one two [`log`](#import-log)\n");
        assert_eq!(first_clause("One\ntwo. Three.\n\nFour."), "One two.");
        assert_eq!(first_clause("One\ntwo: three. Four."), "One two.");
        assert_eq!(first_clause("One."), "One.");
    }

    #[test]
    fn lines_are_wrapped_by_what_is_shown_of_them() {
        let words = vec!["word"; 30].join(" ");
        let text = wrapped(&words, "  ");
        assert!(text.lines().all(|line| line.len() <= WIDTH) && text.lines().count() == 2, "{text}");
        let dashes = wrapped(&format!("{words} {}", vec!["-"; 100].join(" ")), "");
        assert!(dashes.lines().all(|line| line.starts_with("word")), "{dashes}");
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("  word")), "{text}");
    }
}
