//! A metric that a command of the user computes: rows go in as JSON lines, one score a row comes out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use artifact::Predictions;
use cli::{Hint, Progress, Unit};
use metrics::{MeanOf, Score};
use serde_json::{Value, json};

/// A command with the name of its metric.
#[derive(Debug, Clone)]
pub(crate) struct Scorer {
    pub(crate) name: String,
    command: String,
    higher_is_better: bool,
}

const EXPECTED: &str = "the command reads one JSON object a line (id, prompt, prediction, references) on standard input \
    and writes one number a line, or an object with the field score, in the same order";

impl Scorer {
    /// Reads `NAME=COMMAND`; a name that ends in `-` is of an error rate, where less is better.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let usage =
            || cli::Usage(format!("--scorer {text}: expected NAME=COMMAND, such as length='jq .prediction|length'"));
        let (name, command) = text.split_once('=').ok_or_else(usage)?;
        let (name, higher_is_better) = match name.trim().strip_suffix('-') {
            Some(name) => (name, false),
            None => (name.trim(), true),
        };
        if name.is_empty() || command.trim().is_empty() {
            return Err(usage().into());
        }
        Ok(Self { name: name.to_owned(), command: command.trim().to_owned(), higher_is_better })
    }

    /// The metric that its rows make.
    pub(crate) fn metric(&self) -> MeanOf {
        MeanOf {
            name: self.name.clone(),
            signature: format!("command:{}|aggregate:mean", self.command),
            higher_is_better: self.higher_is_better,
        }
    }

    /// Scores predictions.
    pub(crate) fn score(&self, predictions: &Predictions, texts: &[String]) -> Result<Score> {
        let output = self.run(predictions, texts)?;
        let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        if lines.len() != texts.len() {
            return Err(anyhow!("scorer {}: expected {} scores, found {}", self.name, texts.len(), lines.len()))
                .hint(EXPECTED);
        }
        let rows = lines.iter().enumerate().map(|(row, line)| {
            let value = serde_json::from_str::<Value>(line).ok();
            let number = value.as_ref().and_then(|value| value.get("score").unwrap_or(value).as_f64());
            number
                .ok_or_else(|| anyhow!("scorer {}, row {}: expected a number, found {line}", self.name, row + 1))
                .hint(EXPECTED)
        });
        Ok(self.metric().score(rows.collect::<Result<_>>()?))
    }

    fn run(&self, predictions: &Predictions, texts: &[String]) -> Result<String> {
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the command of scorer {}", self.name))?;
        let mut input = child.stdin.take().expect("it is piped");
        let mut lines = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let line = json!({
                "id": predictions.id[row],
                "prompt": predictions.prompt[row],
                "prediction": text,
                "reference": predictions.reference[row].first(),
                "references": predictions.reference[row],
            });
            lines.extend(line.to_string().into_bytes());
            lines.push(b'\n');
        }
        // Written beside the reading, so that neither side waits for the other; a command that does not read all is free to.
        let writer = std::thread::spawn(move || input.write_all(&lines).ok());
        let broke_off = || format!("scorer {} broke off", self.name);
        let mut output = Vec::new();
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let bar = Progress::new(&format!("scorer {}", self.name), Some(texts.len() as u64), Unit::Rows);
        // A command that never ends would fill the memory: one line too many is enough to know.
        for _ in 0..=texts.len() {
            if lines.read_until(b'\n', &mut output).with_context(broke_off)? == 0 {
                break;
            }
            bar.advance(1);
        }
        let more = !lines.fill_buf().with_context(broke_off)?.is_empty();
        if more {
            let _ = child.kill();
        }
        drop(lines);
        let status = child.wait().with_context(broke_off)?;
        let _ = writer.join();
        if more {
            return Err(anyhow!("scorer {}: expected {} scores, found more", self.name, texts.len())).hint(EXPECTED);
        }
        if !status.success() {
            return Err(anyhow!("scorer {} failed: {status}", self.name)).hint(EXPECTED);
        }
        String::from_utf8(output).with_context(|| format!("scorer {} wrote what is no UTF-8", self.name))
    }
}
