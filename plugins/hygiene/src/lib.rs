//! A first-party policy: which certificates may go live.
//!
//! ```toml
//! config = { minimum-rsa-bits = 3072, maximum-lifetime = "200d", issuers = ["O=Let's Encrypt"] }
//! ```
//!
//! Asked at the first load of a certificate and at each replacement, before any client gets it. A replacement that it
//! refuses does not go live and the last good one keeps serving, so a renewal that came from the wrong authority or
//! lost a name costs a warning and no outage. Every rule is off until the configuration turns it on, and one has to be.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{borrow::ToOwned, collections::BTreeMap, string::String, vec::Vec};

use handfast_policy::{Admit, Certificate, Configure, KeyAlgorithm};
use handfast_policy_settings::{Pattern, Refusal, Value, decimal, read};

#[derive(Default)]
struct Hygiene {
    algorithms: Option<Vec<KeyAlgorithm>>,
    minimum_rsa_bits: u64,
    /// In seconds.
    maximum_lifetime: Option<i64>,
    issuers: Option<Vec<String>>,
    allowed_names: Option<Vec<Pattern>>,
    forbidden_names: Vec<Pattern>,
    /// By the id of a certificate.
    required_names: BTreeMap<String, Vec<Pattern>>,
    exempt: Vec<String>,
}

const ALGORITHMS: &[(&str, KeyAlgorithm)] = &[
    ("rsa", KeyAlgorithm::Rsa),
    ("ecdsa-p256", KeyAlgorithm::EcdsaP256),
    ("ecdsa-p384", KeyAlgorithm::EcdsaP384),
    ("ecdsa-p521", KeyAlgorithm::EcdsaP521),
    ("ed25519", KeyAlgorithm::Ed25519),
];

/// The keys of `config` that refuse something.
const RULES: &[&str] = &[
    "key-algorithms",
    "minimum-rsa-bits",
    "maximum-lifetime",
    "issuers",
    "allowed-names",
    "forbidden-names",
    "required-names",
];

const DAY: i64 = 24 * 3_600;

handfast_policy::export!(Hygiene: configure, admit; panic = trap);

impl Configure for Hygiene {
    fn configure(config: &str) -> Result<Self, String> {
        let mut policy = Self::default();
        read(config, &mut |key, value| policy.set(key, value))?;
        match policy.has_rules() {
            true => Ok(policy),
            false => Err([
                "no rule is set, so every certificate would go live: write one of `",
                &RULES.join("`, `"),
                "`",
            ]
            .concat()),
        }
    }
}

impl Admit for Hygiene {
    fn admit(&self, certificate: &Certificate) -> Result<(), String> {
        let id = certificate.id();
        if self.exempt.contains(&id) {
            return Ok(());
        }
        self.judge_key(certificate)?;
        self.judge_lifetime(certificate)?;
        self.judge_issuer(certificate)?;
        self.judge_names(&id, certificate)
    }
}

impl Hygiene {
    fn has_rules(&self) -> bool {
        self.algorithms.is_some()
            || self.minimum_rsa_bits > 0
            || self.maximum_lifetime.is_some()
            || self.issuers.is_some()
            || self.allowed_names.is_some()
            || !self.forbidden_names.is_empty()
            || !self.required_names.is_empty()
    }

    fn set(&mut self, key: &str, value: Value<'_>) -> Result<(), Refusal> {
        match key {
            "key-algorithms" => {
                let words: Vec<_> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
                let chosen = value.list(|value| value.word(&words))?;
                let chosen = chosen.into_iter().filter_map(|at| ALGORITHMS.get(at));
                self.algorithms = Some(some(chosen.map(|(_, algorithm)| *algorithm).collect())?);
            }
            "minimum-rsa-bits" => self.minimum_rsa_bits = value.integer(2_048, 16_384)?,
            "maximum-lifetime" => {
                let seconds = value.duration()?.as_secs();
                self.maximum_lifetime = Some(seconds.try_into().unwrap_or(i64::MAX));
            }
            "issuers" => self.issuers = Some(some(value.texts()?)?),
            "allowed-names" => self.allowed_names = Some(some(value.list(Value::pattern)?)?),
            "forbidden-names" => self.forbidden_names = value.list(Value::pattern)?,
            "required-names" => value.table(&mut |id, value| {
                let names = value.list(|value| {
                    let pattern = value.pattern()?;
                    match pattern.text() {
                        text if text.starts_with("**.") => {
                            Err(Refusal::new(&["has \"", &text, "\": write each name that it must have"]))
                        }
                        _ => Ok(pattern),
                    }
                })?;
                self.required_names.insert(id.to_owned(), names);
                Ok(())
            })?,
            "exempt" => self.exempt = value.texts()?,
            _ => return Err(Refusal::unknown(&[RULES, &["exempt"]].concat())),
        }
        Ok(())
    }

