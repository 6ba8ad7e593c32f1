//! A first-party policy: which client certificates come in, and what upstreams learn of them.
//!
//! ```toml
//! config = { spiffe = ["spiffe://example.org/ns/shop/*"], attributes = ["spiffe-id", "fingerprint"] }
//! ```
//!
//! The gateway has verified the chain: signatures, validity, a trust anchor, that it is meant for clients. What is left
//! is who this is. Rules are lists by the kind of name they look at; within a list any entry will do, and of
//! several lists all must be met, or any where the config says so. Only what a rule or an attribute needs is read.
//!
//! A value becomes a request header, so what is not visible ASCII is percent-encoded: without that a client
//! called Jürgen would have no verdict at all. A value that a header cannot hold is a refusal, and not cut short: the
//! upstream could not tell.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use handfast_policy::{
    Alert, Attribute, ClientHello, Configure, Connection, PeerCertificate, PeerChain, Rejection, Validate,
};
use handfast_policy_settings::{Answer, Pattern, Refusal, Value, read};

use self::spiffe::SpiffePattern;

mod spiffe;

/// What a header value holds at most.
const VALUE_BYTES: usize = 4_096;

struct ClientCertificate {
    spiffe: Option<Vec<SpiffePattern>>,
    uris: Option<Vec<String>>,
    dns: Option<Vec<Pattern>>,
    emails: Option<Vec<String>>,
    units: Option<Vec<String>>,
    common_names: Option<Vec<String>>,
    any: bool,
    attributes: Vec<usize>,
    alert: Alert,
}

/// What an attribute is read with; `None` where the certificate has nothing of the kind.
type Read = fn(&PeerCertificate) -> Option<String>;

/// What upstreams can be told; the names are those of the attributes.
const ATTRIBUTES: &[(&str, Read)] = &[
    ("spiffe-id", |client| spiffe::id(client.uris()).map(|id| encoded(&id, false))),
    ("common-name", |client| client.common_name().map(|name| encoded(&name, false))),
    ("organizational-units", |client| list(client.organizational_units())),
    ("dns-names", |client| list(client.dns_names())),
    ("uris", |client| list(client.uris())),
    ("emails", |client| list(client.email_addresses())),
    ("subject", |client| Some(encoded(&client.subject(), false))),
    ("issuer", |client| Some(encoded(&client.issuer(), false))),
    ("serial", |client| Some(client.serial())),
    ("fingerprint", |client| Some(client.fingerprint())),
];

handfast_policy::export!(ClientCertificate: configure, validate; panic = trap);

impl Configure for ClientCertificate {
    fn configure(config: &str) -> Result<Self, String> {
        let mut policy = Self {
            spiffe: None,
            uris: None,
            dns: None,
            emails: None,
            units: None,
            common_names: None,
            any: false,
            attributes: ["spiffe-id", "common-name", "fingerprint"]
                .into_iter()
                .filter_map(attribute)
                .collect(),
            alert: Alert::AccessDenied,
        };
        read(config, &mut |key, value| policy.set(key, value))?;
        Ok(policy)
    }
}

impl Validate for ClientCertificate {
    fn validate(
        &self,
        _: &Connection,
        _: &ClientHello,
        chain: &PeerChain,
    ) -> Result<Vec<Attribute>, Rejection> {
        let Some(client) = chain.certificate(0) else {
            return Err(Rejection::new(Alert::CertificateRequired));
        };
        if let Some(unmet) = self.unmet(&client) {
            return Err(
                Rejection::new(self.alert).because(["its certificate does not meet ", unmet].concat())
            );
        }
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for (name, value) in self.attributes.iter().filter_map(|at| ATTRIBUTES.get(*at)) {
            let Some(value) = value(&client) else { continue };
            if value.len() > VALUE_BYTES {
                let reason = ["its ", *name, " is longer than a header may be"].concat();
                return Err(Rejection::new(Alert::BadCertificate).because(reason));
            }
            attributes.push(Attribute::new(*name, value));
        }
        Ok(attributes)
    }
}

