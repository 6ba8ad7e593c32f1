//! The project's own chores: `cargo xtask COMMAND`.

use std::path::PathBuf;

use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use handfast_policy_builder::{Dialect, Language};

mod bench;
mod fuzz;
mod instructions;
mod interface;
mod languages;
mod plugins;
mod test;
mod torture;

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that must pass: formatting, lints, plugins, unit and behaviour tests, fuzzing for seconds
    Test {
        /// Only behaviour tests whose name contains this; `languages` builds the policies of all languages first
        filter: Option<String>,
    },
    /// Build the guests to target/plugins, and the embedded policy to plugins/server-name/dist
    Plugins {
        /// Fail if the embedded policy's committed bytes are not what its source gives
        #[arg(long)]
        check: bool,
        /// Only the guests that tests and examples load
        #[arg(long, conflicts_with = "check")]
        guests: bool,
    },
    /// Build the example and the conformance policy of each language to target/policies
    Languages {
        /// Only these
        #[arg(value_parser = language())]
        languages: Vec<Language>,
    },
    /// Write docs/policies/interface.md, the reference of the policy interface, from wit/v1
    Interface {
        /// Fail if the committed page is not what the interface says
        #[arg(long)]
        check: bool,
    },
    /// Fuzz the parsers of untrusted bytes
    Fuzz {
        /// For how long, each target
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Count the instructions of a handshake and of a request, beside the recorded counts
    Instructions(instructions::Args),
    /// Measure the gateway beside its peers
    Bench(bench::Args),
    /// Replace and spoil certificates by every method there is, under a load of handshakes that are all judged
    Torture(torture::Args),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Test { filter } => test::run(filter.as_deref()),
        Command::Plugins { guests: true, .. } => plugins::build_all(plugins::GUESTS).map(|_| ()),
        Command::Plugins { check, .. } => plugins::run(check),
        Command::Languages { languages } => languages::build(&languages),
        Command::Interface { check } => interface::run(check),
        Command::Fuzz { seconds } => fuzz::run(seconds),
        Command::Instructions(args) => instructions::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Torture(args) => torture::run(&args),
    }
}

fn language() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.iter().map(|language| language.name()))
        .try_map(|name| name.parse::<Dialect>())
        .map(Dialect::language)
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    own.parent().map_or(own.clone(), PathBuf::from)
}