    fn judge_key(&self, certificate: &Certificate) -> Result<(), String> {
        let own = certificate.key_algorithm();
        if self.algorithms.as_ref().is_some_and(|allowed| !allowed.contains(&own)) {
            let name =
                ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == own).map_or("other", |(name, _)| *name);
            return Err(["its key is of the kind ", name, ", which `key-algorithms` lacks"].concat());
        }
        let bits = u64::from(certificate.key_bits());
        if own == KeyAlgorithm::Rsa && bits < self.minimum_rsa_bits {
            let wanted = decimal(self.minimum_rsa_bits);
            return Err(["its RSA key has ", &decimal(bits), " bits, and ", &wanted, " are wanted"].concat());
        }
        Ok(())
    }

    fn judge_lifetime(&self, certificate: &Certificate) -> Result<(), String> {
        let Some(most) = self.maximum_lifetime else { return Ok(()) };
        // Both ends belong to it (RFC 5280 section 4.1.2.5).
        let own = certificate.not_after().saturating_sub(certificate.not_before()).saturating_add(1);
        if own <= most {
            return Ok(());
        }
        // Rounded up, so that what is too long by a second does not read as equal.
        let days = |seconds: i64| decimal(seconds.unsigned_abs().div_ceil(DAY.unsigned_abs()));
        Err(["it is valid for ", &days(own), " days, and ", &days(most), " are allowed"].concat())
    }

    fn judge_issuer(&self, certificate: &Certificate) -> Result<(), String> {
        let Some(issuers) = &self.issuers else { return Ok(()) };
        let own = certificate.issuer();
        if issuers.iter().any(|wanted| has_attributes(&own, wanted)) {
            return Ok(());
        }
        Err(["its issuer ", &own, " is none of `issuers`"].concat())
    }

    fn judge_names(&self, id: &str, certificate: &Certificate) -> Result<(), String> {
        let required = self.required_names.get(id);
        if required.is_none() && self.allowed_names.is_none() && self.forbidden_names.is_empty() {
            return Ok(());
        }
        let own = certificate.names();
        for wanted in required.into_iter().flatten() {
            let has =
                |name: &String| *name == wanted.text() || (!wanted.is_wildcard() && wanted.overlaps(name));
            if !own.iter().any(has) {
                return Err(["it is not for ", &wanted.text(), ", which `required-names` has"].concat());
            }
        }
        for name in &own {
            if let Some(found) = self.forbidden_names.iter().find(|forbidden| forbidden.overlaps(name)) {
                return Err(["it is for ", name, ", and `forbidden-names` has ", &found.text()].concat());
            }
            if self.allowed_names.as_ref().is_some_and(|allowed| !allowed.iter().any(|it| it.matches(name))) {
                return Err(["it is for ", name, ", which `allowed-names` lacks"].concat());
            }
        }
        Ok(())
    }
}

/// An empty list would let no certificate go live.
fn some<T>(list: Vec<T>) -> Result<Vec<T>, Refusal> {
    match list.is_empty() {
        true => Err(Refusal::new(&[
            "is an empty list, which nothing meets: leave the key out, or list what is good",
        ])),
        false => Ok(list),
    }
}

/// Whether a distinguished name has each attribute of another.
fn has_attributes(name: &str, wanted: &str) -> bool {
    attributes(wanted).all(|wanted| attributes(name).any(|own| own == wanted))
}

