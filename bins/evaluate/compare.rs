//! `--compare`: finished runs side by side, what changed in their settings and what changed in their results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{Committed, Manifest, OutputFolder, files, hash_file};
use cli::{Hint, Outcome, Report};
use report::{Block, Cell, Document, Section, Table, Tone, Verdict, decimal, signed, table_text_within};
use serde_json::{Value, json};

use crate::args::Args;

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
        if self.is_count() { report::count(self.value as u64) } else { decimal(self.value) }
    }

    fn is_count(self) -> bool {
        self.higher_is_better.is_none() && self.value >= 0.0 && self.value.fract() == 0.0
    }

    /// The figure with its difference to that of another run.
    fn beside(self, first: Self) -> String {
        let difference = self.value - first.value;
        let shown = match difference {
            _ if !(self.is_count() && first.is_count()) || difference == 0.0 => signed(difference),
            _ => format!("{}{}", if difference < 0.0 { '−' } else { '+' }, report::count(difference.abs() as u64)),
        };
        format!("{} ({shown})", self.text())
    }
}

/// The stages of a pipeline in their order, each with its folder in a run.
const STAGES: [(&str, &str); 5] =
    [("ingest", "data"), ("tokenize", "tokens"), ("train", "model"), ("evaluate", "eval"), ("test", "test")];

