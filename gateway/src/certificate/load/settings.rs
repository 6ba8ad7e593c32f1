//! The file beside a pair that says what the pair itself cannot: `name.toml`.
//!
//! [`super::certificate`] reads it with the pair, so it is as fresh as the pair is. A mistake in it is reported like one
//! in the configuration: file, line and the nearest known key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tracing::warn;

use super::{CertificateError, Identity};
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
    /// These tags with the source's over them, ordered by key.
    ///
    /// The source's are the operator's word about whoever may write to its folder: policies tell tenants apart by them. So
    /// nothing in the folder outweighs one.
    pub(super) fn under(self, identity: &Identity) -> Arc<[(String, String)]> {
        if self.tags.is_empty() {
            return identity.tags.clone();
        }
        let mut all = self.tags;
        for (key, value) in identity.tags.iter() {
            if all.insert(key.clone(), value.clone()).is_some_and(|own| own != *value) {
                let why = "its source has this tag too, and says what counts";
                warn!(certificate = &*identity.id, tag = key, value, why, "tag beside a pair left out");
            }
        }
        all.into_iter().collect()
    }
}
