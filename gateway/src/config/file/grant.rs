//! One entry of a policy's `grants`, as it was written.
//!
//! Read by hand and not by serde's derive, whose errors speak of variants: the obvious first try, `"http"` without its hosts,
//! shall be answered with what to write. So what is no grant is taken here and refused by `resolve`, which knows the place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use toml::Spanned;

#[derive(Debug)]
pub(super) enum GrantWord {
    Counter,
    KeyValue,
    Http(Vec<Spanned<String>>),
    /// The right word, without the list.
    HttpWithoutHosts,
    /// A table with a name that stands alone, with another one, or with none or several.
    NoSuchTable,
    Unknown(String),
}

/// How an entry is written.
pub(super) const KNOWN: &str = "known are `\"counter\"`, `\"key-value\"` and `{ http = [\"HOST\"] }`";
pub(super) const HTTP: &str = "write `{ http = [\"HOST\"] }`, with every host that the policy may call";

impl<'de> Deserialize<'de> for GrantWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word)
    }
}

struct Word;

impl<'de> Visitor<'de> for Word {
    type Value = GrantWord;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a grant")
    }

    fn visit_str<E>(self, word: &str) -> Result<GrantWord, E> {
        Ok(match word {
            "counter" => GrantWord::Counter,
            "key-value" => GrantWord::KeyValue,
            "http" => GrantWord::HttpWithoutHosts,
            _ => GrantWord::Unknown(word.to_owned()),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<GrantWord, A::Error> {
        let mut found = None;
        while let Some(key) = table.next_key::<String>()? {
            found = match (found, key.as_str()) {
                (None, "http") => Some(GrantWord::Http(table.next_value()?)),
                _ => {
                    table.next_value::<IgnoredAny>()?;
                    Some(GrantWord::NoSuchTable)
                }
            };
        }
        Ok(found.unwrap_or(GrantWord::NoSuchTable))
    }
}
