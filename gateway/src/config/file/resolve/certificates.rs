//! Where certificates come from, and what concerns all of them: `[[certificate-source]]` and `[certificates]`.

use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Context;
use crate::config::error::ConfigError;
use crate::config::file::{CertificateSourceTable, CertificatesTable};
use crate::config::{CertificateSource, Certificates};

impl Context<'_> {
    pub(super) fn certificate_sources(
        &self,
        tables: Vec<CertificateSourceTable>,
    ) -> Result<Vec<Arc<CertificateSource>>, ConfigError> {
        let several = tables.len() > 1;
        let mut sources: Vec<Arc<CertificateSource>> = Vec::new();
        for table in tables {
            if sources.iter().any(|other| other.name == table.name) {
                return Err(self.at(
                    table.path.span(),
                    format!("two certificate sources are named `{}`", table.name),
                    "with several sources each needs a `name` of its own: it begins the ids of its certificates",
                ));
            }
            let scan_interval = table.scan_interval.get_ref().0;
            if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&scan_interval) {
                return Err(self.at(
                    table.scan_interval.span(),
                    "`scan-interval` must be between 1s and 1h",
                    "60s is the default; with `freshness = \"strict\"` nothing waits for a scan",
                ));
            }
            for id in &table.required {
                let prefix = format!("{}:", table.name);
                if several && !id.get_ref().starts_with(&prefix) {
                    return Err(self.at(
                        id.span(),
                        format!("no certificate of this source can have the id `{}`", id.get_ref()),
                        format!(
                            "with several sources the source's name comes first: \"{prefix}{}\"",
                            id.get_ref()
                        ),
                    ));
                }
            }
            sources.push(Arc::new(CertificateSource {
                name: table.name,
                path: self.absolute(table.path.into_inner()),
                allow_readable_keys: table.allow_readable_keys,
                reload_wait: table.reload_wait.0,
                freshness: table.freshness.into(),
                scan_interval,
                on_delete: table.on_delete.into(),
                serve_expired: table.serve_expired,
                required: table.required.into_iter().map(Spanned::into_inner).collect(),
                ocsp: table.ocsp.into(),
                tags: table.tags,
            }));
        }
        Ok(sources)
    }

    pub(super) fn certificates(&self, table: CertificatesTable) -> Result<Certificates, ConfigError> {
        const HOUR: Duration = Duration::from_secs(3600);
        const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
        let mut expiry_warnings = Vec::new();
        for horizon in table.expiry_warnings {
            if !(HOUR..=YEAR).contains(&horizon.get_ref().0) {
                return Err(self.at(
                    horizon.span(),
                    "each of `expiry-warnings` must be between 1h and 366d",
                    "[\"30d\", \"7d\", \"1d\"] is the default; [] warns of nothing",
                ));
            }
            expiry_warnings.push(horizon.into_inner().0);
        }
        expiry_warnings.sort_unstable_by(|one, other| other.cmp(one));
        expiry_warnings.dedup();
        if !(1..=1_000_000).contains(table.key_cache.get_ref()) {
            return Err(self.at(
                table.key_cache.span(),
                "`key-cache` must be between 1 and 1000000",
                "10000 is the default; a parsed key takes 1 to 4 KiB",
            ));
        }
        Ok(Certificates { expiry_warnings, key_cache: table.key_cache.into_inner() })
    }
}
