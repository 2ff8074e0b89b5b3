//! Checkpoints on disk: `checkpoints/step-NNNNNN/`, each whole or absent, and `checkpoints/best-NNNNNN/` with the
//! tensors of the best validation so far.
//!
//! ```text
//! step-000120/  adapter_config.json + adapter_model.safetensors, or config.json + model.safetensors
//!               optimizer.safetensors   NAME.first and NAME.second for each trained tensor
//!               state.json              identity of the run, and its progress
//!               examples.bin            loss of each example so far
//!               throughput.json         wall time of each step: the one file that differs from run to run
//! reference.json  log-probabilities of preference pairs under the reference, which is the model before the first step
//! ```
//!
//! Invariant: a best folder is removed only after a step folder that names a later one is in place, so the newest step
//! folder always finds the best that it speaks of.

use std::fs;
use std::path::{Path, PathBuf};

use super::history::History;
use anyhow::{Context, Result, anyhow};
use artifact::weights::{NamedTensor, Weights, write_weights_to};
use artifact::{Identity, ThroughputRow, files};
use cli::format::bytes;
use serde::{Deserialize, Serialize};
use training::{Moments, Progress, SavedState, Snapshot};

const STATE: &str = "state.json";
const OPTIMIZER: &str = "optimizer.safetensors";
const TIMES: &str = "throughput.json";
const EXAMPLES: &str = "examples.bin";

/// What `state.json` holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Which run this is a checkpoint of.
    pub(crate) identity: Identity,
    /// Where the run stands.
    pub(crate) progress: Progress,
}

/// The checkpoints of one output folder.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    save_every: usize,
}

impl Checkpoints {
    /// The checkpoints of the run that writes to `out`.
    pub(crate) fn of(out: &Path, keep: usize, save_every: usize) -> Self {
        Self { folder: out.join(files::CHECKPOINTS), keep: keep.max(1), save_every }
    }

    /// Clears away the checkpoint that a killed run was writing.
    pub(crate) fn remove_unfinished(&self) {
        files::remove_unfinished(&self.folder);
    }

    /// The folder of all of them.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of the newest checkpoint and its step.
    pub(crate) fn newest(&self) -> Option<(usize, PathBuf)> {
        let step = self.numbered("step-").pop()?;
        Some((step, self.step_folder(step)))
    }

