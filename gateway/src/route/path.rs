//! Request paths: dot segments, escapes and prefixes.
//!
//! [`resolve`] gives the path that is both routed and forwarded; [`covers`] compares a route's prefix with it. Pure
//! functions on text; the query never comes here.
//!
//! # Memo: what happens to `..`
//! Browsers and curl resolve dot segments themselves, so only unusual clients send them. They are resolved here and
//! the result is forwarded (Envoy's `normalize_path`); nginx routes by the resolved path but forwards the raw one, which
//! leaves the upstream to disagree. A path that is a dot segment only to some readers (`..%2f`, `..\`, `..;x`) is
//! refused, as is one that leaves the root, a NUL, or a broken escape (nginx's answer to the last three is 400 too).

use std::borrow::Cow;

/// Why a path is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path does not begin with a slash")]
    Relative,
    #[error("the path has an incomplete percent-escape")]
    Escape,
    #[error("the path holds a NUL")]
    Nul,
    #[error("the path leads above its root")]
    AboveRoot,
    #[error("the path has a dot segment that servers read differently")]
    Ambiguous,
}

/// The path without dot segments. Borrowed when there were none.
pub fn resolve(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    let plain = !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\'));
    if plain && !path.contains("/.") {
        return Ok(Cow::Borrowed(path));
    }
    check_escapes(bytes)?;
    let mut dots = false;
    for segment in path.split('/') {
        match Segment::of(segment) {
            Segment::Name => {}
            Segment::Here | Segment::Up => dots = true,
            Segment::Ambiguous => return Err(PathError::Ambiguous),
        }
    }
    if dots { remove_dots(path).map(Cow::Owned) } else { Ok(Cow::Borrowed(path)) }
}

/// Whether a prefix (without slash at its end) covers a path, on segment boundaries.
pub fn covers(prefix: &str, path: &str) -> bool {
    if let Some(rest) = path.strip_prefix(prefix)
        && (rest.is_empty() || rest.starts_with('/'))
    {
        return true;
    }
    let spelled_plainly = !path.contains('%') && !path.contains("//");
    let prefix_is_plain = !prefix.contains('%') && !prefix.contains("//");
    if spelled_plainly && prefix_is_plain {
        return false;
    }
    let mut segments = segments(path);
    self::segments(prefix)
        .all(|wanted| segments.next().is_some_and(|segment| decoded(segment).eq(decoded(wanted))))
}

/// How specific a prefix is: its segments, then its length.
pub fn depth(prefix: &str) -> (usize, usize) {
    (segments(prefix).count(), prefix.len())
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The characters of a segment after percent-decoding. `%2F` stays apart from `/` (bit 8 is set): it is data.
fn decoded(segment: &str) -> impl Iterator<Item = u16> {
    let mut rest = segment.as_bytes();
    std::iter::from_fn(move || {
        let (unit, after) = match rest {
            [b'%', high, low, after @ ..] => match escape(*high, *low) {
                Some(b'/') => (0x100 | u16::from(b'/'), after),
                Some(byte) => (u16::from(byte), after),
                None => (u16::from(b'%'), rest.get(1..).unwrap_or_default()),
            },
            [byte, after @ ..] => (u16::from(*byte), after),
            [] => return None,
        };
        rest = after;
        Some(unit)
    })
}

fn escape(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn check_escapes(bytes: &[u8]) -> Result<(), PathError> {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let Some([_, high, low, after @ ..]) = rest.get(at..) else { return Err(PathError::Escape) };
        match escape(*high, *low) {
            None => return Err(PathError::Escape),
            Some(0) => return Err(PathError::Nul),
            Some(_) => rest = after,
        }
    }
    Ok(())
}

enum Segment {
    Name,
    Here,
    Up,
    Ambiguous,
}

impl Segment {
    fn of(segment: &str) -> Self {
        match dots(decoded(segment)) {
            Some(1) => return Self::Here,
            Some(2) => return Self::Up,
            _ => {}
        }
        // Split as the laxest server would: at `\`, at encoded slashes, and before path parameters.
        let mut part = Vec::new();
        let mut strange = false;
        for unit in decoded(segment).chain([u16::from(b';')]) {
            if unit == u16::from(b';') || unit == u16::from(b'\\') || unit == 0x100 | u16::from(b'/') {
                strange |= dots(part.drain(..)).is_some();
            } else {
                part.push(unit);
            }
        }
        if strange { Self::Ambiguous } else { Self::Name }
    }
}

/// The number of dots if there is nothing else and they are one or two.
fn dots(units: impl Iterator<Item = u16>) -> Option<usize> {
    let mut count = 0;
    for unit in units {
        count += 1;
        if unit != u16::from(b'.') || count > 2 {
            return None;
        }
    }
    (count > 0).then_some(count)
}

/// RFC 3986 section 5.2.4, except that climbing above the root is an error.
fn remove_dots(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    // The path begins with a slash, so the first piece is the empty text before it.
    for segment in path.split('/').skip(1) {
        ends_in_folder = true;
        match Segment::of(segment) {
            Segment::Here => {}
            Segment::Up => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            Segment::Name | Segment::Ambiguous => {
                kept.push(segment);
                ends_in_folder = false;
            }
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if ends_in_folder {
        resolved.push('/');
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_are_borrowed_as_they_are() {
        for path in ["/", "/a/b", "/a//b", "/a.b/.hidden", "/a%20b", "/group%2Fproject", "/...", "/a;v=1/b"] {
            assert!(matches!(resolve(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_in_every_spelling() {
        for (path, expected) in [
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/./a", "/a"),
            ("/.", "/"),
            ("/a//../b", "/a/b"),
        ] {
            assert_eq!(resolve(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_are_refused() {
        for (path, error) in [
            ("/..", PathError::AboveRoot),
            ("/a/../../b", PathError::AboveRoot),
            ("/a/..%2fb", PathError::Ambiguous),
            ("/a/%2e%2e%5cb", PathError::Ambiguous),
            ("/a/..\\b", PathError::Ambiguous),
            ("/a/..;x=1/b", PathError::Ambiguous),
            ("/a/x%2f..", PathError::Ambiguous),
            ("/a%00", PathError::Nul),
            ("/a%", PathError::Escape),
            ("/a%4", PathError::Escape),
            ("/a%zz", PathError::Escape),
            ("a", PathError::Relative),
            ("", PathError::Relative),
        ] {
            assert_eq!(resolve(path), Err(error), "{path}");
        }
    }

    proptest! {
        #[test]
        fn resolving_never_panics_and_is_idempotent(path in "/[a.%2eEfF5c;/\\\\]{0,24}") {
            if let Ok(once) = resolve(&path) {
                prop_assert_eq!(resolve(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(covers("", &once));
            }
        }
    }
}
