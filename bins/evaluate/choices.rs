//! Multiple choice by log-likelihood, counted as lm-evaluation-harness does: the choice whose text the model finds most
//! likely after the question is its answer; `acc_norm` divides by the number of characters first.

use std::path::Path;

use anyhow::{Result, anyhow};
use artifact::{FinishedFile, IGNORED, OutputFolder, PlainColumn, write_plain_table};
use cli::Hint;
use dataset::inputs::discover;
use dataset::records::{Record, as_text, for_each};
use encoding::{Specials, Tokenizer};
use metrics::LossTotals;
use serde::Serialize;
use serde_json::Value;

use crate::loss::{ExampleTotals, Tokens};

/// One question.
#[derive(Debug, Clone, PartialEq)]
struct Question {
    prompt: String,
    choices: Vec<String>,
    answer: usize,
}

/// All questions, laid out for the model: one sequence for each choice.
#[derive(Debug)]
pub(crate) struct Questions {
    questions: Vec<Question>,
    tokens: Tokens,
}

/// What a model answered to each question: by likelihood, and by likelihood per character.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answers {
    plain: Vec<usize>,
    normalised: Vec<usize>,
}

/// The share of right answers with its standard error.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct ChoiceSummary {
    /// Questions.
    pub(crate) questions: usize,
    /// By likelihood.
    pub(crate) acc: f64,
    /// Its standard error.
    pub(crate) acc_stderr: f64,
    /// By likelihood per character.
    pub(crate) acc_norm: f64,
    /// Its standard error.
    pub(crate) acc_norm_stderr: f64,
}

const EXPECTED: &str = "each question needs prompt (or question), choices (a list) and answer (a number from 0, a letter, or the choice itself)";

impl Questions {
    /// Reads questions in any format that ingest reads.
    pub(crate) fn read(path: &Path, tokenizer: &Tokenizer, context: usize) -> Result<Self> {
        let mut questions = Vec::new();
        let read = for_each(&discover(&[path.to_string_lossy().into_owned()])?.inputs, &mut |_, record| {
            questions.push(question(record).map_err(|error| error.to_string())?);
            Ok(())
        });
        read.hint(EXPECTED)?;
        if questions.is_empty() {
            return Err(anyhow!("{} has no questions", path.display())).hint(EXPECTED);
        }
        let mut tokens = Tokens::default();
        for (number, question) in questions.iter().enumerate() {
            for (place, choice) in question.choices.iter().enumerate() {
                let (input, targets) = sequence(&question.prompt, choice, tokenizer, context)
                    .map_err(|error| error.context(format!("{} question {}", path.display(), number + 1)))?;
                let example = ExampleTotals {
                    id: format!("{}-{}", number + 1, place),
                    source_file: String::new(),
                    source_row: number as u64 + 1,
                    totals: LossTotals::default(),
                };
                tokens.add(input, targets, Some(example));
            }
        }
        Ok(Self { questions, tokens })
    }

    /// Lets a model choose.
    pub(crate) fn answers(&self, decoder: &model::Decoder, label: &str) -> Result<Answers> {
        let measured = self.tokens.measure_in_order(decoder, label)?;
        let mut rest = measured.as_slice();
        let mut answers = Answers { plain: Vec::new(), normalised: Vec::new() };
        for question in &self.questions {
            let (own, after) = rest.split_at(question.choices.len());
            rest = after;
            let likelihood = |place: usize| -own[place].totals.loss_sum;
            let characters = |place: usize| question.choices[place].chars().count().max(1) as f64;
            answers.plain.push(first_largest(own.len(), likelihood));
            answers.normalised.push(first_largest(own.len(), |place| likelihood(place) / characters(place)));
        }
        Ok(answers)
    }

    /// How often a model was right.
    pub(crate) fn summary(&self, answers: &Answers) -> ChoiceSummary {
        let share = |chosen: &[usize]| {
            let right = chosen.iter().zip(&self.questions).filter(|(chosen, question)| **chosen == question.answer);
            right.count() as f64 / self.questions.len() as f64
        };
        // The standard error of a mean of zeros and ones, from the sample's deviation.
        let error = |share: f64| (share * (1.0 - share) / (self.questions.len() as f64 - 1.0)).sqrt();
        let (acc, acc_norm) = (share(&answers.plain), share(&answers.normalised));
        ChoiceSummary {
            questions: self.questions.len(),
            acc,
            acc_stderr: error(acc),
            acc_norm,
            acc_norm_stderr: error(acc_norm),
        }
    }

