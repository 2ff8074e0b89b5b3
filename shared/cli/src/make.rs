//! Under make, what a message says of flags is said of variables too.
//!
//! The Make engine hands each program the table by which it makes flags of variables, in `RETUNE_MAKE_VARIABLES`: words
//! `retune-STAGE`, `--flag=VARIABLE` of that stage, and `*=VARIABLE` for the one that takes all its other flags.

use std::collections::BTreeSet;
use std::env;

/// The table's environment variable.
const TABLE: &str = "RETUNE_MAKE_VARIABLES";
/// Flags that the engine sets itself, or that are of no use in a pipeline.
const OWN: [&str; 6] = ["--out", "--help", "--version", "--json", "--quiet", "--verbose"];

/// The text, with a line behind it that names the variables of its flags where make runs the program.
pub(crate) fn with_variables(text: &str) -> String {
    match variables(text) {
        Some(line) => format!("{}\n{line}", text.trim_end_matches('\n')),
        None => text.to_owned(),
    }
}

/// That line alone; nothing where no flag is named, or make does not run the program.
pub(crate) fn variables(text: &str) -> Option<String> {
    let table = env::var(TABLE).unwrap_or_default();
    let program = env::args().next().unwrap_or_default();
    let program = program.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".exe");
    named(text, &table, program).map(|line| format!("make: {line}"))
}

/// What the flags in a text are called in the pipeline; nothing without a table or flags. A flag belongs to the program that
/// its line named last, or to `program`.
fn named(text: &str, table: &str, program: &str) -> Option<String> {
    let rows = rows(table);
    let mut said = BTreeSet::new();
    let mut parts: Vec<String> = Vec::new();
    for line in text.lines() {
        // The command of the next stage, in words for a shell: make runs it.
        if line.starts_with("next:") {
            continue;
        }
        let mut of = program;
        for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|word| !word.is_empty()) {
            if word.starts_with("retune-") {
                of = word;
            }
            let flag = word.trim_end_matches('-');
            if !flag.starts_with("--") || flag.len() < 3 || OWN.contains(&flag) || said.contains(flag) {
                continue;
            }
            let variable = |name: &str| rows.iter().find(|row| row.0 == of && row.1 == name).map(|row| row.2);
            let part = match (variable(flag), variable("*")) {
                (Some(variable), _) => format!("{flag} is set by {variable}=…"),
                (None, Some(variable)) => format!("{flag} goes into {variable}='{flag} …'"),
                (None, None) => continue,
            };
            said.insert(flag.to_owned());
            parts.push(part);
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Program, flag, variable.
fn rows(table: &str) -> Vec<(&str, &str, &str)> {
    let mut program = "";
    let mut rows = Vec::new();
    for word in table.split_whitespace() {
        match word.split_once('=') {
            Some((flag, variable)) => rows.push((program, flag, variable)),
            None => program = word,
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "retune-ingest --split=SPLIT *=INGEST_FLAGS retune-tokenize --max-length=MAX_LENGTH *=TOKENIZE_FLAGS";

    fn said(text: &str) -> Option<String> {
        named(text, TABLE, "retune-tokenize")
    }

    #[test]
    fn flags_are_named_as_variables_of_the_program_they_belong_to() {
        assert_eq!(said("hint: raise --max-length, or --max-length 9").unwrap(), "--max-length is set by MAX_LENGTH=…");
        assert_eq!(
            said("retune-ingest --split train=0.5 keeps more\n--split-long goes").unwrap(),
            "--split is set by SPLIT=…, --split-long goes into TOKENIZE_FLAGS='--split-long …'"
        );
        assert_eq!(said("no flag - or -- here, see --help"), None);
        assert_eq!(said("retune-export --to gguf"), None);
        assert_eq!(said("next: retune-ingest x --split y"), None);
        assert_eq!(named("--max-length", "", "retune-tokenize"), None);
    }
}
