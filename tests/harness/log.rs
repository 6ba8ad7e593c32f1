//! The gateway's log as tests read it: one JSON object per line, the fields of an event beside its message.

use std::fmt;

use serde_json::Value;

/// One line of the log. Text that is not JSON (a panic message, say) is a line without fields.
#[derive(Debug, Clone)]
pub struct Line {
    raw: String,
    fields: Value,
}

impl Line {
    pub(crate) fn parse(raw: String) -> Self {
        let fields = serde_json::from_str(&raw).unwrap_or(Value::Null);
        Self { raw, fields }
    }

    /// Whether it is the event of this message.
    pub fn is(&self, message: &str) -> bool {
        self.text("message") == message
    }

    /// A field's text; empty when it is absent.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        self.fields
            .get(field)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("no number {field:?} in {self}"))
    }

    /// Whether a field is `true`; false when it is absent.
    pub fn flag(&self, field: &str) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    pub fn has(&self, field: &str) -> bool {
        self.fields.get(field).is_some()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}
