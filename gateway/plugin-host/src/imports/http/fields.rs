//! The fields of a request or response (RFC 9110 section 5), in a guest's hands.

use wasmtime::component::{ComponentType, Lower};

use super::Weight;
use crate::error::Stop;

/// Bytes charged for each field beside its name and value.
const OVERHEAD: usize = 64;

/// Fields that belong to one hop, or that the gateway writes itself: who is connected to is not the guest's to say twice.
const FORBIDDEN: [&str; 11] = [
    "connection",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Names in lower case, in the order in which they were added.
pub(super) struct Fields {
    entries: Vec<(String, Vec<u8>)>,
    frozen: bool,
    weight: Weight,
}

#[derive(ComponentType, Lower, Debug, Clone, Copy, PartialEq, Eq)]
#[component(variant)]
pub(super) enum HeaderError {
    #[component(name = "invalid-syntax")]
    InvalidSyntax,
    #[component(name = "forbidden")]
    Forbidden,
    #[component(name = "immutable")]
    Immutable,
}

impl Fields {
    pub(super) fn new(weight: Weight) -> Self {
        Self { entries: Vec::new(), frozen: false, weight }
    }

    /// Those of a response.
    pub(super) fn of(entries: &[(String, Vec<u8>)], mut weight: Weight) -> Result<Self, Stop> {
        weight.add(entries.iter().map(size).sum())?;
        Ok(Self { entries: entries.to_vec(), frozen: false, weight })
    }

    pub(super) fn copy(&self, weight: Weight) -> Result<Self, Stop> {
        Self::of(&self.entries, weight)
    }

    pub(super) fn frozen(self) -> Self {
        Self { frozen: true, ..self }
    }

    pub(super) fn entries(&self) -> &[(String, Vec<u8>)] {
        &self.entries
    }

    pub(super) fn into_entries(self) -> Vec<(String, Vec<u8>)> {
        self.entries
    }

    pub(super) fn get(&self, name: &str) -> Vec<Vec<u8>> {
        let of_name = self.entries.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    pub(super) fn set(&mut self, name: &str, values: Vec<Vec<u8>>) -> Result<Result<(), HeaderError>, Stop> {
        if let Some(refused) = self.refused(name).or_else(|| values.iter().find_map(|value| bad(value))) {
            return Ok(Err(refused));
        }
        self.remove(name);
        for value in values {
            self.push(name, value)?;
        }
        Ok(Ok(()))
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<(), HeaderError> {
        if let Some(refused) = self.refused(name) {
            return Err(refused);
        }
        self.remove(name);
        Ok(())
    }

    pub(super) fn append(&mut self, name: &str, value: Vec<u8>) -> Result<Result<(), HeaderError>, Stop> {
        if let Some(refused) = self.refused(name).or_else(|| bad(&value)) {
            return Ok(Err(refused));
        }
        self.push(name, value)?;
        Ok(Ok(()))
    }

    fn push(&mut self, name: &str, value: Vec<u8>) -> Result<(), Stop> {
        let entry = (name.to_ascii_lowercase(), value);
        self.weight.add(size(&entry))?;
        self.entries.push(entry);
        Ok(())
    }

    /// What they weighed stays taken until the fields are dropped.
    fn remove(&mut self, name: &str) {
        self.entries.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    fn refused(&self, name: &str) -> Option<HeaderError> {
        if self.frozen {
            return Some(HeaderError::Immutable);
        }
        if !is_token(name) {
            return Some(HeaderError::InvalidSyntax);
        }
        let forbidden = FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden));
        forbidden.then_some(HeaderError::Forbidden)
    }
}

fn size((name, value): &(String, Vec<u8>)) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

/// RFC 9110 section 5.5: no control characters but the tab, and no space around it.
fn bad(value: &[u8]) -> Option<HeaderError> {
    let control = value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    let padded = value.first().is_some_and(|byte| b" \t".contains(byte))
        || value.last().is_some_and(|byte| b" \t".contains(byte));
    (control || padded).then_some(HeaderError::InvalidSyntax)
}

#[cfg(test)]
mod tests {
    use super::super::Budget;
    use super::*;

    fn fields() -> Fields {
        Fields::new(Budget::new(1_000).weight())
    }

    #[test]
    fn names_are_compared_without_regard_to_case_and_values_keep_their_order() {
        let mut fields = fields();
        fields.append("Accept", b"a".to_vec()).unwrap().unwrap();
        fields.append("x", b"b".to_vec()).unwrap().unwrap();
        fields.append("ACCEPT", b"c".to_vec()).unwrap().unwrap();
        assert_eq!(fields.get("accept"), [b"a".to_vec(), b"c".to_vec()]);
        fields.set("accept", vec![b"d".to_vec()]).unwrap().unwrap();
        assert_eq!(fields.entries(), [("x".into(), b"b".to_vec()), ("accept".into(), b"d".to_vec())]);
        fields.delete("X").unwrap();
        assert!(!fields.has("x"));
    }

    #[test]
    fn what_would_break_or_steer_a_request_is_refused() {
        let mut fields = fields();
        for name in ["Host", "connection", "Transfer-Encoding", "upgrade"] {
            assert_eq!(fields.append(name, Vec::new()).unwrap(), Err(HeaderError::Forbidden), "{name}");
        }
        for (name, value) in
            [("", "a"), ("a b", "a"), ("a:", "a"), ("a", "b\r\nhost: c"), ("a", "\0"), ("a", " b")]
        {
            let refused = fields.append(name, value.as_bytes().to_vec()).unwrap();
            assert_eq!(refused, Err(HeaderError::InvalidSyntax), "{name}: {value:?}");
        }
        let mut frozen = fields.frozen();
        assert_eq!(frozen.append("a", Vec::new()).unwrap(), Err(HeaderError::Immutable));
    }

    #[test]
    fn fields_weigh_what_they_hold_until_they_are_dropped() {
        let budget = Budget::new(1_000);
        let mut fields = Fields::new(budget.weight());
        fields.append("a", vec![b'x'; 800]).unwrap().unwrap();
        assert!(fields.append("a", vec![b'x'; 800]).is_err());
        assert!(fields.copy(budget.weight()).is_err());
        drop(fields);
        Fields::new(budget.weight()).append("a", vec![b'x'; 800]).unwrap().unwrap();
    }
}