    /// Writes what was asked and answered.
    pub(crate) fn write(
        &self,
        folder: &OutputFolder,
        tuned: &Answers,
        baseline: Option<&Answers>,
    ) -> Result<FinishedFile> {
        let counts = |values: &[usize]| PlainColumn::Count(values.iter().map(|&value| value as u64).collect());
        let right: Vec<usize> = self.questions.iter().map(|question| question.answer).collect();
        let mut columns = vec![
            ("prompt", PlainColumn::Text(self.questions.iter().map(|question| question.prompt.clone()).collect())),
            ("answer", counts(&right)),
            ("tuned", counts(&tuned.plain)),
            ("tuned_norm", counts(&tuned.normalised)),
        ];
        if let Some(baseline) = baseline {
            columns.push(("baseline", counts(&baseline.plain)));
            columns.push(("baseline_norm", counts(&baseline.normalised)));
        }
        Ok(write_plain_table(folder.stage(artifact::files::CHOICES)?, columns)?)
    }
}

/// The first place with the largest value.
fn first_largest(places: usize, value: impl Fn(usize) -> f64) -> usize {
    (0..places).fold(0, |best, place| if value(place) > value(best) { place } else { best })
}

fn question(record: &Record) -> Result<Question> {
    let first =
        |names: &[&str]| names.iter().find_map(|name| record.get(name).filter(|value| !value.is_null())).cloned();
    let prompt = first(&["prompt", "question", "context", "query"]).ok_or_else(|| anyhow!("no prompt"))?;
    let (choices, labels) = match first(&["choices", "options", "endings"]) {
        Some(Value::Array(choices)) => (choices.iter().map(as_text).collect::<Vec<_>>(), Vec::new()),
        Some(Value::Object(lists)) => {
            let list = |name: &str| lists.get(name).and_then(Value::as_array).map(|l| l.iter().map(as_text).collect());
            (list("text").unwrap_or_default(), list("label").unwrap_or_default())
        }
        _ => return Err(anyhow!("no list of choices")),
    };
    if choices.len() < 2 || choices.iter().any(String::is_empty) {
        let empty = choices.iter().filter(|choice| choice.is_empty()).count();
        return Err(anyhow!(
            "expected at least two choices, each with text, found {}, {empty} of them empty",
            choices.len()
        ));
    }
    let given = first(&["answer", "answerKey", "label", "gold"]).ok_or_else(|| anyhow!("no answer"))?;
    let answer = place(&given, &choices, &labels)
        .ok_or_else(|| anyhow!("the answer {given} is none of the {} choices", choices.len()))?;
    Ok(Question { prompt: as_text(&prompt), choices, answer })
}

/// Which choice an answer names.
fn place(given: &Value, choices: &[String], labels: &[String]) -> Option<usize> {
    let text = as_text(given);
    if let Some(place) = labels.iter().position(|label| *label == text) {
        return Some(place);
    }
    if let Some(number) = given.as_u64() {
        return Some(number as usize).filter(|&number| number < choices.len());
    }
    if let Some(place) = choices.iter().position(|choice| *choice == text) {
        return Some(place);
    }
    let letter = match text.trim().as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(usize::from(letter.to_ascii_uppercase() - b'A')),
        _ => text.trim().parse().ok(),
    };
    letter.filter(|&place| place < choices.len())
}

/// What the model reads, and the tokens of the choice as targets. The harness's way: prompt, a space unless the choice begins
/// with one, the choice; white space at the prompt's end belongs to the choice; a prompt without text is the opening token; what is too long loses
/// its beginning.
fn sequence(prompt: &str, choice: &str, tokenizer: &Tokenizer, context: usize) -> Result<(Vec<u32>, Vec<i32>)> {
    let trimmed = prompt.trim_end();
    let space = if choice.starts_with(char::is_whitespace) { "" } else { " " };
    let continuation = format!("{}{space}{choice}", &prompt[trimmed.len()..]);
    let encode = |text: &str| Ok::<_, anyhow::Error>(tokenizer.encode(text, Specials::None)?.ids);
    let (mut whole, before) = if trimmed.is_empty() {
        let opening =
            tokenizer.bos().or(tokenizer.eos()).ok_or_else(|| anyhow!("an empty prompt, and no opening token"))?;
        let mut whole = vec![opening];
        whole.extend(encode(&continuation)?);
        (whole, 1)
    } else {
        (encode(&format!("{trimmed}{continuation}"))?, encode(trimmed)?.len())
    };
    let asked = whole.len().saturating_sub(before);
    if asked == 0 || asked > context {
        return Err(anyhow!("a choice of {asked} tokens cannot be scored within a context of {context}"));
    }
    whole.drain(..whole.len().saturating_sub(context + 1));
    let mut targets: Vec<i32> = whole[1..].iter().map(|&id| id as i32).collect();
    let from = targets.len() - asked.min(targets.len());
    targets[..from].fill(IGNORED);
    whole.pop();
    Ok((whole, targets))
}
