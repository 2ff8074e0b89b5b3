//! A metric that a command of the user computes: rows go in as JSON lines, one score a row comes out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use artifact::Predictions;
use cli::{Hint, Interrupt, Progress, Unit};
use metrics::{MeanOf, Score};
use serde_json::{Value, json};

/// A command with the name of its metric.
#[derive(Debug, Clone)]
pub(crate) struct Scorer {
    pub(crate) name: String,
    command: String,
    higher_is_better: bool,
}

/// What ends a command before its time.
#[derive(Debug)]
pub(crate) struct Limits {
    /// So long without a score.
    pub(crate) silence: Duration,
    /// The user's wish.
    pub(crate) interrupt: Interrupt,
}

/// How often these are looked at.
const TICK: Duration = Duration::from_millis(50);

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

    /// Scores predictions; nothing where the user asked to stop.
    pub(crate) fn score(&self, predictions: &Predictions, texts: &[String], limits: &Limits) -> Result<Option<Score>> {
        let Some(lines) = self.run(predictions, texts, limits)? else { return Ok(None) };
        if lines.len() != texts.len() {
            return Err(anyhow!("scorer {}: expected {} scores, found {}", self.name, texts.len(), lines.len()))
                .hint(EXPECTED);
        }
        let rows = lines.iter().enumerate().map(|(row, line)| {
            let value = serde_json::from_slice::<Value>(line).ok();
            let number = value.as_ref().and_then(|value| value.get("score").unwrap_or(value).as_f64());
            let found = String::from_utf8_lossy(line);
            number
                .ok_or_else(|| anyhow!("scorer {}, row {}: expected a number, found {found}", self.name, row + 1))
                .hint(EXPECTED)
        });
        Ok(Some(self.metric().score(rows.collect::<Result<_>>()?)))
    }

    /// The lines that the command writes.
    fn run(&self, predictions: &Predictions, texts: &[String], limits: &Limits) -> Result<Option<Vec<Vec<u8>>>> {
        let name = &self.name;
        let broke_off = || format!("scorer {name} broke off");
        let mut group =
            Group::spawn(&self.command).with_context(|| format!("cannot start the command of scorer {name}"))?;
        // Written and read beside each other, so that neither side waits for the other; a command that does not read all is
        // free to.
        let mut input = group.0.stdin.take().expect("it is piped");
        let rows = lines_of(predictions, texts);
        std::thread::spawn(move || input.write_all(&rows).ok());
        let output = BufReader::new(group.0.stdout.take().expect("it is piped"));
        let (sender, lines) = sync_channel(texts.len() + 1);
        std::thread::spawn(move || output.split(b'\n').try_for_each(|line| sender.send(line)));
        let bar = Progress::new(&format!("scorer {name}"), Some(texts.len() as u64), Unit::Rows);
        let (mut scores, mut newest) = (Vec::new(), Instant::now());
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    let line = line.with_context(broke_off)?;
                    if !line.trim_ascii().is_empty() {
                        scores.push(line);
                        newest = Instant::now();
                        bar.advance(1);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => match group.0.try_wait().with_context(broke_off)? {
                    Some(status) if status.success() => return Ok(Some(scores)),
                    Some(status) => return Err(anyhow!("scorer {name} failed: {status}")).hint(EXPECTED),
                    None => std::thread::sleep(TICK),
                },
            }
            // A command that never ends would fill the memory: one line too many is enough to know.
            if scores.len() > texts.len() {
                return Err(anyhow!("scorer {name}: expected {} scores, found more", texts.len())).hint(EXPECTED);
            }
            if limits.interrupt.requested() {
                return Ok(None);
            }
            if newest.elapsed() >= limits.silence {
                let (seconds, found, all) = (limits.silence.as_secs(), scores.len(), texts.len());
                return Err(anyhow!("scorer {name} was ended: no score came for {seconds} s, after {found} of {all}"))
                    .hint("look whether the command waits for something; --scorer-timeout SECONDS waits longer");
            }
        }
    }
}

/// Predictions as the command reads them.
fn lines_of(predictions: &Predictions, texts: &[String]) -> Vec<u8> {
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
    lines
}

/// A running command and all that it started: whoever lets go of it before its end ends them all.
struct Group(Child);

impl Group {
    fn spawn(command: &str) -> std::io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        Ok(Self(shell.spawn()?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Until it is waited for, no other process has its number.
        if matches!(self.0.try_wait(), Ok(None)) {
            let number = self.0.id().to_string();
            let _ = Command::new("sh").args(["-c", "kill -s KILL -- \"-$0\"", &number]).status();
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
