//! `--compare`: finished runs side by side, what changed in their settings and what changed in their results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{Committed, Manifest, OutputFolder, files, hash_file};
use cli::{Hint, Outcome, Report};
use report::{Block, Cell, Document, Section, Table, Tone, Verdict, decimal, signed, table_text};
use serde_json::{Value, json};

/// One run: its settings and its results, by name.
struct RunFacts {
    name: String,
    settings: BTreeMap<String, String>,
    results: BTreeMap<String, Finding>,
    manifests: Vec<PathBuf>,
}

/// A figure, and whether less of it is better; none where neither is.
#[derive(Clone, Copy)]
struct Finding {
    value: f64,
    higher_is_better: Option<bool>,
}

impl Finding {
    /// The figure as it is shown: what counts steps has no decimals.
    fn text(self) -> String {
        let whole = self.higher_is_better.is_none() && self.value >= 0.0 && self.value.fract() == 0.0;
        if whole { report::count(self.value as u64) } else { decimal(self.value) }
    }
}

/// Folders of a pipeline's run, in the order of the stages.
const STAGES: [&str; 5] = ["data", "tokens", "model", "eval", "test"];

/// Compares runs; with `out` the comparison is written there too.
pub(crate) fn run(paths: &[PathBuf], out: Option<&Path>) -> Result<Outcome> {
    let runs: Vec<RunFacts> =
        names(paths).into_iter().zip(paths).map(|(name, path)| RunFacts::read(name, path)).collect::<Result<_>>()?;
    let settings = changed_settings(&runs);
    let results = results(&runs);
    let document = document(&runs, settings.clone(), results.clone());
    let json = json!({
        "runs": runs.iter().map(|run| &run.name).collect::<Vec<_>>(),
        "settings": values(&runs, |run| run.settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect()),
        "results": values(&runs, |run| run.results.iter().map(|(k, v)| (k.clone(), json!(v.value))).collect()),
    });
    let mut text =
        format!("What changed in the settings\n{}\nResults\n{}", table_text(&settings), table_text(&results));
    if let Some(out) = out {
        let mut inputs = Vec::new();
        for (number, run) in runs.iter().enumerate() {
            for manifest in &run.manifests {
                inputs.push(hash_file(manifest, format!("run {}", number + 1))?);
            }
        }
        let identity = cli::identity("retune-evaluate", &json!({ "compare": runs.len() }), inputs);
        let folder = OutputFolder::open(out)?;
        let outputs = retune::pages::stage(&folder, &document)?;
        folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: json.clone() })?;
        text.push_str(&format!("report: {}", out.join(files::REPORT_HTML).display()));
    }
    Ok(Outcome::Done(Report { text: text.trim_end().to_owned(), json }))
}

/// The shortest ends of the paths that tell the runs apart.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths
        .iter()
        .map(|path| path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect())
        .collect();
    let longest = parts.iter().map(Vec::len).max().unwrap_or(1);
    let ends = |length: usize| -> Vec<String> {
        parts.iter().map(|parts| parts[parts.len().saturating_sub(length)..].join("/")).collect()
    };
    let distinct = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    (1..=longest).map(ends).find(|names| distinct(names)).unwrap_or_else(|| {
        ends(longest).into_iter().enumerate().map(|(number, name)| format!("{name} ({})", number + 1)).collect()
    })
}

impl RunFacts {
    fn read(name: String, path: &Path) -> Result<Self> {
        let mut run = Self { name, settings: BTreeMap::new(), results: BTreeMap::new(), manifests: Vec::new() };
        let folders = std::iter::once(path.to_path_buf()).chain(STAGES.map(|stage| path.join(stage)));
        for folder in folders {
            if let Some(manifest) = Manifest::read(&folder)? {
                run.manifests.push(folder.join(artifact::MANIFEST));
                run.add(&manifest);
            }
        }
        if run.manifests.is_empty() {
            return Err(anyhow!("{} is no run: neither it nor a folder in it has a manifest.json", path.display()))
                .hint("name a folder that a stage finished, or the folder of a pipeline's run");
        }
        Ok(run)
    }

