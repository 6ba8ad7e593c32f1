//! A first-party policy: the certificate of the tenant that a server name belongs to.
//!
//! ```toml
//! [policy.config.tenants.acme]
//! names = ["acme.example", "**.acme.example"]
//! certificates = { "pay.acme.example" = "acme-pay" }
//! default = "acme-wildcard"
//! ```
//!
//! The goal is that what somebody puts into a folder of his own is served for nobody else's names, newer or not: the
//! embedded policy goes by the name alone. So a tenant's names are answered with certificates that carry the tenant's
//! tag, with those that the operator named, and with no others. Names of no tenant are left to the next policy.
//!
//! Maps are ordered. Their keys come from the configuration, but what is looked up in them comes from clients.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{
    borrow::ToOwned,
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

use handfast_policy::{
    Alert, Certificate, ClientHello, Configure, Connection, Decision, Select, certificates,
};
use handfast_policy_settings::{Pattern, Refusal, Value, read};

struct Tenants {
    /// The key of the tag whose value is a tenant.
    tag: String,
    tenants: Vec<Tenant>,
    /// Whose a name is: patterns as they are written, so that a name is found by a few look-ups.
    names: BTreeMap<String, usize>,
    unlisted: Otherwise,
    missing: Otherwise,
}

#[derive(Default)]
struct Tenant {
    name: String,
    /// Ids of certificates, by patterns of the names that they are for.
    certificates: BTreeMap<String, String>,
    /// The id of the certificate for names that no other is for.
    default: Option<String>,
}

/// What becomes of a client that this policy has no certificate for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Pass,
    Reject,
}

handfast_policy::export!(Tenants: configure, select; panic = trap);

impl Configure for Tenants {
    fn configure(config: &str) -> Result<Self, String> {
        let mut policy = Self {
            tag: "tenant".to_owned(),
            tenants: Vec::new(),
            names: BTreeMap::new(),
            unlisted: Otherwise::Pass,
            missing: Otherwise::Reject,
        };
        read(config, &mut |key, value| match key {
            "tag" => value.filled_text().map(|text| policy.tag = text),
            "tenants" => value.table(&mut |name, value| policy.add(name, value)),
            "unlisted" => otherwise(value).map(|chosen| policy.unlisted = chosen),
            "missing" => otherwise(value).map(|chosen| policy.missing = chosen),
            _ => Err(Refusal::unknown(&["tenants", "tag", "unlisted", "missing"])),
        })?;
        if policy.tenants.is_empty() {
            return Err("`tenants` is missing: write a table for each tenant, with its `names`".to_owned());
        }
        Ok(policy)
    }
}

impl Select for Tenants {
    fn select(&self, _: &Connection, hello: &ClientHello) -> Decision {
        let Some(name) = hello.server_name() else { return Decision::pass() };
        let tenant = most_specific(&name, |pattern| self.names.get(pattern));
        let Some(tenant) = tenant.and_then(|at| self.tenants.get(*at)) else {
            return match self.unlisted {
                Otherwise::Pass => Decision::pass(),
                Otherwise::Reject => {
                    Decision::reject(Alert::UnrecognizedName).because("the name is of no tenant")
                }
            };
        };
        let because = |certificate: &Certificate, how: &str| {
            Decision::certificate(certificate).because(["tenant ", &tenant.name, how].concat())
        };
        let by_id = |id: &String| certificates::by_id(id).filter(|found| found.usable_by(hello));

        let own = most_specific(&name, |pattern| tenant.certificates.get(pattern));
        if let Some(certificate) = own.and_then(by_id) {
            return because(&certificate, ", by name");
        }
        let is_own = |found: &Certificate| found.tag(&self.tag).as_deref() == Some(tenant.name.as_str());
        let candidates: Vec<_> = certificates::find(&name).into_iter().filter(is_own).collect();
        if let Some(certificate) = candidates.iter().find(|candidate| candidate.usable_by(hello)) {
            return because(certificate, "");
        }
        if let Some(certificate) = tenant.default.as_ref().and_then(by_id) {
            return because(&certificate, ", default");
        }
        match self.missing {
            Otherwise::Pass => Decision::pass(),
            // As the embedded policy answers: a client that supports none of the algorithms is not told that the name is
            // unknown.
            Otherwise::Reject => {
                let alert =
                    if candidates.is_empty() { Alert::UnrecognizedName } else { Alert::HandshakeFailure };
                let reason = ["tenant ", &tenant.name, " has no certificate for it that the client can use"];
                Decision::reject(alert).because(reason.concat())
            }
        }
    }
}

