//! Distinguished names in the string form of RFC 4514.
//!
//! `x509-parser` prints names too, but does not escape: an organisation called `x, CN=admin` would read as a common
//! name, and policies compare these strings. Here every character with a meaning is escaped, so the text leads back to
//! exactly one name.

use std::fmt::Write;

use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The name, most specific part first (RFC 4514 section 2.1 turns the encoded order round).
pub(super) fn to_string(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

/// The text of a string value. `None` for what is not a string, or not one in its own encoding.
pub(super) fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            rest.is_empty().then(|| String::from_utf16(&units).ok()).flatten()
        }
        Tag::UniversalString => {
            let (quads, rest) = value.data.as_chunks::<4>();
            let text = quads.iter().map(|quad| char::from_u32(u32::from_be_bytes(*quad))).collect();
            if rest.is_empty() { text } else { None }
        }
        _ => None,
    }
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    // The table of RFC 4514 section 3. A type without a name there is written as numbers, its value as `#` and DER.
    let name = match oid.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return format!("{oid}=#{}", encoded(attribute.attr_value())),
    };
    match text(attribute.attr_value()) {
        Some(text) => format!("{name}={}", escape(&text)),
        None => format!("{name}=#{}", encoded(attribute.attr_value())),
    }
}

fn encoded(value: &Any<'_>) -> String {
    super::x509::hexadecimal(&value.to_der_vec().unwrap_or_default())
}

/// RFC 4514 section 2.4; control characters too, which it allows, so that no name can forge a line of a log.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (position, character) in text.chars().enumerate() {
        match character {
            ' ' if position == 0 || position == last => escaped.push_str("\\ "),
            '#' if position == 0 => escaped.push_str("\\#"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                escaped.push('\\');
                escaped.push(character);
            }
            control if control.is_ascii_control() => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "\\{:02x}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_name_is_escaped() {
        assert_eq!(escape("x, CN=admin"), "x\\, CN=admin");
        assert_eq!(escape(" #a\\b "), "\\ #a\\\\b\\ ");
        assert_eq!(escape("#a"), "\\#a");
        assert_eq!(escape("a\n\0"), "a\\0a\\00");
        assert_eq!(escape(" "), "\\ ");
    }
}
