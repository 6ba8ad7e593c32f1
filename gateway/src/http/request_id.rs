//! Names for requests: 32 hexadecimal digits, unpredictable and never the client's.
//!
//! # Memo: the source
//! SipHash of a counter under two keys that the standard library draws from the operating system per thread: 128 bits
//! at about 40 ns and without a system call. They need to be unique and not guessable from outside, not secret.
//!
//! # Memo: never indexed
//! The value is marked sensitive, which makes HPACK send it as a literal that is never indexed (RFC 7541 section 6.2.3).
//! Each one is used once: in the dynamic table it would push out the fields that do come again, and h2 compares a new one
//! with all that are there.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http::HeaderValue;

thread_local! {
    static SOURCE: Source = Source { keys: (RandomState::new(), RandomState::new()), count: Cell::new(0) };
}

struct Source {
    keys: (RandomState, RandomState),
    count: Cell<u64>,
}

/// A new one.
pub fn generate() -> HeaderValue {
    let (high, low) = SOURCE.with(|source| {
        let count = source.count.get().wrapping_add(1);
        source.count.set(count);
        (source.keys.0.hash_one(count), source.keys.1.hash_one(count))
    });
    let mut digits = [0; 32];
    let value = u128::from(high) << 64 | u128::from(low);
    for (index, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (value >> (4 * index)) as u8 & 15;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    // Hexadecimal digits are always a valid value; the fallback only satisfies the types.
    let mut value = HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("-"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_32_lower_case_hexadecimal_digits_and_differ() {
        let ids: HashSet<_> = (0..1000).map(|_| generate()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.len(), 32);
            assert!(id.as_bytes().iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        }
    }
}