impl ClientCertificate {
    fn set(&mut self, key: &str, value: Value<'_>) -> Result<(), Refusal> {
        match key {
            "spiffe" => self.spiffe = Some(entries(value, |value| SpiffePattern::parse(&value.text()?))?),
            "uris" => self.uris = Some(entries(value, uri)?),
            "dns" => self.dns = Some(entries(value, Value::pattern)?),
            "emails" => self.emails = Some(entries(value, email)?),
            "organizational-units" => self.units = Some(entries(value, plain)?),
            "common-names" => self.common_names = Some(entries(value, plain)?),
            "match" => self.any = value.word(&["all", "any"])? == 1,
            "attributes" => {
                self.attributes = value.list(|value| {
                    let name = value.text()?;
                    attribute(&name).ok_or_else(|| {
                        let known: Vec<_> = ATTRIBUTES.iter().map(|(known, _)| *known).collect();
                        Refusal::new(&["has \"", &name, "\": there are \"", &known.join("\", \""), "\""])
                    })
                })?;
            }
            "alert" => match value.answer()? {
                Answer::Alert(alert) => self.alert = alert,
                // After the handshake, `validate` can only refuse with an alert.
                Answer::None => {
                    return Err(Refusal::new(&["is \"none\": write an alert, as \"access-denied\""]));
                }
            },
            _ => {
                return Err(Refusal::unknown(&[
                    "spiffe",
                    "uris",
                    "dns",
                    "emails",
                    "organizational-units",
                    "common-names",
                    "match",
                    "attributes",
                    "alert",
                ]));
            }
        }
        Ok(())
    }

    /// The rule that keeps a client out.
    fn unmet(&self, client: &PeerCertificate) -> Option<&'static str> {
        let spiffe = self.spiffe.as_ref().map(|patterns| {
            let id = spiffe::id(client.uris());
            ("`spiffe`", id.is_some_and(|id| patterns.iter().any(|pattern| pattern.matches(&id))))
        });
        let uris = || rule(&self.uris, "`uris`", || client.uris(), |entry, uri| matches_uri(entry, uri));
        let dns = || rule(&self.dns, "`dns`", || client.dns_names(), matches_dns);
        let emails =
            || rule(&self.emails, "`emails`", || client.email_addresses(), |it, own| matches_email(it, own));
        let units = || {
            let own = || client.organizational_units();
            rule(&self.units, "`organizational-units`", own, |entry, unit| entry == unit)
        };
        let names = || {
            let own = || client.common_name().into_iter().collect();
            rule(&self.common_names, "`common-names`", own, |entry, name| entry == name)
        };
        // One after the other, so that what comes after the rule that decides is not read.
        let rules: [&dyn Fn() -> Option<(&'static str, bool)>; 6] =
            [&|| spiffe, &uris, &dns, &emails, &units, &names];
        let mut judged = rules.iter().filter_map(|rule| rule()).peekable();
        if self.any {
            judged.peek()?;
            return if judged.any(|(_, met)| met) { None } else { Some("any of its rules") };
        }
        judged.find(|(_, met)| !met).map(|(name, _)| name)
    }
}

/// Whether any entry fits any of the client's own. `None`: there is no such rule.
fn rule<T>(
    entries: &Option<Vec<T>>,
    name: &'static str,
    own: impl Fn() -> Vec<String>,
    fits: impl Fn(&T, &str) -> bool,
) -> Option<(&'static str, bool)> {
    let entries = entries.as_ref()?;
    let own = own();
    Some((name, own.iter().any(|own| entries.iter().any(|entry| fits(entry, own)))))
}

fn matches_dns(pattern: &Pattern, name: &str) -> bool {
    // A wildcard stands for names in a server's certificate; in a client's it is nobody.
    !name.contains('*') && pattern.matches(&name.to_ascii_lowercase())
}

fn matches_uri(entry: &str, uri: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(begin) => uri.len() > begin.len() && uri.starts_with(begin),
        None => uri == entry,
    }
}

/// The domain is compared without regard to case, the rest as it is (RFC 5280 section 7.5).
fn matches_email(entry: &str, address: &str) -> bool {
    let (Some((wanted, domain)), Some((own, own_domain))) =
        (entry.rsplit_once('@'), address.rsplit_once('@'))
    else {
        return false;
    };
    domain.eq_ignore_ascii_case(own_domain) && (wanted == "*" || wanted == own)
}

/// A list that has entries: an empty one would let nobody in.
fn entries<'a, T>(
    value: Value<'a>,
    entry: impl FnMut(Value<'a>) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let list = value.list(entry)?;
    if list.is_empty() {
        return Err(Refusal::new(&[
            "is an empty list, which nobody meets: leave the key out, or list who comes in",
        ]));
    }
    Ok(list)
}

fn plain(value: Value<'_>) -> Result<String, Refusal> {
    let text = value.text()?;
    if text.is_empty() {
        return Err(Refusal::new(&["has an empty text: write what the certificate has"]));
    }
    Ok(text.into_owned())
}

