//! `handfast policy new`.

use std::path::Path;

use handfast_policy_builder::{self as builder, Dialect, TemplateError};

use super::super::output::{Output, printable};
use super::super::{Failure, RUNTIME, USAGE};
use crate::config::{EMBEDDED_POLICY, LISTENER_RULES};

/// Makes the folder, and says how to go on.
pub(super) fn run(dialect: Dialect, folder: &Path) -> Result<(), Failure> {
    if let Some(own) = [EMBEDDED_POLICY, LISTENER_RULES].iter().find(|own| folder.ends_with(own)) {
        let text = format!(
            "`{own}` is the gateway's own name in logs and metrics, and it loads no policy that is called so\n  \
             = hint: name the folder otherwise, for example my-{own}"
        );
        return Err(Failure { text, code: USAGE });
    }
    builder::create(dialect, folder).map_err(|error| {
        let is_name = matches!(error, TemplateError::Name { .. } | TemplateError::Taken { .. });
        let code = if is_name { USAGE } else { RUNTIME };
        let failure = Failure::runtime(&error);
        Failure { text: format!("{}\n  = hint: {}", failure.text, error.remedy()), code }
    })?;
    let folder = folder.display().to_string();
    let folder = printable(&folder);
    let mut out = Output::new();
    out.line(format_args!("{folder}: a policy in {dialect}; its README.md leads on from here:"))?;
    for command in [
        &format!("cd {folder}"),
        &builder::preparation(dialect.language()),
        "handfast policy build",
        "handfast policy test policy.wasm --cases cases.toml",
    ] {
        out.line(format_args!("    {command}"))?;
    }
    out.finish()
}
