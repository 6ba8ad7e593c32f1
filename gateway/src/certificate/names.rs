//! Names as they are compared: lower-case A-labels without a trailing dot.
//!
//! The store's index is keyed by [`normalise`]d names, and whoever looks one up passes through here, so that case and
//! Unicode cannot make two spellings of one name different. Nothing here judges whether a name is well formed.

use std::borrow::Cow;

/// The form in which names are compared (RFC 4343: without regard to ASCII case).
///
/// Borrows where there is nothing to do, which is every name that came out of the ClientHello parser.
pub fn normalise(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.is_ascii() {
        // A U-label; a name that IDNA has no A-label for is compared as it is, and matches nothing a client sends.
        return idna::domain_to_ascii(name).map_or(Cow::Borrowed(name), Cow::Owned);
    }
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// The wildcard that covers a normalised name: its first label replaced by `*` (RFC 6125 section 6.4.3).
///
/// `None` for a name of one label, for an address and for a wildcard itself.
pub fn wildcard_of(name: &str) -> Option<String> {
    let (first, rest) = name.split_once('.')?;
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    (!first.is_empty() && first != "*" && !rest.is_empty() && !is_address).then(|| format!("*.{rest}"))
}

/// Whether a normalised name can be that of any lookup: `*` stands for one whole label, the first, and another follows
/// (RFC 6125 section 6.4.3; what else it allows, such as `f*.example`, RFC 9525 does not, nor does any browser).
pub fn can_match(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    !rest.is_empty() && !rest.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_equal() {
        assert_eq!(normalise("WWW.Example.COM."), "www.example.com");
        assert_eq!(normalise("b\u{fc}cher.example"), "xn--bcher-kva.example");
        assert!(matches!(normalise("www.example.com"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        assert_eq!(wildcard_of("www.example.com").as_deref(), Some("*.example.com"));
        assert_eq!(wildcard_of("a.www.example.com").as_deref(), Some("*.www.example.com"));
        assert_eq!(wildcard_of("localhost"), None);
        assert_eq!(wildcard_of("*.example.com"), None);
        assert_eq!(wildcard_of("192.0.2.1"), None);
        assert_eq!(wildcard_of(".example.com"), None);
    }

    #[test]
    fn only_whole_first_labels_are_wildcards() {
        for name in ["example.com", "*.example.com", "*.test", "192.0.2.1", "2001:db8::1"] {
            assert!(can_match(name), "{name}");
        }
        for name in ["*", "*.", "", "f*.example.com", "a.*.example.com", "*.*.example.com", "**.example.com"]
        {
            assert!(!can_match(name), "{name}");
        }
    }
}