fn uri(value: Value<'_>) -> Result<String, Refusal> {
    let text = plain(value)?;
    let begin = text.strip_suffix('*').unwrap_or(&text);
    // Or `https://example.org*` would fit example.org.attacker.example.
    if !text.contains(':')
        || begin.contains('*')
        || (begin.len() < text.len() && !begin.ends_with(['/', ':']))
    {
        let why = "\", which is no URI, nor the beginning of one up to a / with a * behind it";
        return Err(Refusal::new(&["has \"", &text, why]));
    }
    Ok(text)
}

fn email(value: Value<'_>) -> Result<String, Refusal> {
    let text = plain(value)?;
    match text.rsplit_once('@') {
        Some((own, domain)) if !own.is_empty() && !domain.is_empty() && !domain.contains('*') => Ok(text),
        _ => Err(Refusal::new(&[
            "has \"",
            &text,
            "\": write alice@example.org, or *@example.org for all there",
        ])),
    }
}

/// The place of an attribute among those there are.
fn attribute(name: &str) -> Option<usize> {
    ATTRIBUTES.iter().position(|(known, _)| *known == name)
}

/// Comma-separated, commas in the values encoded.
fn list(values: Vec<String>) -> Option<String> {
    let values: Vec<_> = values.iter().map(|value| encoded(value, true)).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// As it can stand in a header: visible ASCII and spaces, all else percent-encoded (RFC 3986 section 2.1). So is a space at
/// either end: upstreams take it away there (RFC 9110 section 5.5), and `alice ` would be alice.
fn encoded(text: &str, in_list: bool) -> String {
    let last = text.len().saturating_sub(1);
    let is_plain = |(at, byte): (usize, u8)| match byte {
        b' ' => at != 0 && at != last,
        b',' => !in_list,
        byte => matches!(byte, b'!'..=b'~') && byte != b'%',
    };
    if text.bytes().enumerate().all(is_plain) {
        return text.to_string();
    }
    let mut encoded = String::with_capacity(text.len() * 3);
    for (at, byte) in text.bytes().enumerate() {
        if is_plain((at, byte)) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> PeerCertificate {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        PeerCertificate {
            common_name: Some("alice".to_owned()),
            organizational_units: texts(&["staff", "audit, internal"]),
            dns_names: texts(&["Till.clients.example"]),
            uris: texts(&["spiffe://example.org/ns/shop/sa/till"]),
            email_addresses: texts(&["alice@Example.org"]),
            fingerprint: "ab12".to_owned(),
            ..PeerCertificate::default()
        }
    }

    fn validate(config: &str, client: PeerCertificate) -> Result<Vec<Attribute>, Rejection> {
        let policy = ClientCertificate::configure(config).unwrap();
        let chain = PeerChain { certificates: vec![client] };
        policy.validate(&Connection::default(), &ClientHello::default(), &chain)
    }

    #[track_caller]
    fn refused(config: &str, client: PeerCertificate) -> Rejection {
        validate(config, client).expect_err("a refusal")
    }

    #[test]
    fn each_rule_looks_at_its_kind_of_name() {
        for (inside, outside) in [
            (
                r#"{"spiffe": ["spiffe://example.org/ns/shop/**"]}"#,
                r#"{"spiffe": ["spiffe://example.org/ns/pay/**"]}"#,
            ),
            (r#"{"dns": ["*.clients.example"]}"#, r#"{"dns": ["clients.example", "*.example"]}"#),
            (r#"{"uris": ["spiffe://example.org/*"]}"#, r#"{"uris": ["spiffe://example.org/ns"]}"#),
            (r#"{"emails": ["*@example.org"]}"#, r#"{"emails": ["Alice@example.org", "*@org"]}"#),
            (r#"{"organizational-units": ["x", "staff"]}"#, r#"{"organizational-units": ["Staff"]}"#),
            (r#"{"common-names": ["alice"]}"#, r#"{"common-names": ["al"]}"#),
        ] {
            assert!(validate(inside, alice()).is_ok(), "{inside}");
            let rejection = refused(outside, alice());
            let rule = outside.split('"').nth(1).unwrap();
            assert_eq!(rejection.alert, Alert::AccessDenied);
            assert_eq!(rejection.reason.unwrap(), format!("its certificate does not meet `{rule}`"));
            assert!(validate(inside, PeerCertificate::default()).is_err(), "{inside}: nobody");
        }
    }

    #[test]
    fn all_lists_must_be_met_unless_any_will_do() {
        let config = |how: &str| {
            format!(r#"{{"match": "{how}", "common-names": ["bob"], "organizational-units": ["staff"]}}"#)
        };
        assert_eq!(
            refused(&config("all"), alice()).reason.unwrap(),
            "its certificate does not meet `common-names`"
        );
        assert!(validate(&config("any"), alice()).is_ok());
        let reason = refused(&config("any"), PeerCertificate::default()).reason.unwrap();
        assert_eq!(reason, "its certificate does not meet any of its rules");
        assert!(validate(r#"{"match": "any"}"#, alice()).is_ok(), "no rules keep nobody out");
        assert!(validate("{}", alice()).is_ok());
    }

    #[test]
    fn a_workload_has_one_uri_and_it_is_its_id() {
        let config = r#"{"spiffe": ["spiffe://example.org/**"], "alert": "unknown-ca"}"#;
        let two =
            PeerCertificate { uris: vec![alice().uris[0].clone(), "https://example.org/".into()], ..alice() };
        assert_eq!(refused(config, two).alert, Alert::UnknownCa);
    }

    #[test]
    fn a_wildcard_in_a_clients_certificate_is_nobody() {
        let client = PeerCertificate { dns_names: vec!["*.clients.example".into()], ..alice() };
        refused(r#"{"dns": ["*.clients.example", "**.example"]}"#, client);
    }

    #[test]
    fn upstreams_are_told_what_the_config_says() {
        let names = |attributes: Vec<Attribute>| attributes.into_iter().map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names(validate("{}", alice()).unwrap()), ["spiffe-id", "common-name", "fingerprint"]);
        let nameless = PeerCertificate { common_name: None, uris: vec![], ..alice() };
        assert_eq!(names(validate("{}", nameless).unwrap()), ["fingerprint"], "what there is");
        let config = r#"{"attributes": ["organizational-units", "emails"]}"#;
        let attributes = validate(config, alice()).unwrap();
        assert_eq!(
            attributes,
            [
                Attribute::new("organizational-units", "staff,audit%2C internal"),
                Attribute::new("emails", "alice@Example.org")
            ]
        );
    }

    #[test]
    fn a_value_that_is_no_ascii_is_encoded_and_one_that_is_too_long_refused() {
        let client = PeerCertificate { common_name: Some("Jürgen 100%\n".to_owned()), ..alice() };
        let config = r#"{"attributes": ["common-name"]}"#;
        assert_eq!(
            validate(config, client).unwrap(),
            [Attribute::new("common-name", "J%C3%BCrgen 100%25%0A")]
        );
        // Upstreams would take `alice ` for alice.
        for (name, value) in [("alice ", "alice%20"), ("  alice", "%20 alice"), (" ", "%20"), ("x y", "x y")]
        {
            let client = PeerCertificate { common_name: Some(name.to_owned()), ..alice() };
            assert_eq!(validate(config, client).unwrap(), [Attribute::new("common-name", value)]);
        }
        let client = PeerCertificate { common_name: Some("x".repeat(4_097)), ..alice() };
        assert_eq!(refused(config, client).alert, Alert::BadCertificate);
    }

    #[test]
    fn a_config_with_a_mistake_is_refused_at_its_key() {
        for (config, expected) in [
            (r#"{"units": ["staff"]}"#, "`units` is unknown: there are `spiffe`"),
            (r#"{"dns": []}"#, "`dns` is an empty list"),
            (r#"{"dns": ["a.*.example"]}"#, "`dns` has \"a.*.example\", which has a *"),
            (r#"{"spiffe": ["https://example.org/"]}"#, "`spiffe` has \"https://example.org/\""),
            (r#"{"uris": ["https://example.org*"]}"#, "`uris` has \"https://example.org*\", which is no URI"),
            (r#"{"emails": ["alice"]}"#, "`emails` has \"alice\": write alice@example.org"),
            (r#"{"common-names": [""]}"#, "`common-names` has an empty text"),
            (r#"{"match": "one"}"#, "`match` is \"one\": write \"all\" or \"any\""),
            (r#"{"attributes": ["name"]}"#, "`attributes` has \"name\": there are \"spiffe-id\""),
            (r#"{"alert": "none"}"#, "`alert` is \"none\": write an alert"),
        ] {
            let error = ClientCertificate::configure(config).err().unwrap();
            assert!(error.starts_with(expected), "{config}: {error}");
        }
    }
}
