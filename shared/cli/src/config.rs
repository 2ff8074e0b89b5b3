//! Options from a TOML file: each key is a flag's name, and a flag on the command line wins.
//!
//! One file may serve all stages: keys at the top hold for every stage that has the flag, keys in a table named after
//! a stage (`[train]`) for that stage alone.

use crate::Usage;
use anyhow::Context;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The stages, whose names may head a table of a configuration file.
const STAGES: [&str; 8] = ["ingest", "tokenize", "train", "evaluate", "test", "export", "generate", "inspect"];

/// The command line with the options of its `--config` file added, apart from those it gives itself.
///
/// # Errors
/// Where the file cannot be read, and [`Usage`] where it has a key that is no option.
pub(crate) fn with_config(command: &Command, arguments: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let Some(path) = config_path(&arguments) else { return Ok(arguments) };
    let table = read(&path)?;
    let stage = command.get_name().trim_start_matches("retune-").to_string();
    let given = command.clone().ignore_errors(true).try_get_matches_from(&arguments).ok();
    let mut added = Vec::new();
    let mut sections = Vec::new();
    for (key, value) in &table {
        match value {
            Value::Table(section) if STAGES.contains(&key.as_str()) => {
                if *key == stage {
                    sections.push(section);
                }
            }
            Value::Table(_) => {
                return Err(Usage(format!(
                    "{}: [{key}] is no stage{}; stages are {}",
                    path.display(),
                    suggestion(key, STAGES.iter().copied()),
                    STAGES.join(", ")
                ))
                .into());
            }
            _ => sections.push(&table),
        }
    }
    sections.dedup_by(|left, right| std::ptr::eq(*left, *right));
    let mut seen = std::collections::BTreeSet::new();
    // The stage's own table wins over the keys at the top.
    sections.sort_by_key(|section| std::ptr::eq(*section, &raw const table));
    for section in sections {
        for (key, value) in section.iter().filter(|(_, value)| !value.is_table()) {
            let argument = find(command, key, &path)?;
            let on_command_line = given.as_ref().is_some_and(|matches| {
                matches.value_source(argument.get_id().as_str()) == Some(clap::parser::ValueSource::CommandLine)
            });
            if !on_command_line && seen.insert(argument.get_id().clone()) {
                added.extend(flags(argument, key, value, &path)?);
            }
        }
    }
    let mut arguments = arguments;
    let after_name = arguments.len().min(1);
    arguments.splice(after_name..after_name, added);
    Ok(arguments)
}

fn config_path(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    None
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--config {} cannot be read", path.display()))?;
    text.parse().map_err(|error| Usage(format!("{}: not valid TOML: {error}", path.display())).into())
}

/// The option that `key` names, `max-length` and `max_length` alike.
fn find<'a>(command: &'a Command, key: &str, path: &Path) -> Result<&'a Arg, Usage> {
    let wanted = key.replace('_', "-");
    let is_option = |argument: &&Arg| argument.get_long().is_some_and(|long| long != "config" && long != "help");
    if let Some(argument) = command.get_arguments().filter(is_option).find(|a| a.get_long() == Some(&wanted)) {
        return Ok(argument);
    }
    let names = command.get_arguments().filter(is_option).filter_map(Arg::get_long);
    Err(Usage(format!(
        "{}: {key} is no option of {}{}",
        path.display(),
        command.get_name(),
        suggestion(&wanted, names)
    )))
}

fn suggestion<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> String {
    let scored = names.map(|name| (strsim::jaro_winkler(wanted, name), name));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0));
    best.filter(|(score, _)| *score > 0.7).map(|(_, name)| format!("; did you mean {name}?")).unwrap_or_default()
}

fn flags(argument: &Arg, key: &str, value: &Value, path: &Path) -> Result<Vec<OsString>, Usage> {
    let long = format!("--{}", argument.get_long().expect("only long options are looked up"));
    let is_switch = matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count);
    let found = serde_json::to_string(value).unwrap_or_default();
    let wrong = |expected: &str| Usage(format!("{}: {key}: expected {expected}, found {found}", path.display()));
    if is_switch {
        return match value {
            Value::Boolean(true) => Ok(vec![long.into()]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(wrong("true or false")),
        };
    }
    let values = match value {
        Value::Array(values) => values.iter().collect(),
        single => vec![single],
    };
    let mut flags = Vec::new();
    for value in values {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(truth) => truth.to_string(),
            _ => return Err(wrong("a text, a number or a list of them")),
        };
        flags.push(format!("{long}={text}").into());
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("retune-train")
            .arg(Arg::new("config").long("config"))
            .arg(Arg::new("epochs").long("epochs"))
            .arg(Arg::new("learning_rate").long("learning-rate"))
            .arg(Arg::new("keep").long("keep").action(ArgAction::Append))
            .arg(Arg::new("resume").long("resume").action(ArgAction::SetTrue))
            .arg(Arg::new("input").num_args(0..))
    }

    fn merged(toml: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), toml).expect("written");
        let mut all: Vec<OsString> = vec!["retune-train".into(), "--config".into(), file.path().into()];
        all.extend(arguments.iter().map(OsString::from));
        let merged = with_config(&command(), all).map_err(|error| error.to_string())?;
        Ok(merged.into_iter().map(|word| word.into_string().expect("UTF-8")).filter(|w| w.contains("--")).collect())
    }

    #[test]
    fn keys_become_flags_and_flags_win() {
        let toml = "epochs = 3\nlearning_rate = 2e-4\nresume = true\nkeep = [\"a\", \"b\"]\n";
        let words = merged(toml, &["--epochs", "5"]).expect("valid");
        assert_eq!(words, ["--keep=a", "--keep=b", "--learning-rate=0.0002", "--resume", "--config", "--epochs"]);
    }

    #[test]
    fn a_stages_table_wins_over_the_top() {
        let words = merged("epochs = 3\n[train]\nepochs = 4\n[ingest]\nmap = \"x\"\n", &[]).expect("valid");
        assert_eq!(words, ["--epochs=4", "--config"]);
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let error = merged("epoch = 3\n", &[]).expect_err("unknown");
        assert!(error.ends_with("epoch is no option of retune-train; did you mean epochs?"), "{error}");
        let error = merged("[trian]\nepochs = 3\n", &[]).expect_err("unknown");
        assert!(error.contains("did you mean train?"), "{error}");
    }

    #[test]
    fn a_switch_takes_truth_only() {
        let error = merged("resume = 1\n", &[]).expect_err("not a truth");
        assert!(error.contains("expected true or false, found 1"), "{error}");
    }
}