impl Tenants {
    fn add(&mut self, name: &str, value: Value<'_>) -> Result<(), Refusal> {
        let at = self.tenants.len();
        let mut tenant = Tenant { name: name.to_owned(), ..Tenant::default() };
        let mut names = Vec::new();
        let mut overrides = Vec::new();
        value.table(&mut |key, value| match key {
            "names" => {
                for pattern in value.list(Value::pattern)? {
                    self.claim(&pattern, at)?;
                    names.push(pattern);
                }
                Ok(())
            }
            "certificates" => value.table(&mut |pattern, id| {
                let pattern = Pattern::parse(pattern)?;
                tenant.certificates.insert(pattern.text(), id.filled_text()?);
                overrides.push(pattern);
                Ok(())
            }),
            "default" => value.filled_text().map(|id| tenant.default = Some(id)),
            _ => Err(Refusal::unknown(&["names", "certificates", "default"])),
        })?;
        if names.is_empty() {
            return Err(Refusal::new(&["has no `names`: without them it is never asked for"]));
        }
        let is_own = |wanted: &Pattern| {
            self.names.get(&wanted.text()) == Some(&at) || names.iter().any(|name| name.meets(wanted))
        };
        if let Some(stray) = overrides.iter().find(|wanted| !is_own(wanted)) {
            let why = "\", which is none of its `names`: it would never be used";
            return Err(Refusal::new(&["has \"", &stray.text(), why]).within("certificates"));
        }
        self.tenants.push(tenant);
        Ok(())
    }

    /// Makes a pattern the tenant's at this place.
    fn claim(&mut self, pattern: &Pattern, at: usize) -> Result<(), Refusal> {
        let text = pattern.text();
        let before = self.names.insert(text.clone(), at).filter(|before| *before != at);
        match before.and_then(|before| self.tenants.get(before)) {
            Some(other) => Err(Refusal::new(&["has \"", &text, "\", which `", &other.name, "` has too"])),
            None => Ok(()),
        }
    }
}

fn otherwise(value: Value<'_>) -> Result<Otherwise, Refusal> {
    value.word(&["pass", "reject"]).map(|at| if at == 0 { Otherwise::Pass } else { Otherwise::Reject })
}

/// What is known for the pattern that says most about a name: the name itself, `*.` its parent, then `**.` its parents
/// from the nearest on. A name has at most 127 labels.
fn most_specific<'a, T>(name: &str, known: impl Fn(&str) -> Option<&'a T>) -> Option<&'a T> {
    if let Some(found) = known(name) {
        return Some(found);
    }
    let mut wildcard = "*.".to_string();
    let mut parents = name;
    while let Some((_, parent)) = parents.split_once('.') {
        wildcard.truncate(wildcard.len().min(1));
        wildcard.push('.');
        wildcard.push_str(parent);
        if parents.len() == name.len()
            && let Some(found) = known(&wildcard)
        {
            return Some(found);
        }
        wildcard.insert(0, '*');
        if let Some(found) = known(&wildcard) {
            return Some(found);
        }
        parents = parent;
    }
    None
}

#[cfg(test)]
mod tests {
    use handfast_policy::{KeyAlgorithm, Verdict, testing::Gateway};

    use super::*;

