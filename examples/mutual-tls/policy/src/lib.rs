//! An example policy for client certificates: only some organizational units come in, and upstreams learn who it is.
//!
//! ```toml
//! config = { units = ["staff", "audit"] }
//! ```
//!
//! The gateway has verified the chain by the time it asks: signatures, validity, that it leads to a trust anchor and is
//! meant for clients. What is left to decide is whether this client may come in. It is asked again on every resumed
//! connection, so that a unit that was struck from the list is out at once.

use handfast_policy::{Alert, Attribute, ClientHello, Configure, Connection, PeerChain, Rejection, Validate};

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ClientUnits {
    units: Vec<String>,
}

handfast_policy::export!(ClientUnits: configure, validate);

impl Configure for ClientUnits {
    fn configure(config: &str) -> Result<Self, String> {
        serde_json::from_str(config).map_err(|error| error.to_string())
    }
}

impl Validate for ClientUnits {
    fn validate(
        &self,
        _: &Connection,
        _: &ClientHello,
        chain: &PeerChain,
    ) -> Result<Vec<Attribute>, Rejection> {
        let Some(client) = chain.certificate(0) else {
            return Err(Rejection::new(Alert::CertificateRequired));
        };
        let units = client.organizational_units();
        let Some(unit) = units.iter().find(|unit| self.units.contains(unit)) else {
            let reason = format!("none of its units is let in: {}", units.join(", "));
            return Err(Rejection::new(Alert::AccessDenied).because(reason));
        };
        Ok(vec![
            Attribute::new("name", client.common_name().unwrap_or_default()),
            Attribute::new("unit", unit),
            Attribute::new("fingerprint", client.fingerprint()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use handfast_policy::PeerCertificate;

    use super::*;

    fn validate(units: &[&str]) -> Result<Vec<Attribute>, Rejection> {
        let policy = ClientUnits::configure(r#"{"units": ["staff"]}"#).unwrap();
        let client = PeerCertificate {
            common_name: Some("alice".to_owned()),
            organizational_units: units.iter().map(|unit| (*unit).to_owned()).collect(),
            ..PeerCertificate::default()
        };
        let chain = PeerChain { certificates: vec![client] };
        policy.validate(&Connection::default(), &ClientHello::default(), &chain)
    }

    #[test]
    fn a_client_of_a_listed_unit_comes_in_with_its_name() {
        let attributes = validate(&["guests", "staff"]).unwrap();
        assert!(attributes.contains(&Attribute::new("name", "alice")));
        assert!(attributes.contains(&Attribute::new("unit", "staff")));
    }

    #[test]
    fn a_client_of_other_units_is_refused() {
        for units in [&["guests"][..], &[]] {
            assert_eq!(validate(units).unwrap_err().alert, Alert::AccessDenied);
        }
    }

    #[test]
    fn a_config_without_units_is_refused() {
        assert!(ClientUnits::configure("{}").err().unwrap().contains("units"));
    }
}
