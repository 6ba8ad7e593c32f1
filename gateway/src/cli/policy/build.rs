//! `handfast policy build`.

use std::path::PathBuf;

use clap::builder::TypedValueParser;
use handfast_policy_builder::{self as builder, Dialect, Language, Project, ProjectError, Tool};

use super::super::output::{Output, printable};
use super::super::{Failure, RUNTIME};
use super::{dialect, host, inspect, user_cache};
use crate::telemetry::error_chain;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The policy's folder
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    /// What it is written in, where its files leave that open
    #[arg(long, value_parser = dialect().map(Dialect::language))]
    language: Option<Language>,
    /// Run this in the place of the language's own cargo, zig, go, node or python3
    #[arg(long, value_name = "PROGRAM")]
    tool: Option<PathBuf>,
    /// The component to write; by default policy.wasm in the policy's folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds, and replaces the component by what it is now, if that is one that a gateway loads.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let project = Project::find(&args.folder, args.language).map_err(|error| {
        let hint = match &error {
            ProjectError::NoFolder { .. } | ProjectError::NoPolicy { .. } => {
                "`handfast policy new --language LANGUAGE NAME` makes a folder to begin with"
            }
            ProjectError::Several { .. } => "say which with --language",
        };
        Failure::hinted(error_chain(&error), hint)
    })?;
    let tool = Tool::find(&project, args.tool.as_deref())
        .map_err(|error| Failure::hinted(error_chain(&error), error.remedy()))?;
    let bytes = project.build(&tool).map_err(|error| {
        let text = error_chain(&error);
        match error.remedy() {
            Some(remedy) => Failure::hinted(text, &remedy),
            None => Failure { text, code: RUNTIME },
        }
    })?;

    let output = args.output.clone().unwrap_or_else(|| args.folder.join("policy.wasm"));
    let component =
        host(user_cache())?.inspect(&bytes).map_err(|error| inspect::no_policy(&output, &error))?;
    if let Some(refused) = &component.refused {
        return Err(inspect::no_policy(&output, refused));
    }
    builder::replace(&output, &bytes).map_err(|error| Failure {
        text: format!("cannot write {}: {error}", output.display()),
        code: RUNTIME,
    })?;
    let mut out = Output::new();
    out.line(format_args!("{:<11}{}", "component", printable(&output.display().to_string())))?;
    inspect::print(&component, &mut out)?;
    out.finish()
}
