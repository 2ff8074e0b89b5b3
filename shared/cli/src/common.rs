//! The flags that every binary has.

use crate::Usage;
use clap::Args;
use std::path::{Path, PathBuf};

/// A binary's arguments: a clap parser that can show its common flags.
pub trait StageArgs: clap::Parser {
    /// The flags of every binary.
    fn common(&self) -> &Common;
}

/// Flags of every binary.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Read options from a TOML file; flags on the command line win
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Worker threads; results do not depend on it [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print the report as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: -v what is decided, -vv what is done
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Flags of every stage that fills a folder.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Common options")]
pub struct Output {
    /// The folder to write; it is complete once it holds manifest.json
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Run even where the folder is up to date
    #[arg(long)]
    pub force: bool,
}

impl Output {
    /// The folder to write.
    ///
    /// # Errors
    /// [`Usage`] where `--out` is missing.
    pub fn folder(&self) -> Result<&Path, Usage> {
        self.out.as_deref().ok_or_else(|| Usage("--out DIR is required: the folder to write".into()))
    }
}