/// The attributes of a distinguished name in the form of RFC 4514: separated by commas, and those of one level by plus
/// signs; a backslash takes either its meaning.
fn attributes(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(name);
    core::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.bytes().position(|byte| {
            let ends = !escaped && (byte == b',' || byte == b'+');
            escaped = !escaped && byte == b'\\';
            ends
        });
        let (attribute, after) = match end.and_then(|end| text.split_at_checked(end)) {
            Some((attribute, after)) => (attribute, after.get(1..)),
            None => (text, None),
        };
        rest = after;
        Some(attribute.trim_start())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "CN=R10,O=Let's Encrypt,C=US";

    fn shop() -> Certificate {
        Certificate {
            id: "shop".to_owned(),
            names: vec!["shop.example".to_owned(), "*.shop.example".to_owned()],
            issuer: ISSUER.to_owned(),
            not_before: 1_000_000,
            not_after: 1_000_000 + 90 * DAY - 1,
            ..Certificate::default()
        }
    }

    fn admit(config: &str, certificate: &Certificate) -> Result<(), String> {
        Hygiene::configure(config).unwrap().admit(certificate)
    }

    #[track_caller]
    fn refused(config: &str, certificate: &Certificate) -> String {
        admit(config, certificate).expect_err("a refusal")
    }

    /// Once, it was taken, and every certificate went live.
    #[test]
    fn a_config_without_a_rule_is_refused() {
        for config in ["{}", r#"{"exempt": ["shop"]}"#, r#"{"forbidden-names": [], "required-names": {}}"#] {
            let error = Hygiene::configure(config).err().unwrap();
            assert!(error.starts_with("no rule is set") && error.contains("`required-names`"), "{error}");
        }
        for config in [r#"{"minimum-rsa-bits": 2048}"#, r#"{"required-names": {"shop": []}}"#] {
            assert_eq!(admit(config, &shop()), Ok(()), "{config}");
        }
    }

    #[test]
    fn a_key_is_of_a_listed_kind_and_large_enough() {
        let rsa = |key_bits| Certificate { key_algorithm: KeyAlgorithm::Rsa, key_bits, ..shop() };
        let config = r#"{"minimum-rsa-bits": 3072}"#;
        assert_eq!(refused(config, &rsa(2048)), "its RSA key has 2048 bits, and 3072 are wanted");
        assert_eq!(admit(config, &rsa(3072)), Ok(()));
        assert_eq!(admit(config, &shop()), Ok(()), "the curves have sizes of their own");
        let config = r#"{"key-algorithms": ["ecdsa-p256", "ed25519"]}"#;
        assert_eq!(admit(config, &shop()), Ok(()));
        assert_eq!(refused(config, &rsa(4096)), "its key is of the kind rsa, which `key-algorithms` lacks");
        let other = Certificate { key_algorithm: KeyAlgorithm::Other, ..shop() };
        assert_eq!(refused(config, &other), "its key is of the kind other, which `key-algorithms` lacks");
    }

    #[test]
    fn a_lifetime_counts_both_of_its_ends() {
        assert_eq!(admit(r#"{"maximum-lifetime": "90d"}"#, &shop()), Ok(()));
        let longer = Certificate { not_after: shop().not_after + 1, ..shop() };
        assert_eq!(
            refused(r#"{"maximum-lifetime": "90d"}"#, &longer),
            "it is valid for 91 days, and 90 are allowed"
        );
        let for_ever = Certificate { not_after: i64::MAX, not_before: i64::MIN, ..shop() };
        assert!(admit(r#"{"maximum-lifetime": "90d"}"#, &for_ever).is_err());
    }

    #[test]
    fn an_issuer_has_every_attribute_of_an_entry() {
        for wanted in ["O=Let's Encrypt", "C=US,O=Let's Encrypt", ISSUER] {
            assert_eq!(
                admit(&format!(r#"{{"issuers": ["CN=x", "{wanted}"]}}"#), &shop()),
                Ok(()),
                "{wanted}"
            );
        }
        let config = r#"{"issuers": ["O=Let's Encrypt,C=DE"]}"#;
        assert_eq!(refused(config, &shop()), format!("its issuer {ISSUER} is none of `issuers`"));
        let pretender = Certificate { issuer: r"CN=x\,O=Let's Encrypt".to_owned(), ..shop() };
        refused(r#"{"issuers": ["O=Let's Encrypt"]}"#, &pretender);
        let level = Certificate { issuer: r"CN=a\\+O=Let's Encrypt".to_owned(), ..shop() };
        assert_eq!(admit(r#"{"issuers": ["O=Let's Encrypt"]}"#, &level), Ok(()));
    }

    #[test]
    fn a_renewal_that_lost_a_name_is_refused() {
        let config =
            r#"{"required-names": {"shop": ["shop.example", "www.shop.example"], "blog": ["x.example"]}}"#;
        assert_eq!(admit(config, &shop()), Ok(()), "the wildcard covers it");
        let fewer = Certificate { names: vec!["shop.example".to_owned()], ..shop() };
        assert_eq!(refused(config, &fewer), "it is not for www.shop.example, which `required-names` has");
        let config = r#"{"required-names": {"shop": ["*.shop.example"]}}"#;
        assert_eq!(admit(config, &shop()), Ok(()));
        let one = Certificate { names: vec!["www.shop.example".to_owned()], ..shop() };
        assert_eq!(refused(config, &one), "it is not for *.shop.example, which `required-names` has");
    }

    #[test]
    fn names_are_within_what_is_allowed_and_without_what_is_forbidden() {
        assert_eq!(admit(r#"{"allowed-names": ["shop.example", "**.shop.example"]}"#, &shop()), Ok(()));
        assert_eq!(
            refused(r#"{"allowed-names": ["shop.example"]}"#, &shop()),
            "it is for *.shop.example, which `allowed-names` lacks"
        );
        let config = r#"{"forbidden-names": ["pay.shop.example", "**.internal.example"]}"#;
        assert_eq!(
            refused(config, &shop()),
            "it is for *.shop.example, and `forbidden-names` has pay.shop.example"
        );
        let inside = Certificate { names: vec!["a.b.internal.example".to_owned()], ..shop() };
        assert!(refused(config, &inside).ends_with("`forbidden-names` has **.internal.example"));
        assert_eq!(admit(config, &Certificate::named("shop.example")), Ok(()));
    }

    #[test]
    fn an_exempt_certificate_is_not_judged() {
        let config = r#"{"issuers": ["CN=x"], "exempt": ["shop"]}"#;
        assert_eq!(admit(config, &shop()), Ok(()));
        refused(config, &Certificate { id: "shop2".to_owned(), ..shop() });
    }

    #[test]
    fn a_config_with_a_mistake_is_refused_at_its_key() {
        for (config, expected) in [
            (r#"{"minimum-key-bits": 2048}"#, "`minimum-key-bits` is unknown: there are `key-algorithms`"),
            (
                r#"{"minimum-rsa-bits": 1024}"#,
                "`minimum-rsa-bits` is 1024: write an integer from 2048 to 16384",
            ),
            (r#"{"key-algorithms": ["dsa"]}"#, "`key-algorithms` is \"dsa\": write \"rsa\" or"),
            (r#"{"key-algorithms": []}"#, "`key-algorithms` is an empty list"),
            (r#"{"maximum-lifetime": 398}"#, "`maximum-lifetime` is 398: write a text"),
            (
                r#"{"maximum-lifetime": "398"}"#,
                "`maximum-lifetime` is \"398\": write a whole number and a unit",
            ),
            (r#"{"forbidden-names": ["*"]}"#, "`forbidden-names` has \"*\""),
            (r#"{"required-names": ["a.example"]}"#, "`required-names` is [\"a.example\"]: write a table"),
            (r#"{"required-names": {"a": ["**.x.example"]}}"#, "`required-names.a` has \"**.x.example\""),
        ] {
            let error = Hygiene::configure(config).err().unwrap();
            assert!(error.starts_with(expected), "{config}: {error}");
        }
    }
}
