//! The file beside a pair that says what the pair itself cannot: `name.toml`.
//!
//! [`super::certificate`] reads it with the pair, so it is as fresh as the pair is. A mistake in it is reported like one
//! in the configuration: file, line and the nearest known key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::CertificateError;
use crate::config::ConfigError;
use crate::config::file::parse;
use crate::freshness::Contents;

/// What the file says, or would.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Settings {
    /// The gateway is not ready without this certificate.
    pub(super) required: bool,
    tags: BTreeMap<String, String>,
}

pub(super) fn read(file: &Contents) -> Result<Settings, CertificateError> {
    if let Some(trouble) = &file.trouble {
        return Err(CertificateError::UnreadableSettings { source: trouble.clone() });
    }
    let text = std::str::from_utf8(&file.bytes).map_err(|_not_text| {
        let cause = std::io::ErrorKind::InvalidData.into();
        CertificateError::Settings { source: ConfigError::Read { path: file.path.clone(), cause } }
    })?;
    parse(&file.path, text).map_err(|source| CertificateError::Settings { source })
}

impl Settings {
    /// A source's tags with these over them, ordered by key.
    pub(super) fn over(self, tags: &Arc<[(String, String)]>) -> Arc<[(String, String)]> {
        if self.tags.is_empty() {
            return tags.clone();
        }
        let all: BTreeMap<String, String> = tags.iter().cloned().chain(self.tags).collect();
        all.into_iter().collect()
    }
}
