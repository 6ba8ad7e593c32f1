//! Patterns of DNS names: one name, the names of one label below it, or all names below it.

use alloc::string::String;

use crate::Refusal;

/// `shop.example`, `*.shop.example` (one label more, as in certificates, RFC 6125 section 6.4.3) or `**.shop.example`
/// (any number of labels more, at least one). Lower-cased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    below: Below,
    name: String,
}

/// How many labels may come before the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    None,
    One,
    Any,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (below, name) = match (text.strip_prefix("**."), text.strip_prefix("*.")) {
            (Some(name), _) => (Below::Any, name),
            (None, Some(name)) => (Below::One, name),
            (None, None) => (Below::None, text),
        };
        let why = if !name.is_ascii() {
            "is not in ASCII: write its A-labels, as in xn--bcher-kva.example"
        } else if name.contains('*') {
            "has a * that is not its first label: write *.shop.example, or **.shop.example for all below it"
        } else if !is_name(name) {
            "is no name: write shop.example, *.shop.example, or **.shop.example for all below it"
        } else {
            return Ok(Self { below, name: name.to_ascii_lowercase() });
        };
        Err(Refusal::new(&["has \"", text, "\", which ", why]))
    }

    /// Whether a name is one of the pattern's. The name is in lower case; a `*` in it counts as a label like any other,
    /// as it does where the name is a certificate's.
    pub fn matches(&self, name: &str) -> bool {
        if self.below == Below::None {
            return name == self.name;
        }
        let labels = name.strip_suffix(self.name.as_str()).and_then(|rest| rest.strip_suffix('.'));
        labels.is_some_and(|labels| !labels.is_empty() && (self.below == Below::Any || !labels.contains('.')))
    }

    /// Whether some name is one of both.
    pub fn meets(&self, other: &Self) -> bool {
        let is_below = |one: &Self, parent: &Self| one.name == parent.name || parent.matches(&one.name);
        match (self.below, other.below) {
            (Below::None, _) => other.matches(&self.name),
            (_, Below::None) => self.matches(&other.name),
            (Below::One, Below::One) => self.name == other.name,
            (Below::One, Below::Any) => is_below(self, other),
            (Below::Any, Below::One) => is_below(other, self),
            (Below::Any, Below::Any) => is_below(self, other) || is_below(other, self),
        }
    }

    /// Whether it has more than one name.
    pub fn is_wildcard(&self) -> bool {
        self.below != Below::None
    }

    /// As it is written.
    pub fn text(&self) -> String {
        match self.below {
            Below::None => self.name.clone(),
            Below::One => ["*.", &self.name].concat(),
            Below::Any => ["**.", &self.name].concat(),
        }
    }

    /// Whether a name of a certificate, which may be a wildcard, vouches for a name that the pattern has.
    pub fn overlaps(&self, certificate_name: &str) -> bool {
        if self.matches(certificate_name) {
            return true;
        }
        // A wildcard that is not one of the pattern's names covers one of them where the pattern is below it, and no more
        // than the one label: `*.example` and `pay.example`.
        let parent = certificate_name.strip_prefix("*.");
        self.below == Below::None && parent.is_some() && parent == parent_of(&self.name)
    }
}

fn parent_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, parent)| parent)
}

fn is_name(name: &str) -> bool {
    // RFC 1035 section 2.3.4, and `_`, which names in the wild have.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_has_the_names_of_its_kind() {
        for (text, inside, outside) in [
            ("Shop.example", &["shop.example"][..], &["www.shop.example", "example", "xshop.example"][..]),
            (
                "*.shop.example",
                &["www.shop.example"],
                &["shop.example", "a.b.shop.example", "xshop.example", ".shop.example"],
            ),
            (
                "**.shop.example",
                &["www.shop.example", "a.b.shop.example"],
                &["shop.example", "xshop.example"],
            ),
        ] {
            for name in inside {
                assert!(pattern(text).matches(name), "{text} {name}");
            }
            for name in outside {
                assert!(!pattern(text).matches(name), "{text} {name}");
            }
        }
    }

    #[test]
    fn two_patterns_meet_where_a_name_is_of_both() {
        for (one, other, expected) in [
            ("a.example", "A.example", true),
            ("a.example", "b.example", false),
            ("a.example", "*.example", true),
            ("a.b.example", "*.example", false),
            ("a.b.example", "**.example", true),
            ("example", "**.example", false),
            ("*.example", "*.example", true),
            ("*.a.example", "*.example", false),
            ("*.a.example", "**.example", true),
            ("*.example", "**.example", true),
            ("*.example", "**.a.example", false),
            ("**.a.example", "**.example", true),
            ("**.xample", "**.example", false),
        ] {
            assert_eq!(pattern(one).meets(&pattern(other)), expected, "{one} {other}");
            assert_eq!(pattern(other).meets(&pattern(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_wildcard_certificate_vouches_for_the_names_below_it() {
        for (text, name, expected) in [
            ("pay.example", "*.example", true),
            ("pay.example", "pay.example", true),
            ("pay.shop.example", "*.example", false),
            ("*.example", "*.example", true),
            ("**.example", "*.shop.example", true),
            ("*.shop.example", "*.example", false),
            ("example", "*.example", false),
        ] {
            assert_eq!(pattern(text).overlaps(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", "is no name"),
            ("a..example", "is no name"),
            ("shop.example.", "is no name"),
            ("a b.example", "is no name"),
            ("www.*.example", "not its first label"),
            ("*", "not its first label"),
            ("bücher.example", "A-labels"),
        ] {
            let refusal = String::from(Pattern::parse(text).unwrap_err());
            assert!(refusal.contains(expected), "{text}: {refusal}");
        }
    }

    #[test]
    fn a_pattern_is_written_as_it_was_read() {
        for text in ["a.example", "*.a.example", "**.a.example"] {
            assert_eq!(pattern(text).text(), text);
        }
    }
}