    fn add(&mut self, manifest: &Manifest) {
        let stage = manifest.identity.stage.trim_start_matches("retune-");
        for (name, value) in &manifest.identity.options {
            let text = match value {
                Value::Null => "not set".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.settings.insert(format!("{stage} {name}"), text);
        }
        if let Some(seed) = manifest.seed {
            self.settings.insert(format!("{stage} seed"), seed.to_string());
        }
        for input in &manifest.identity.inputs {
            let hash: String = input.sha256.chars().take(12).collect();
            self.settings.insert(format!("{stage} input {}", input.name), hash);
        }
        let summary = &manifest.summary;
        match stage {
            "train" => {
                self.figures(
                    summary,
                    "train",
                    &[("loss_last", Some(false)), ("steps", None), ("tokens_per_second", Some(true))],
                );
                self.figures(
                    &summary["validation"],
                    "train validation",
                    &[("best", Some(false)), ("last", Some(false)), ("best_step", None)],
                );
            }
            "evaluate" => {
                let wanted = [
                    ("loss", Some(false)),
                    ("perplexity", Some(false)),
                    ("token_accuracy", Some(true)),
                    ("bits_per_byte", Some(false)),
                ];
                self.figures(&summary["tuned"], "evaluate tuned", &wanted);
                self.figures(&summary["baseline"], "evaluate base", &wanted[..1]);
                self.figures(&summary["general"]["tuned"], "evaluate general text", &wanted[..1]);
                self.figures(
                    &summary["choices"]["tuned"],
                    "evaluate choices",
                    &[("acc", Some(true)), ("acc_norm", Some(true))],
                );
            }
            "test" => {
                for (name, metric) in summary["metrics"].as_object().into_iter().flatten() {
                    let better = metric["higher_is_better"].as_bool();
                    self.figure(format!("test {name}"), &metric["tuned"], better);
                    self.figure(format!("test {name}, base"), &metric["baseline"], better);
                }
            }
            _ => {}
        }
    }

    fn figures(&mut self, summary: &Value, prefix: &str, names: &[(&str, Option<bool>)]) {
        for (name, better) in names {
            self.figure(format!("{prefix} {name}"), &summary[*name], *better);
        }
    }

    fn figure(&mut self, name: String, value: &Value, higher_is_better: Option<bool>) {
        if let Some(value) = value.as_f64() {
            self.results.insert(name, Finding { value, higher_is_better });
        }
    }
}

/// Each name with its value in each run, null where a run has none.
fn values(runs: &[RunFacts], of: impl Fn(&RunFacts) -> BTreeMap<String, Value>) -> Value {
    let all: Vec<BTreeMap<String, Value>> = runs.iter().map(of).collect();
    let names: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let list =
        |name: &String| Value::Array(all.iter().map(|run| run.get(name).cloned().unwrap_or(Value::Null)).collect());
    Value::Object(names.into_iter().map(|name| (name.clone(), list(name))).collect())
}

fn headings(first: &str, runs: &[RunFacts], numeric: bool) -> Table {
    let mark = if numeric { "#" } else { "" };
    let names: Vec<String> = runs.iter().map(|run| format!("{mark}{}", run.name)).collect();
    let columns: Vec<&str> = std::iter::once(first).chain(names.iter().map(String::as_str)).collect();
    Table::new("", &columns)
}

fn changed_settings(runs: &[RunFacts]) -> Table {
    let mut table = headings("setting", runs, false);
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort_by_key(|name| (is_input(name), stage_place(name)));
    let mut seen = BTreeSet::new();
    for name in names {
        let values: Vec<Option<&String>> = runs.iter().map(|run| run.settings.get(name)).collect();
        // A file that several stages read is one input.
        let file = name.split_once(INPUT).map(|(_, file)| (file.rsplit('/').next(), values.clone()));
        if values.iter().any(|value| *value != values[0]) && file.is_none_or(|file| seen.insert(file)) {
            table.push(std::iter::once(name.clone()).chain(shown(&values)));
        }
    }
    table
}

/// What stands between stage and name where a setting is the hash of an input.
const INPUT: &str = " input ";

fn is_input(name: &str) -> bool {
    name.contains(INPUT)
}

/// Where the stage that a name begins with comes in a pipeline.
fn stage_place(name: &str) -> usize {
    let order = ["ingest", "tokenize", "train", "evaluate", "test"];
    order.iter().position(|stage| name.starts_with(stage)).unwrap_or(order.len())
}

/// The values as cells show them: of lists only the items that some run lacks, and how many all share.
fn shown(values: &[Option<&String>]) -> Vec<String> {
    let whole = || values.iter().map(|value| value.map_or("–".to_owned(), Clone::clone)).collect();
    let list = |value: Option<&String>| serde_json::from_str::<Vec<Value>>(value?).ok();
    let Some(lists) = values.iter().copied().map(list).collect::<Option<Vec<_>>>() else { return whole() };
    let shared = |item: &Value| lists.iter().all(|list| list.contains(item));
    let common = lists[0].iter().filter(|item| shared(item)).count();
    let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
    let cell = |list: &Vec<Value>| {
        let own: Vec<String> = list.iter().filter(|item| !shared(item)).map(text).collect();
        match (own.is_empty(), common) {
            (true, 0) => "none".to_owned(),
            (false, 0) => own.join(", "),
            (true, _) => format!("the {common} that all have"),
            (false, _) => format!("{} and the {common} that all have", own.join(", ")),
        }
    };
    let cells: Vec<String> = lists.iter().map(cell).collect();
    // The same items in another order differ too.
    if cells.iter().all(|cell| *cell == cells[0]) { whole() } else { cells }
}

/// Every figure; of all runs but the first with the difference to it.
fn results(runs: &[RunFacts]) -> Table {
    let mut table = headings("result", runs, true);
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.results.keys()).collect();
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort_by_key(|name| stage_place(name));
    for name in names {
        let first = runs[0].results.get(name);
        let cell = |(number, run): (usize, &RunFacts)| match (run.results.get(name), first) {
            (None, _) => Cell::plain("–"),
            (Some(own), Some(first)) if number > 0 => {
                let difference = own.value - first.value;
                let tone = match own.higher_is_better {
                    _ if difference == 0.0 => Tone::Neutral,
                    Some(higher) if higher == (difference > 0.0) => Tone::Good,
                    Some(_) => Tone::Bad,
                    None => Tone::Neutral,
                };
                Cell::toned(format!("{} ({})", own.text(), signed(difference)), tone)
            }
            (Some(own), _) => Cell::plain(own.text()),
        };
        let cells = runs.iter().enumerate().map(cell);
        table.rows.push(std::iter::once(Cell::plain(name.clone())).chain(cells).collect());
    }
    table
}