    /// Folder of a checkpoint, there or not.
    pub(crate) fn step_folder(&self, step: usize) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }

    /// Folder of the best tensors of a step, there or not.
    pub(crate) fn best_folder(&self, step: usize) -> PathBuf {
        self.folder.join(format!("best-{step:06}"))
    }

    /// Removes every checkpoint.
    pub(crate) fn clear(&self) -> Result<()> {
        Ok(files::remove_folder_if_present(&self.folder)?)
    }

    /// Writes a checkpoint; `write_model` puts the trained tensors into the folder it is given.
    pub(crate) fn write(
        &self,
        snapshot: &Snapshot<'_>,
        identity: &Identity,
        times: &[ThroughputRow],
        history: &History,
        write_model: impl Fn(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.step_folder(snapshot.progress.step);
        self.check_space(snapshot.moments)?;
        files::write_folder_atomically(&path, |folder| -> Result<()> {
            write_model(folder)?;
            write_weights_to(&folder.join(OPTIMIZER), snapshot.moments.iter().flat_map(to_tensors).collect())?;
            let state = State { identity: identity.clone(), progress: snapshot.progress.clone() };
            files::write_atomically(&folder.join(EXAMPLES), &history.to_bytes())?;
            files::write_atomically(&folder.join(TIMES), &files::to_json(&times))?;
            files::write_atomically(&folder.join(STATE), &files::to_json(&state))?;
            Ok(())
        })
        .with_context(|| format!("cannot write the checkpoint {}", path.display()))?;
        self.prune(snapshot.progress)?;
        Ok(path)
    }

    /// Refuses to begin a checkpoint that the disk would not hold: three numbers for each trained element.
    fn check_space(&self, moments: &[Moments]) -> Result<()> {
        let needed = 12 * moments.iter().map(|moments| moments.first.len() as u64).sum::<u64>();
        match files::free_bytes(&self.folder) {
            Some(free) if free < needed => Err(anyhow!(
                "the disk is full: a checkpoint takes {}, and {} has {} free",
                bytes(needed),
                self.folder.display(),
                bytes(free)
            )),
            _ => Ok(()),
        }
    }

    /// Writes the tensors of the best validation so far. Older ones stay until the next checkpoint.
    pub(crate) fn write_best(&self, step: usize, write_model: impl Fn(&Path) -> Result<()>) -> Result<()> {
        files::write_folder_atomically(&self.best_folder(step), |folder| write_model(folder))
            .with_context(|| format!("cannot write {}", self.best_folder(step).display()))
    }

    /// Keeps the newest checkpoints of the schedule, and what the newest of all refers to. Checkpoints off the schedule
    /// were made by a stop request: they go first, so that in the end a folder does not show how often it was stopped.
    fn prune(&self, progress: &Progress) -> Result<()> {
        let mut kept = 0;
        for step in self.numbered("step-").into_iter().rev() {
            let newest = step == progress.step;
            let on_schedule = step.is_multiple_of(self.save_every);
            if newest || (on_schedule && kept < self.keep) {
                kept += 1;
            } else {
                files::remove_folder_if_present(&self.step_folder(step))?;
            }
        }
        for step in self.numbered("best-") {
            if progress.best.is_none_or(|best| best.step != step) {
                files::remove_folder_if_present(&self.best_folder(step))?;
            }
        }
        Ok(())
    }

    /// Numbers of the folders with this prefix, rising.
    fn numbered(&self, prefix: &str) -> Vec<usize> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let number = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok();
        let mut found: Vec<usize> = entries.flatten().filter_map(number).collect();
        found.sort_unstable();
        found
    }
}

/// Reads `state.json` of a checkpoint.
pub(crate) fn read_state(folder: &Path) -> Result<State> {
    files::read_json(&folder.join(STATE)).with_context(|| format!("{} is damaged", folder.display()))
}

/// Reads the optimizer's part of a checkpoint and joins it to its progress.
pub(crate) fn read_saved(folder: &Path, progress: Progress) -> Result<SavedState> {
    let path = folder.join(OPTIMIZER);
    let weights = Weights::open(&path)?;
    let floats = |name: &str| -> Result<(Vec<usize>, Vec<f32>)> {
        let tensor = weights.get(name).with_context(|| format!("{} lacks {name}", path.display()))?;
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
        Ok((tensor.shape.to_vec(), tensor.data.chunks_exact(4).map(float).collect()))
    };
    let moments = weights
        .names()
        .filter_map(|key| key.strip_suffix(".first"))
        .map(|name| {
            let (shape, first) = floats(&format!("{name}.first"))?;
            let (_, second) = floats(&format!("{name}.second"))?;
            Ok(Moments { name: name.to_owned(), shape, first, second })
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(SavedState { progress, moments })
}

/// Reads the step times of a checkpoint.
pub(crate) fn read_times(folder: &Path) -> Result<Vec<ThroughputRow>> {
    Ok(files::read_json(&folder.join(TIMES))?)
}

/// Reads the losses of examples of a checkpoint.
pub(crate) fn read_history(folder: &Path) -> Result<History> {
    let path = folder.join(EXAMPLES);
    History::from_bytes(&files::read(&path)?).with_context(|| format!("{} is damaged", path.display()))
}

fn to_tensors(moments: &Moments) -> [NamedTensor<'_>; 2] {
    let name = |suffix: &str| format!("{}.{suffix}", moments.name);
    let shape = || moments.shape.clone();
    [
        NamedTensor::of_floats(name("first"), shape(), &moments.first),
        NamedTensor::of_floats(name("second"), shape(), &moments.second),
    ]
}
