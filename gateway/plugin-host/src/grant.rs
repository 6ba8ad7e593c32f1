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

/// The line of a `[[policy]]` table that grants what is needed beside what is granted already, in the order in which that is
/// written. `hosts` are those of the grant `http`.
pub(crate) fn line(granted: &[Grant], needed: &[Grant], hosts: &[String]) -> String {
    let mut grants = Vec::new();
    for grant in granted.iter().chain(needed) {
        if !grants.contains(grant) {
            grants.push(*grant);
        }
    }
    let words = grants.iter().map(|grant| match grant {
        // Which hosts is not for a component to say.
        Grant::Http if hosts.is_empty() => r#"{ http = ["HOST"] }"#.to_owned(),
        Grant::Http => {
            let hosts = hosts.iter().map(|host| format!("\"{host}\"")).collect::<Vec<_>>();
            format!("{{ http = [{}] }}", hosts.join(", "))
        }
        Grant::Counter | Grant::KeyValue => format!("\"{}\"", grant.name()),
    });
    format!("grants = [{}]", words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_add_keeps_what_is_granted_and_names_each_grant_once() {
        use Grant::{Counter, Http, KeyValue};
        for (granted, needed, hosts, expected) in [
            (&[][..], &[Counter, KeyValue][..], &[][..], r#"["counter", "key-value"]"#),
            (&[KeyValue], &[Counter, KeyValue], &[], r#"["key-value", "counter"]"#),
            (&[Counter], &[Http], &[], r#"["counter", { http = ["HOST"] }]"#),
            (
                &[Http, Counter],
                &[KeyValue],
                &["keys.example", "http://10.0.0.7:8080"],
                r#"[{ http = ["keys.example", "http://10.0.0.7:8080"] }, "counter", "key-value"]"#,
            ),
        ] {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
            assert_eq!(line(granted, needed, &hosts), format!("grants = {expected}"));
        }
    }

    #[test]
    fn a_grant_has_the_name_of_its_interface() {
        assert_eq!(Grant::of_interface("key-value"), Some(Grant::KeyValue));
        assert_eq!(Grant::of_interface("log"), None);
        assert_eq!(Grant::of_interface("http"), None);
    }
}
