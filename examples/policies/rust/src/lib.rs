//! An example policy: some names are for TLS 1.3 clients only, and a share of the clients gets the new certificate first.
//!
//! ```toml
//! config = { tls13-only = ["pay.localhost"], canary-percent = 10 }
//! ```
//!
//! A certificate is a canary when its source tagged it `canary = "yes"`. Which clients get it depends on their address, so
//! that a client sees the same certificate each time. Where this policy finds nothing to say, it passes, and the next
//! policy of the listener chooses.

use std::net::SocketAddr;

use handfast_policy::{Alert, ClientHello, Configure, Connection, Decision, Select, certificates, log};

const TLS13: u16 = 0x0304;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CustomPolicy {
    #[serde(default)]
    tls13_only: Vec<String>,
    #[serde(default)]
    canary_percent: u32,
}

handfast_policy::export!(CustomPolicy: configure, select);

impl Configure for CustomPolicy {
    fn configure(config: &str) -> Result<Self, String> {
        let policy: Self = serde_json::from_str(config).map_err(|error| error.to_string())?;
        if policy.canary_percent > 100 {
            return Err(format!("canary-percent = {} is more than 100", policy.canary_percent));
        }
        Ok(policy)
    }
}

impl Select for CustomPolicy {
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
        let Some(name) = hello.server_name() else { return Decision::pass() };

        if self.tls13_only.contains(&name) && !hello.protocol_versions().contains(&TLS13) {
            log::info!("{name} wanted by a client below TLS 1.3, {}", hello.ja4());
            return Decision::reject(Alert::ProtocolVersion).because("this name is for TLS 1.3 only");
        }

        let client = connection.client_address().into();
        let canary = share(client) < self.canary_percent;
        let wanted = |tag: Option<String>| (tag.as_deref() == Some("yes")) == canary;
        let candidates = certificates::find(&name);
        match candidates
            .iter()
            .find(|candidate| wanted(candidate.tag("canary")) && candidate.usable_by(hello))
        {
            Some(certificate) => {
                Decision::certificate(certificate).because(if canary { "canary" } else { "stable" })
            }
            None => Decision::pass(),
        }
    }
}

/// A number below 100 that depends on the client's address alone: FNV-1a, since a client that chooses its own address
/// gains nothing by being a canary.
fn share(client: SocketAddr) -> u32 {
    let hash = client
        .ip()
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % 100
}

#[cfg(test)]
mod tests {
    use handfast_policy::{
        Verdict,
        testing::{Certificate, Gateway},
    };

    use super::*;

    fn select(config: &str, hello: ClientHello) -> Decision {
        let tags = vec![("canary".to_owned(), "yes".to_owned())];
        let canary = Certificate { id: "new".to_owned(), tags, ..Certificate::named("pay.localhost") };
        let stable = Certificate { id: "old".to_owned(), ..Certificate::named("pay.localhost") };
        let mut gateway = Gateway { certificates: vec![canary, stable], ..Gateway::default() };
        let policy = CustomPolicy::configure(config).unwrap();
        let hello = ClientHello { server_name: Some("pay.localhost".to_owned()), ..hello };
        gateway.run(|| policy.select(&Connection::default(), &hello))
    }

    #[test]
    fn an_old_client_is_refused_where_the_config_says_so() {
        let old = || ClientHello { protocol_versions: vec![0x0303], ..ClientHello::default() };
        let refused = Verdict::Reject(Alert::ProtocolVersion);
        assert_eq!(select(r#"{"tls13-only": ["pay.localhost"]}"#, old()).verdict, refused);
        assert_ne!(select(r#"{"tls13-only": ["other.localhost"]}"#, old()).verdict, refused);
    }

    #[test]
    fn the_share_of_the_canary_is_the_one_in_the_config() {
        let verdict = |config| select(config, ClientHello::default()).verdict;
        assert_eq!(verdict(r#"{"canary-percent": 0}"#), Verdict::Certificate("old".to_owned()));
        assert_eq!(verdict(r#"{"canary-percent": 100}"#), Verdict::Certificate("new".to_owned()));
    }

    #[test]
    fn a_name_without_a_fitting_certificate_is_left_to_the_next_policy() {
        let no_schemes = ClientHello { signature_schemes: vec![], ..ClientHello::default() };
        assert_eq!(select("{}", no_schemes).verdict, Verdict::Pass);
    }

    #[test]
    fn a_config_with_a_mistake_is_refused_with_its_place() {
        let error = |config| CustomPolicy::configure(config).err().unwrap();
        assert!(error(r#"{"canary": 10}"#).contains("unknown field `canary`"));
        assert!(error(r#"{"canary-percent": 101}"#).contains("more than 100"));
    }
}
