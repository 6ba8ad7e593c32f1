//! SPIFFE ids: what is one, and patterns of them (SPIFFE-ID section 2, X509-SVID section 2).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use handfast_policy_settings::Refusal;

const ID_BYTES: usize = 2_048;
const TRUST_DOMAIN_BYTES: usize = 255;

/// An id whose segments may be `*`, any one, and whose last may be `**`, any number of further ones, at least one. The
/// trust domain is always spelled out: it is what an authority vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpiffePattern(String);

impl SpiffePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let inner = text.strip_suffix("/**").unwrap_or(text);
        // A star is no character of an id: in its place stands one that is.
        let example = inner.split('/').map(|segment| if segment == "*" { "x" } else { segment });
        let example = example.collect::<Vec<_>>().join("/");
        let spells_domain = !inner.starts_with("spiffe://*");
        if is_id(&example) && spells_domain {
            return Ok(Self(text.to_string()));
        }
        let why = "\", which is no SPIFFE id: write spiffe://example.org/ns/shop, with * for one segment, or /** at the end";
        Err(Refusal::new(&["has \"", text, why]))
    }

    /// Whether a valid id is one of the pattern's.
    pub(crate) fn matches(&self, id: &str) -> bool {
        let mut segments = id.split('/');
        for wanted in self.0.split('/') {
            match (wanted, segments.next()) {
                ("**", Some(_)) => return true,
                (_, None) => return false,
                (wanted, Some(segment)) if wanted != "*" && wanted != segment => return false,
                _ => {}
            }
        }
        segments.next().is_none()
    }
}

/// The SPIFFE id of a certificate with these URIs: the one URI that it has.
pub(crate) fn id(uris: Vec<String>) -> Option<String> {
    let [id] = <[String; 1]>::try_from(uris).ok()?;
    is_id(&id).then_some(id)
}

fn is_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://").filter(|_| text.len() <= ID_BYTES) else { return false };
    let mut segments = rest.split('/');
    let domain = segments.next().unwrap_or_default();
    let is_domain = (1..=TRUST_DOMAIN_BYTES).contains(&domain.len())
        && domain.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'));
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
    };
    is_domain && segments.all(is_segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_the_specification_says() {
        for text in ["spiffe://example.org", "spiffe://example.org/a", "spiffe://a_b-1/A.b/c-D_9/..."] {
            assert!(is_id(text), "{text}");
        }
        for text in [
            "",
            "spiffe://",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/./a",
            "spiffe://example.org/%61",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/ä",
            "https://example.org/a",
        ] {
            assert!(!is_id(text), "{text}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(2_048));
        assert!(!is_id(&long) && is_id(&long[..2_048]));
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_the_rest() {
        for (pattern, inside, outside) in [
            (
                "spiffe://a.example/ns/x",
                &["spiffe://a.example/ns/x"][..],
                &["spiffe://a.example/ns", "spiffe://a.example/ns/x/y"][..],
            ),
            (
                "spiffe://a.example/ns/*/sa",
                &["spiffe://a.example/ns/x/sa"],
                &["spiffe://a.example/ns/sa", "spiffe://a.example/ns/x/y/sa"],
            ),
            (
                "spiffe://a.example/**",
                &["spiffe://a.example/x", "spiffe://a.example/x/y"],
                &["spiffe://a.example", "spiffe://b.example/x"],
            ),
            (
                "spiffe://a.example",
                &["spiffe://a.example"],
                &["spiffe://a.example/x", "spiffe://a.example.b"],
            ),
        ] {
            let parsed = SpiffePattern::parse(pattern).unwrap();
            for id in inside {
                assert!(parsed.matches(id), "{pattern} {id}");
            }
            for id in outside {
                assert!(!parsed.matches(id), "{pattern} {id}");
            }
        }
    }

    #[test]
    fn a_pattern_spells_out_its_trust_domain_and_stars_are_segments() {
        for text in [
            "spiffe://*/x",
            "spiffe://*",
            "spiffe://a/x*",
            "spiffe://a/**/x",
            "**",
            "spiffe://",
            "spiffe:///**",
        ] {
            assert!(SpiffePattern::parse(text).is_err(), "{text}");
        }
    }
}