/// Compares runs: the tables are the data that is asked for, or with `--out` a folder with all of it.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let paths = &args.compare;
    let runs: Vec<RunFacts> =
        names(paths).into_iter().zip(paths).map(|(name, path)| RunFacts::read(name, path)).collect::<Result<_>>()?;
    let incomparable: Vec<String> = runs.iter().skip(1).filter_map(|run| other_data(run, &runs[0])).collect();
    let tables = Tables { results: results(&runs), settings: changed(&runs, false), inputs: changed(&runs, true) };
    let json = json!({
        "runs": runs.iter().map(|run| &run.name).collect::<Vec<_>>(),
        "settings": values(&runs, |run| run.settings.iter().map(|(k, v)| (k.clone(), json!(v))).collect()),
        "results": values(&runs, |run| run.results.iter().map(|(k, v)| (k.clone(), json!(v.value))).collect()),
    });
    let mut text = tables.text(cli::width());
    text.extend(incomparable.iter().map(|why| format!("\n{why}\n")));
    if let Some(out) = args.output.out.as_deref() {
        let mut inputs = Vec::new();
        for (number, run) in runs.iter().enumerate() {
            for manifest in &run.manifests {
                inputs.push(hash_file(manifest, format!("run {}", number + 1))?);
            }
        }
        let identity = cli::identity("retune-evaluate", &json!({ "compare": runs.len() }), inputs);
        let inputs = paths.iter().map(PathBuf::as_path);
        cli::refuse_to_replace(("--out", out), "retune-evaluate", inputs, args.output.force)?;
        let folder = OutputFolder::open(out)?;
        let outputs = retune::pages::stage(&folder, &tables.document(&runs))?;
        folder.commit(Committed { outputs, identity, seed: None, rows: None, summary: json.clone() })?;
        text.push_str(&format!("report: {}", out.join(files::REPORT_HTML).display()));
    } else if !args.common.json {
        cli::print(&std::mem::take(&mut text))?;
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
        let folders = std::iter::once(path.to_path_buf()).chain(STAGES.map(|(_, folder)| path.join(folder)));
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
        let stage = short(&manifest.identity.stage);
        // What a stage's own manifest says counts more than what one that read its result remembers.
        for (stage, options) in &manifest.identity.earlier {
            for (name, value) in options {
                self.settings.entry(format!("{} {name}", short(stage))).or_insert_with(|| text(value));
            }
        }
        for (name, value) in &manifest.identity.options {
            self.settings.insert(format!("{stage} {name}"), text(value));
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

    /// The inputs on which figures of this run were measured, where those of another were measured on other content.
    fn measured_otherwise<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        const DATA: [&str; 3] = ["train input validation.parquet", "evaluate input tokens/", "test input test.parquet"];
        DATA.into_iter().flat_map(move |data| {
            let files = |run: &'a Self| run.settings.iter().filter(move |(name, _)| name.starts_with(data));
            // Where no file has a counterpart, as those of different splits, all differ.
            let strangers = files(other).count() > 0 && files(self).all(|(name, _)| !other.settings.contains_key(name));
            files(self)
                .filter(move |(name, hash)| other.settings.get(*name).map_or(strangers, |known| known != *hash))
                .map(|(name, _)| name.as_str())
        })
    }

    /// Whether the figures of a stage were measured on the same content in both runs.
    fn compares(&self, other: &Self, stage: &str) -> bool {
        self.measured_otherwise(other).all(|input| input.split(' ').next() != Some(stage))
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

/// A stage as people call it.
fn short(stage: &str) -> &str {
    stage.trim_start_matches("retune-")
}

/// An option as people read it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "not set".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => retune::pages::words(value),
        other => other.to_string(),
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

/// Options and seeds that differ, or the hashes of inputs that do.
fn changed(runs: &[RunFacts], inputs: bool) -> Table {
    let mut table = headings(if inputs { "input" } else { "setting" }, runs, false);
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let mut names: Vec<&String> = names.into_iter().filter(|name| name.contains(INPUT) == inputs).collect();
    names.sort_by_key(|name| stage_place(name));
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

/// Where the stage that a name begins with comes in a pipeline.
fn stage_place(name: &str) -> usize {
    STAGES.iter().position(|(stage, _)| name.starts_with(stage)).unwrap_or(STAGES.len())
}

/// Characters of a list that is shown whole.
const SHORT_LIST: usize = 48;

/// The values as cells show them: of long lists only the items that some run lacks, and how many all share.
fn shown(values: &[Option<&String>]) -> Vec<String> {
    let whole = || values.iter().map(|value| value.map_or("–".to_owned(), Clone::clone)).collect();
    let list = |value: Option<&String>| serde_json::from_str::<Vec<Value>>(value?).ok();
    let Some(lists) = values.iter().copied().map(list).collect::<Option<Vec<_>>>() else { return whole() };
    let shared = |item: &Value| lists.iter().all(|list| list.contains(item));
    let common = lists[0].iter().filter(|item| shared(item)).count();
    let common = if values.iter().flatten().all(|value| value.len() <= SHORT_LIST) { 0 } else { common };
    let shared = |item: &Value| common > 0 && shared(item);
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
        let stage = name.split(' ').next().unwrap_or_default();
        let cell = |(number, run): (usize, &RunFacts)| match (run.results.get(name), first) {
            (None, _) => Cell::plain("–"),
            (Some(own), Some(first)) if number > 0 => {
                let difference = own.value - first.value;
                let tone = match own.higher_is_better {
                    _ if difference == 0.0 || !run.compares(&runs[0], stage) => Tone::Neutral,
                    Some(higher) if higher == (difference > 0.0) => Tone::Good,
                    Some(_) => Tone::Bad,
                    None => Tone::Neutral,
                };
                Cell::toned(own.beside(*first), tone)
            }
            (Some(own), _) => Cell::plain(own.text()),
        };
        let cells = runs.iter().enumerate().map(cell);
        table.rows.push(std::iter::once(Cell::plain(name.clone())).chain(cells).collect());
    }
    table
}

/// What the runs have in common is left out.
struct Tables {
    results: Table,
    settings: Table,
    inputs: Table,
}

impl Tables {
    /// What the terminal shows, in lines of no more than `width` characters where that can be.
    fn text(&self, width: usize) -> String {
        let mut text = format!("{}\n", self.sentence());
        let parts = [
            ("Settings that differ", &self.settings),
            ("Inputs that differ", &self.inputs),
            ("Results", &self.results),
        ];
        for (title, table) in parts.into_iter().filter(|(_, table)| !table.rows.is_empty()) {
            text.push_str(&format!("\n{title}\n{}", table_text_within(table, width)));
        }
        text
    }

    fn sentence(&self) -> String {
        match (self.settings.rows.as_slice(), self.inputs.rows.len()) {
            ([], 0) => "The runs have the same settings and inputs.".to_owned(),
            ([], inputs) => {
                format!("The runs differ in {}, not in settings.", cli::format::plural(inputs as u64, "input"))
            }
            ([one], _) => format!("The runs differ in one setting: {}.", told(one)),
            (many, _) => format!("The runs differ in {}.", cli::format::plural(many.len() as u64, "setting")),
        }
    }

    fn document(self, runs: &[RunFacts]) -> Document {
        let counted =
            |number: usize, tone| self.results.rows.iter().filter(|row| row[number + 1].tone == tone).count() as u64;
        let notes = (1..runs.len()).flat_map(|number| {
            let note = other_data(&runs[number], &runs[0]);
            let (better, worse) = (counted(number, Tone::Good), counted(number, Tone::Bad));
            let none = note.is_some() && better + worse == 0;
            let better = cli::format::plural(better, "figure");
            let (own, first) = (&runs[number].name, &runs[0].name);
            let judged = (!none).then(|| format!("{own} is better than {first} in {better} and worse in {worse}."));
            note.into_iter().chain(judged)
        });
        let verdict = Verdict { notes: notes.collect(), ..Verdict::new(Tone::Neutral, self.sentence()) };
        let sections = [
            ("Results", "Of all runs but the first, the difference to the first stands in brackets.", self.results),
            ("Settings that differ", "Options and seeds of each stage, as the manifests have them.", self.settings),
            (
                "Inputs that differ",
                "Files by the first digits of their hashes. What a stage wrote differs wherever its settings do.",
                self.inputs,
            ),
        ];
        let sections = sections.into_iter().filter(|(.., table)| !table.rows.is_empty());
        Document {
            title: "Runs side by side".to_owned(),
            subtitle: runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(" · "),
            verdict,
            sections: sections
                .map(|(title, lead, table)| Section::new(title, lead).with(Block::Table(table)))
                .collect(),
        }
    }
}

/// That some figures of two runs do not compare, and which.
fn other_data(run: &RunFacts, first: &RunFacts) -> Option<String> {
    let inputs: Vec<String> = run.measured_otherwise(first).map(|name| name.replace(INPUT, " ")).collect();
    let (own, other) = (&run.name, &first.name);
    (!inputs.is_empty()).then(|| {
        format!(
            "{own} and {other} were measured on files that differ ({}): these figures need not tell which is better.",
            inputs.join(", ")
        )
    })
}

/// The name of a row, and where they are short its values.
fn told(row: &[Cell]) -> String {
    const LONGEST: usize = 80;
    let values = row[1..].iter().map(|cell| cell.text.as_str()).collect::<Vec<_>>().join(" against ");
    let name = &row[0].text;
    if values.chars().count() > LONGEST { name.clone() } else { format!("{name} {values}") }
}
