//! JSON as far as settings need it: values are places in the text, and nothing is built.

use alloc::{borrow::Cow, string::String, vec::Vec};
use core::time::Duration;

use crate::{
    Answer, Network, Pattern,
    refusal::{Refusal, decimal},
};

/// Reads a policy's `config` table: calls `each` with every key and its value.
pub fn read<'a>(
    config: &'a str,
    each: &mut dyn FnMut(&str, Value<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut cursor = Cursor { text: config, at: 0 };
    cursor.value().ok_or_else(malformed)?.table(each)
}

/// A value, as the text that stands for it.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    text: &'a str,
}

impl<'a> Value<'a> {
    /// A text.
    pub fn text(self) -> Result<Cow<'a, str>, Refusal> {
        let inner = self.text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let inner = inner.ok_or_else(|| self.is_not("a text"))?;
        if inner.contains('\\') {
            return unescaped(inner).map(Cow::Owned).ok_or_else(malformed);
        }
        Ok(Cow::Borrowed(inner))
    }

    /// An integer within these bounds, both included.
    pub fn integer(self, least: u64, most: u64) -> Result<u64, Refusal> {
        match self.text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => {
                let bounds = ["an integer from ", &decimal(least), " to ", &decimal(most)].concat();
                Err(self.is_not(&bounds))
            }
        }
    }

    /// A duration above zero, as in the gateway's own configuration: `"500ms"`, `"10s"`, `"5m"`, `"1h"`, `"30d"`.
    pub fn duration(self) -> Result<Duration, Refusal> {
        let text = self.text()?;
        let unit = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(unit).unwrap_or_default();
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0,
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)) {
            Some(total) if total > 0 => Ok(Duration::from_millis(total)),
            _ => {
                Err(self
                    .is_not("a whole number and a unit, as in \"500ms\", \"10s\", \"5m\", \"1h\", \"30d\""))
            }
        }
    }

    /// One of these words: its place among them.
    pub fn word(self, words: &[&str]) -> Result<usize, Refusal> {
        let text = self.text()?;
        let found = words.iter().position(|word| *word == text);
        found.ok_or_else(|| self.is_not(&["\"", &words.join("\" or \""), "\""].concat()))
    }

    /// A pattern of DNS names.
    pub fn pattern(self) -> Result<Pattern, Refusal> {
        Pattern::parse(&self.text()?)
    }

    /// A network, or one address.
    pub fn network(self) -> Result<Network, Refusal> {
        Network::parse(&self.text()?)
    }

    /// What a client that is refused gets.
    pub fn answer(self) -> Result<Answer, Refusal> {
        Answer::parse(&self.text()?)
    }

    /// A list, whose elements `element` reads.
    pub fn list<T>(
        self,
        mut element: impl FnMut(Value<'a>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let mut list = Vec::new();
        self.elements(&mut |value| {
            list.push(element(value)?);
            Ok(())
        })?;
        Ok(list)
    }

    /// A text that is not empty, as it is.
    pub fn filled_text(self) -> Result<String, Refusal> {
        match self.text()? {
            text if text.is_empty() => Err(self.is_not("a text that is not empty")),
            text => Ok(text.into_owned()),
        }
    }

    /// A list of texts that are not empty, each as it is.
    pub fn texts(self) -> Result<Vec<String>, Refusal> {
        self.list(Self::filled_text)
    }

    /// A table: calls `each` with every key and its value.
    pub fn table(self, each: &mut dyn FnMut(&str, Value<'a>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut cursor = Cursor { text: self.text, at: 0 };
        if !cursor.eats(b'{') {
            return Err(self.is_not("a table"));
        }
        while !cursor.eats(b'}') {
            let key = cursor.value().ok_or_else(malformed)?.text()?;
            if !cursor.eats(b':') {
                return Err(malformed());
            }
            let value = cursor.value().ok_or_else(malformed)?;
            each(&key, value).map_err(|refusal| refusal.within(&key))?;
            cursor.eats(b',');
        }
        Ok(())
    }

    fn elements(self, each: &mut dyn FnMut(Value<'a>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut cursor = Cursor { text: self.text, at: 0 };
        if !cursor.eats(b'[') {
            return Err(self.is_not("a list"));
        }
        while !cursor.eats(b']') {
            each(cursor.value().ok_or_else(malformed)?)?;
            cursor.eats(b',');
        }
        Ok(())
    }

    /// `is 5: write a text`. Of long values the first bytes.
    fn is_not(self, wanted: &str) -> Refusal {
        const SHOWN: usize = 60;
        let shown = (0..=SHOWN.min(self.text.len())).rev().find_map(|end| self.text.get(..end));
        let more = if self.text.len() > SHOWN { "…" } else { "" };
        Refusal::new(&["is ", shown.unwrap_or_default(), more, ": write ", wanted])
    }
}

/// The gateway makes the text from a table, so this is not the operator's mistake.
fn malformed() -> Refusal {
    Refusal::new(&["did not arrive as JSON"])
}

/// A place in the text.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The value that begins here, and to the byte behind it.
    fn value(&mut self) -> Option<Value<'a>> {
        self.skip_space();
        let begin = self.at;
        match self.byte()? {
            b'"' => self.skip_string()?,
            b'[' | b'{' => self.skip_container()?,
            _ => {
                while self.byte().is_some_and(|byte| !b",]} \t\r\n".contains(&byte)) {
                    self.at += 1;
                }
            }
        }
        // A comma where a value should be is none.
        let text = self.text.get(begin..self.at).filter(|text| !text.is_empty())?;
        Some(Value { text })
    }

    /// Whether this byte comes next; then to the one behind it.
    fn eats(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is_next = self.byte() == Some(wanted);
        self.at += usize::from(is_next);
        is_next
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.byte().is_some_and(|byte| b" \t\r\n".contains(&byte)) {
            self.at += 1;
        }
    }

    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.byte()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn skip_container(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.byte()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// RFC 8259 section 7.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match rest.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let mut unit = || {
                    let digits = rest.as_str().get(..4)?;
                    rest = rest.as_str().get(4..)?.chars();
                    u32::from_str_radix(digits, 16).ok()
                };
                let first = unit()?;
                if (0xd800..0xdc00).contains(&first) {
                    let rest_of_escape = rest.as_str().strip_prefix("\\u")?;
                    rest = rest_of_escape.chars();
                    let digits = rest.as_str().get(..4)?;
                    rest = rest.as_str().get(4..)?.chars();
                    let second = u32::from_str_radix(digits, 16).ok()?.checked_sub(0xdc00)?;
                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)?
                } else {
                    char::from_u32(first)?
                }
            }
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Cursor { text, at: 0 }.value().unwrap()
    }

    #[test]
    fn keys_and_values_come_in_their_order() {
        let mut seen = Vec::new();
        let text = r#" { "a" : [1, "]"] , "b\n":{"c":"}"}, "d":-1.5, "e": true } "#;
        read(text, &mut |key, value| {
            seen.push((key.to_owned(), value.text.to_owned()));
            Ok(())
        })
        .unwrap();
        let expected = [("a", r#"[1, "]"]"#), ("b\n", r#"{"c":"}"}"#), ("d", "-1.5"), ("e", "true")];
        assert_eq!(seen, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        read("{}", &mut |_, _| unreachable!()).unwrap();
    }

    #[test]
    fn escapes_stand_for_their_characters() {
        let text = value(r#""\"\\\/\n\u00e9\ud83e\udd1d x""#).text().unwrap();
        assert_eq!(text, "\"\\/\né🤝 x");
        assert_eq!(value(r#""plain é""#).text().unwrap(), "plain é");
    }

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        for (text, milliseconds) in [("\"500ms\"", 500), ("\"2m\"", 120_000), ("\"398d\"", 34_387_200_000)] {
            assert_eq!(value(text).duration(), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["\"0s\"", "\"5\"", "\"s\"", "\"1w\"", "\"99999999999999999999d\"", "10", "\"é\""] {
            assert!(value(text).duration().is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_shown_with_what_to_write() {
        let said = |result: Result<(), Refusal>| String::from(result.unwrap_err().within("key"));
        let integer = |text| said(value(text).integer(1, 9).map(drop));
        assert_eq!(integer("12"), "`key` is 12: write an integer from 1 to 9");
        assert_eq!(integer("\"1\""), "`key` is \"1\": write an integer from 1 to 9");
        assert_eq!(integer("1.0"), "`key` is 1.0: write an integer from 1 to 9");
        assert_eq!(said(value("5").text().map(drop)), "`key` is 5: write a text");
        assert_eq!(said(value("5").texts().map(drop)), "`key` is 5: write a list");
        assert_eq!(said(value("[\"\"]").texts().map(drop)), "`key` is \"\": write a text that is not empty");
        let word = said(value("\"c\"").word(&["a", "b"]).map(drop));
        assert_eq!(word, "`key` is \"c\": write \"a\" or \"b\"");
        let long = ["[", &"é".repeat(50), "]"].concat();
        assert!(said(value(&long).text().map(drop)).contains("é…: write a text"));
    }

    #[test]
    fn text_that_is_no_json_is_refused() {
        for text in ["", " ", "{", "{\"a\"", "{\"a\":", "{\"a\" 1}", "{,}", "{\"a\":[}", "{\"a\":\"\\", "[1]"]
        {
            let mut deep = |_: &str, value: Value<'_>| value.texts().map(drop);
            assert!(read(text, &mut deep).is_err(), "{text}");
        }
        for text in [r#""\u12""#, r#""\ud800""#, r#""\ud800\u0041""#] {
            assert!(value(text).text().is_err(), "{text}");
        }
    }
}
