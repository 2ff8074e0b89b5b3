//! Where a run starts: from the beginning, or from its newest checkpoint. Nothing that took time to compute is thrown
//! away unasked.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use artifact::{Identity, Manifest, files};
use cli::{Hint, Outcome, Report};
use serde_json::json;
use training::Trainer;

use super::args::Args;
use super::base::Loaded;
use super::checkpoint::{self, Checkpoints, State};

/// The checkpoint to go on from; `None` for a start from the beginning.
pub(crate) fn starting_point(
    args: &Args,
    out: &Path,
    checkpoints: &Checkpoints,
    identity: &Identity,
) -> Result<Option<(PathBuf, State)>> {
    let (resume, force) = (args.watch.resume, args.output.force);
    let sealed = Manifest::read(out).ok().flatten();
    let Some((step, folder)) = checkpoints.newest() else {
        if let Some(other) = sealed.filter(|_| resume && !force) {
            return of_another_run(out, true, &identity.differences(&other.identity));
        }
        if resume {
            cli::note(&format!("{} holds no checkpoint: starting from the beginning", out.display()));
        }
        return Ok(None);
    };
    if force && !resume {
        return Ok(None);
    }
    let state = checkpoint::read_state(&folder).hint("--force starts over")?;
    let differences = identity.differences(&state.identity);
    if resume && differences.is_empty() {
        return Ok(Some((folder, state)));
    }
    if force {
        return Ok(None);
    }
    let finished = sealed.is_some_and(|manifest| manifest.identity == state.identity);
    if resume {
        return of_another_run(if finished { out } else { &folder }, finished, &differences);
    }
    if finished {
        return Ok(None);
    }
    Err(anyhow!("{} holds an unfinished run, saved after step {step}", out.display()))
        .hint("--resume goes on from there; --force throws it away and starts over; or choose another --out")
}

/// Nothing to go on from: whoever asked for it would lose what is there.
fn of_another_run<T>(place: &Path, finished: bool, differences: &[String]) -> Result<T> {
    let run = if finished { "a finished run" } else { "a checkpoint" };
    let what = differences.join("\n  ");
    Err(anyhow!("{} is {run} of other options or inputs:\n  {what}", place.display()))
        .hint("give the same options and inputs, or start over with --force, or choose another --out")
}

/// Refuses to start where the disk would not hold the checkpoints and the result.
pub(crate) fn check_space(out: &Path, loaded: &Loaded, keep: usize) -> Result<()> {
    let needed = loaded.checkpoint_bytes() * (keep.max(1) as u64 + 1) + 2 * loaded.result_bytes();
    match files::free_bytes(out) {
        Some(free) if free < needed => Err(anyhow!(
            "the checkpoints and the result take about {}, and {} has {} free",
            cli::format::bytes(needed),
            out.display(),
            cli::format::bytes(free)
        ))
        .hint("free space, choose another --out, or keep fewer with --keep-checkpoints"),
        _ => Ok(()),
    }
}

/// What a run says that was asked to stop.
pub(crate) fn interrupted(trainer: &Trainer<'_>, saved_at: Option<usize>) -> Outcome {
    let (step, steps) = (trainer.progress().step, trainer.total_steps());
    let text = match saved_at {
        Some(saved) => format!("stopped after step {saved} of {steps}; go on with:\n  {}", this_command("--resume")),
        None => format!("stopped after step {step} of {steps}; nothing new to save"),
    };
    Outcome::Interrupted(Report::new(text, &json!({ "interrupted": true, "step": step, "steps": steps })))
}

/// The command line of this process with one more flag.
fn this_command(flag: &str) -> String {
    let mut words: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
    if let Some(program) = words.first_mut() {
        "retune-train".clone_into(program);
    }
    if !words.iter().any(|word| word == flag) {
        words.push(flag.to_owned());
    }
    words.join(" ")
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
