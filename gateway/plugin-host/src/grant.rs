//! What a policy may import beyond what every policy may: by the operator's leave, one interface each, or two of WASI's.
//!
//! [`Policy::new`](crate::Policy::new) compares what a component imports with what it was granted, so an import without
//! a grant is refused where a policy is loaded and not where it is called. The functions themselves are linked for all.

/// What must be granted: an interface of `handfast:policy`, or outgoing HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// Counters of the policy's own at `/metrics`.
    Counter,
    /// A small store that all instances of the policy share.
    KeyValue,
    /// Calls to hosts that the operator lists: `wasi:http/types` and `/outgoing-handler`.
    Http,
}

impl Grant {
    /// Those that are interfaces of `handfast:policy`.
    const INTERFACES: [Self; 2] = [Self::Counter, Self::KeyValue];

    /// As the configuration writes it, which is the name of the interface where it is one of ours.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::KeyValue => "key-value",
            Self::Http => "http",
        }
    }

    /// The grant that this interface needs.
    pub(crate) fn of_interface(name: &str) -> Option<Self> {
        Self::INTERFACES.into_iter().find(|grant| grant.name() == name)
    }
}

/// The line of a `[[policy]]` table that grants these.
pub(crate) fn line(grants: &[Grant]) -> String {
    let mut grants = grants.to_vec();
    grants.sort_unstable();
    grants.dedup();
    let names = grants.iter().map(|grant| match grant {
        // Which hosts is not for a component to say.
        Grant::Http => format!("{{ {} = [\"HOST\"] }}", grant.name()),
        Grant::Counter | Grant::KeyValue => format!("\"{}\"", grant.name()),
    });
    format!("grants = [{}]", names.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_add_names_each_grant_once() {
        assert_eq!(
            line(&[Grant::KeyValue, Grant::Counter, Grant::KeyValue]),
            r#"grants = ["counter", "key-value"]"#
        );
        assert_eq!(line(&[Grant::Http, Grant::Counter]), r#"grants = ["counter", { http = ["HOST"] }]"#);
    }

    #[test]
    fn a_grant_has_the_name_of_its_interface() {
        assert_eq!(Grant::of_interface("key-value"), Some(Grant::KeyValue));
        assert_eq!(Grant::of_interface("log"), None);
        assert_eq!(Grant::of_interface("http"), None);
    }
}
