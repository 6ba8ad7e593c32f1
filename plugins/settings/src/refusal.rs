//! Why settings are refused, in words for the operator who wrote them.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

/// What is wrong, and the key at which it is. Text made of pieces: `format!` would double the size of a small guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// From the outermost key to the innermost: `tenants.acme.names`.
    path: String,
    what: String,
}

impl Refusal {
    /// The words follow the key: `is no network: write …`.
    pub fn new(what: &[&str]) -> Self {
        Self { path: String::new(), what: what.concat() }
    }

    /// A key that there is not, with those that there are.
    pub fn unknown(known: &[&str]) -> Self {
        Self::new(&["is unknown: there are `", &known.join("`, `"), "`"])
    }

    /// Within the value of this key.
    #[must_use]
    pub fn within(self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { [key, ".", &self.path].concat() };
        Self { path, ..self }
    }
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        match refusal.path.as_str() {
            "" => ["the table `config` ", &refusal.what].concat(),
            path => ["`", path, "` ", &refusal.what].concat(),
        }
    }
}

/// A number as text.
pub fn decimal(mut number: u64) -> String {
    let mut digits = Vec::with_capacity(20);
    loop {
        digits.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.into_iter().rev().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_whole_path() {
        let refusal = Refusal::new(&["is wrong"]).within("names").within("acme");
        assert_eq!(String::from(refusal), "`acme.names` is wrong");
        assert_eq!(String::from(Refusal::new(&["is wrong"])), "the table `config` is wrong");
    }

    #[test]
    fn numbers_have_all_their_digits() {
        for number in [0, 7, 10, 1_000_000, u64::MAX] {
            assert_eq!(decimal(number), number.to_string());
        }
    }
}