fn document(runs: &[RunFacts], settings: Table, results: Table) -> Document {
    let sentence = match settings.rows.len() {
        0 => "The runs have the same settings and inputs.".to_owned(),
        1 => format!("The runs differ in one setting: {}.", settings.rows[0][0].text),
        many => {
            let inputs = settings.rows.iter().filter(|row| is_input(&row[0].text)).count() as u64;
            let (options, inputs) =
                (cli::format::plural(many as u64 - inputs, "option"), cli::format::plural(inputs, "input"));
            format!("The runs differ in {options} and {inputs}.")
        }
    };
    let counted = |number: usize, tone| results.rows.iter().filter(|row| row[number + 1].tone == tone).count() as u64;
    let notes = (1..runs.len()).map(|number| {
        let (better, worse) = (counted(number, Tone::Good), counted(number, Tone::Bad));
        let better = cli::format::plural(better, "figure");
        format!("{} is better than {} in {better} and worse in {worse}.", runs[number].name, runs[0].name)
    });
    let verdict = Verdict { notes: notes.collect(), ..Verdict::new(Tone::Neutral, sentence) };
    let lead = "Of all runs but the first, the difference to the first stands in brackets.";
    Document {
        title: "Runs side by side".to_owned(),
        subtitle: runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(" · "),
        verdict,
        sections: vec![
            Section::new("Results", lead).with(Block::Table(results)),
            Section::new("Settings that differ", "Options, seeds, and inputs by the first digits of their hashes.")
                .with(Block::Table(settings)),
        ],
    }
}