    const CONFIG: &str = r#"{"tenants": {
        "acme": {"names": ["acme.example", "**.acme.example"], "certificates": {"pay.acme.example": "acme-pay"}},
        "globex": {"names": ["globex.example", "shop.acme.example"], "default": "globex-default"}
    }}"#;

    fn owned(id: &str, name: &str, tenant: &str) -> Certificate {
        let tags = vec![("tenant".to_owned(), tenant.to_owned())];
        Certificate { id: id.to_owned(), tags, ..Certificate::named(name) }
    }

    fn select(config: &str, certificates: Vec<Certificate>, name: &str) -> Decision {
        let policy = Tenants::configure(config).unwrap();
        let hello = ClientHello { server_name: Some(name.to_owned()), ..ClientHello::default() };
        let mut gateway = Gateway { certificates, ..Gateway::default() };
        gateway.run(|| policy.select(&Connection::default(), &hello))
    }

    fn certificate(id: &str) -> Verdict {
        Verdict::Certificate(id.to_owned())
    }

    #[test]
    fn a_name_gets_the_certificate_of_its_tenant_and_of_no_other() {
        let certificates =
            || vec![owned("newer", "www.acme.example", "globex"), owned("own", "www.acme.example", "acme")];
        let decision = select(CONFIG, certificates(), "www.acme.example");
        assert_eq!(decision, Decision::from(certificate("own")).because("tenant acme"));
        let only_foreign = vec![owned("newer", "www.acme.example", "globex")];
        let decision = select(CONFIG, only_foreign, "www.acme.example");
        assert_eq!(decision.verdict, Verdict::Reject(Alert::UnrecognizedName));
    }

    #[test]
    fn the_most_specific_pattern_says_whose_a_name_is() {
        let certificates = || {
            vec![
                owned("acme", "shop.acme.example", "acme"),
                owned("globex", "shop.acme.example", "globex"),
                owned("deep", "a.b.acme.example", "acme"),
            ]
        };
        assert_eq!(select(CONFIG, certificates(), "shop.acme.example").verdict, certificate("globex"));
        assert_eq!(select(CONFIG, certificates(), "a.b.acme.example").verdict, certificate("deep"));
        let config = r#"{"tenants": {"a": {"names": ["**.x.example"]}, "b": {"names": ["*.y.x.example"]}}}"#;
        let certificates = || {
            vec![
                owned("a", "z.y.x.example", "a"),
                owned("b", "z.y.x.example", "b"),
                owned("c", "y.x.example", "a"),
            ]
        };
        assert_eq!(select(config, certificates(), "z.y.x.example").verdict, certificate("b"));
        assert_eq!(select(config, certificates(), "y.x.example").verdict, certificate("c"));
    }

    #[test]
    fn an_override_comes_before_the_tag_and_a_default_after_it() {
        let certificates = || {
            vec![
                owned("tagged", "pay.acme.example", "acme"),
                Certificate { id: "acme-pay".to_owned(), ..Certificate::named("pay.acme.example") },
                Certificate { id: "globex-default".to_owned(), ..Certificate::named("other.example") },
            ]
        };
        let decision = select(CONFIG, certificates(), "pay.acme.example");
        assert_eq!(decision, Decision::from(certificate("acme-pay")).because("tenant acme, by name"));
        let without = vec![certificates().remove(0)];
        assert_eq!(select(CONFIG, without, "pay.acme.example").verdict, certificate("tagged"));
        let decision = select(CONFIG, certificates(), "globex.example");
        assert_eq!(decision, Decision::from(certificate("globex-default")).because("tenant globex, default"));
    }

    #[test]
    fn a_certificate_that_the_client_cannot_use_is_no_answer() {
        let rsa =
            Certificate { key_algorithm: KeyAlgorithm::Rsa, ..owned("rsa", "www.acme.example", "acme") };
        let policy = Tenants::configure(CONFIG).unwrap();
        let hello = ClientHello {
            server_name: Some("www.acme.example".to_owned()),
            signature_schemes: vec![0x0403],
            ..ClientHello::default()
        };
        let mut gateway = Gateway { certificates: vec![rsa], ..Gateway::default() };
        let decision = gateway.run(|| policy.select(&Connection::default(), &hello));
        assert_eq!(decision.verdict, Verdict::Reject(Alert::HandshakeFailure));
    }

    #[test]
    fn names_of_no_tenant_and_none_at_all_are_left_to_the_next_policy() {
        assert_eq!(select(CONFIG, vec![], "free.example").verdict, Verdict::Pass);
        let policy = Tenants::configure(CONFIG).unwrap();
        let decision = policy.select(&Connection::default(), &ClientHello::default());
        assert_eq!(decision.verdict, Verdict::Pass);
        let strict = CONFIG.replacen('{', r#"{"unlisted": "reject", "missing": "pass", "#, 1);
        let decision = select(&strict, vec![], "free.example");
        assert_eq!(decision.verdict, Verdict::Reject(Alert::UnrecognizedName));
        assert_eq!(select(&strict, vec![], "acme.example").verdict, Verdict::Pass);
    }

    #[test]
    fn the_tag_has_another_key_where_the_config_says_so() {
        let config = CONFIG.replacen('{', r#"{"tag": "owner", "#, 1);
        let tags = vec![("owner".to_owned(), "acme".to_owned())];
        let owned = Certificate { tags, ..Certificate::named("acme.example") };
        assert_eq!(select(&config, vec![owned], "acme.example").verdict, certificate("acme.example"));
    }

    #[test]
    fn a_config_with_a_mistake_is_refused_at_its_key() {
        for (config, expected) in [
            ("{}", "`tenants` is missing"),
            (r#"{"tenant": {}}"#, "`tenant` is unknown: there are `tenants`, `tag`"),
            (r#"{"tenants": {"a": {}}}"#, "`tenants.a` has no `names`"),
            (r#"{"tenants": {"a": {"name": []}}}"#, "`tenants.a.name` is unknown: there are `names`"),
            (r#"{"tenants": {"a": {"names": ["*"]}}}"#, "`tenants.a.names` has \"*\""),
            (
                r#"{"tenants": {"a": {"names": ["X.example"]}, "b": {"names": ["x.example"]}}}"#,
                "`tenants.b.names` has \"x.example\", which `a` has too",
            ),
            (
                r#"{"tenants": {"a": {"certificates": {"pay.y.example": "pay"}, "names": ["**.x.example"]}}}"#,
                "`tenants.a.certificates` has \"pay.y.example\", which is none of its `names`",
            ),
            (
                r#"{"tenants": {"a": {"names": ["x.example"], "certificates": {"x.example": ""}}}}"#,
                "`tenants.a.certificates.x.example` is \"\": write a text that is not empty",
            ),
            (
                r#"{"tenants": {"a": {"names": ["x.example"], "default": ""}}}"#,
                "`tenants.a.default` is \"\": write a text that is not empty",
            ),
            (r#"{"tag": ""}"#, "`tag` is \"\": write a text that is not empty"),
            (r#"{"missing": "drop"}"#, "`missing` is \"drop\": write \"pass\" or \"reject\""),
        ] {
            let error = Tenants::configure(config).err().unwrap();
            assert!(error.starts_with(expected), "{config}: {error}");
        }
    }
}
