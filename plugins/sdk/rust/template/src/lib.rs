//! Some names are for TLS 1.3 clients only: `config = { tls13-only = ["pay.localhost"] }`.

use std::net::SocketAddr;

use handfast_policy::{Alert, ClientHello, Configure, Connection, Decision, Select, log};

const TLS13: u16 = 0x0304;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Policy {
    tls13_only: Vec<String>,
}

handfast_policy::export!(Policy: configure, select);

impl Configure for Policy {
    fn configure(config: &str) -> Result<Self, String> {
        serde_json::from_str(config).map_err(|error| error.to_string())
    }
}

impl Select for Policy {
    fn select(&self, connection: &Connection, hello: &ClientHello) -> Decision {
        let Some(name) = hello.server_name() else { return Decision::pass() };
        if self.tls13_only.contains(&name) && !hello.protocol_versions().contains(&TLS13) {
            log::info!("{} is too old", SocketAddr::from(connection.client_address()).ip());
            return Decision::reject(Alert::ProtocolVersion).because("this name is for TLS 1.3 only");
        }
        Decision::pass()
    }
}

/// These run on this machine, with `cargo test`; what the component does is in `cases.toml`.
#[cfg(test)]
mod tests {
    use handfast_policy::{Verdict, testing::Gateway};

    use super::*;

    #[test]
    fn an_old_client_is_refused_the_names_of_the_list() {
        let policy = Policy::configure(r#"{"tls13-only": ["pay.localhost"]}"#).unwrap();
        let verdict = |name: &str| {
            let hello = ClientHello {
                server_name: Some(name.to_owned()),
                protocol_versions: vec![0x0303],
                ..ClientHello::default()
            };
            Gateway::default().run(|| policy.select(&Connection::default(), &hello)).verdict
        };
        assert_eq!(verdict("pay.localhost"), Verdict::Reject(Alert::ProtocolVersion));
        assert_eq!(verdict("shop.localhost"), Verdict::Pass);
    }
}
