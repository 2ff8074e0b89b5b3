//! How training strings the libraries together: find and check everything, load, train, seal the folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{
    Committed, FinishedFile, Identity, MetricsRow, OutputFolder, PreferenceMetrics, Rows, files, write_metrics,
    write_throughput,
};
use cli::{Interrupt, Outcome, Progress as Bar, Report as Answer, Unit};
use model::Decoder;
use training::preference::{PreferenceRecord, Reference};
use training::{Options, Row, StepRecord, Trainer};

use super::args::Args;
use super::base::{Base, Loaded};
use super::budget::{Budget, Forecast};
use super::checkpoint::{self, Checkpoints, State};
use super::history::History;
use super::inputs::Inputs;
use super::plan::Plan;
use super::profile::Profile;
use super::report::{MemoryReport, Report};
use super::resolve::Settings;
use super::watch::Watch;
use super::{failure, preference, resume, warnings};

/// Trains, or plans, or finds that all is done.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let inputs = Inputs::find(args)?;
    let base = Base::find(args)?;
    let settings = Settings::new(args, base.adapter())?;
    let budget = Budget::new(args);
    budget.check_weights(base.stored_bytes()?, settings.method == "full")?;
    if args.plan || args.profile {
        return look_ahead(args, &inputs, &base, &settings, budget);
    }
    let out = args.output.folder()?;
    let named = [&args.validation, &args.init_config, &args.adapter].into_iter().flatten().chain([&args.tokens]);
    let paths = named.map(PathBuf::as_path).chain(args.model.as_deref().map(Path::new));
    cli::refuse_to_replace(("--out", out), "retune-train", paths, args.output.force)?;
    let (identity, early) = identify(args, out, &inputs, &base, &settings)?;
    if let Some(done) = cli::up_to_date(out, &identity, args.output.force)? {
        return Ok(done);
    }
    let interrupt = cli::watch_interrupts("stopping after this step to save it; once more stops at once")?;
    let (rows, validation) = read_rows(&inputs, &base, &settings)?;
    let options = settings.options(learnable(&rows), args.watch.save_every)?;
    let checkpoints = Checkpoints::of(out, args.watch.keep_checkpoints, options.save_every);
    let start = resume::starting_point(args, out, &checkpoints, &identity)?;
    let checkpoint = start.as_ref().map(|(folder, _)| folder.as_path());
    let loaded = early.map_or_else(|| base.load(args, &settings, checkpoint), Ok)?;
    let run = Run { args, out, inputs, base, settings, identity, options, checkpoints, loaded, interrupt, budget };
    run.train(&rows, &validation, start)
}

/// Everything that stays the same while the steps go by.
struct Run<'a> {
    args: &'a Args,
    out: &'a Path,
    inputs: Inputs,
    base: Base,
    settings: Settings,
    identity: Identity,
    options: Options,
    checkpoints: Checkpoints,
    loaded: Loaded,
    interrupt: Interrupt,
    budget: Budget,
}

impl Run<'_> {
    fn train(&self, rows: &[Row], validation: &[Row], start: Option<(PathBuf, State)>) -> Result<Outcome> {
        let explain = |error| failure::explain(error, &self.inputs, &self.checkpoints, self.loaded.is_adapter());
        let mut trainer = Trainer::new(&self.loaded.decoder, rows, validation, &self.options).map_err(explain)?;
        warnings::before(&trainer, &self.options, &self.settings);
        let forecast = self.budget.choose(&self.loaded.decoder, &mut trainer, rows)?;
        trainer.checkpoint_activations(forecast.checkpointed_layers);
        if let Some(text) = forecast.checkpointing() {
            cli::note(&text);
        }
        resume::check_space(self.out, &self.loaded, self.args.watch.keep_checkpoints)?;
        let folder = OutputFolder::open(self.out)?;
        self.checkpoints.remove_unfinished();
        let (mut times, mut history) = (Vec::new(), History::default());
        let resumed = start.is_some();
        if let Some((checkpoint, state)) = start {
            cli::note(&format!("going on after step {} of {}", state.progress.step, trainer.total_steps()));
            times = checkpoint::read_times(&checkpoint)?;
            history = checkpoint::read_history(&checkpoint)?;
            trainer.restore(checkpoint::read_saved(&checkpoint, state.progress)?).map_err(explain)?;
        } else {
            self.checkpoints.clear()?;
            self.give_reference(&mut trainer, (rows, validation), false)?;
            self.rehearse_if_long(&mut trainer).map_err(explain)?;
        }
        if resumed {
            self.give_reference(&mut trainer, (rows, validation), true)?;
        }
        let bar = Bar::new("training", Some(trainer.total_steps() as u64), Unit::Steps);
        bar.resume_at(trainer.progress().step as u64);
        let write_model = |path: &Path| -> Result<()> { Ok(pretrained::write_to(self.loaded.files()?, path)?) };
        let tokens = trainer.progress().tokens;
        let keep_best = self.settings.result == "best";
        let mut watch = Watch::new(
            &self.checkpoints,
            &self.identity,
            &write_model,
            keep_best,
            bar,
            &self.interrupt,
            times,
            history,
            tokens,
        );
        let outcome = trainer.run(&mut watch).map_err(explain)?;
        if outcome == training::Outcome::Interrupted {
            return Ok(resume::interrupted(&trainer, watch.saved_at()));
        }
        self.seal(folder, &trainer, outcome, &watch, forecast)
    }

    /// For an objective that needs it: the log-probabilities under the model as the run starts from it.
    fn give_reference(&self, trainer: &mut Trainer<'_>, rows: (&[Row], &[Row]), resumed: bool) -> Result<()> {
        if !self.options.objective.needs_reference() {
            return Ok(());
        }
        let of = |decoder: &Decoder| Ok(Reference::of(decoder, rows.0, rows.1, self.options.batch_size)?);
        let found = preference::reference(self.checkpoints.folder(), resumed, rows, || match resumed {
            false => of(&self.loaded.decoder),
            true => of(&self.base.load(self.args, &self.settings, None)?.decoder),
        })?;
        Ok(trainer.set_reference(found)?)
    }

    /// Meets the largest batch first, where that costs little: what does not fit fails now, not hours in.
    fn rehearse_if_long(&self, trainer: &mut Trainer<'_>) -> Result<(), training::TrainingError> {
        const LONG: usize = 50;
        if trainer.total_steps() * self.options.gradient_accumulation >= LONG {
            trainer.rehearse(usize::MAX)?;
        }
        Ok(())
    }

    /// Writes the result and its figures, the manifest last.
    fn seal(
        &self,
        folder: OutputFolder,
        trainer: &Trainer<'_>,
        outcome: training::Outcome,
        watch: &Watch<'_>,
        forecast: Forecast,
    ) -> Result<Outcome> {
        let progress = trainer.progress();
        let best = progress.best.filter(|_| self.settings.result == "best");
        let result_step = best.map_or(progress.step, |best| best.step);
        let mut outputs = self.stage_model(&folder, result_step, progress.step)?;
        outputs.extend(pretrained::stage(self.base.tokenizer_files(), &folder)?);
        // The curve of validation begins at the loss of the model as it came.
        let initial = progress.initial_validation_loss;
        let initial = initial.map(|loss| MetricsRow { validation_loss: Some(loss), ..MetricsRow::default() });
        let records: Vec<MetricsRow> = initial.into_iter().chain(progress.records.iter().map(metrics_row)).collect();
        outputs.push(write_metrics(folder.stage(files::METRICS)?, &records)?);
        outputs.push(watch.history().write(folder.stage(files::EXAMPLE_LOSSES)?, &self.inputs)?);
        outputs.push(write_throughput(folder.stage(files::THROUGHPUT)?, watch.times())?);
        let report = Report {
            parameters: self.loaded.counts().0,
            trained_parameters: self.loaded.counts().1,
            rows_without_targets: trainer.rows_without_targets(),
            loss: if self.settings.label_smoothing > 0.0 { "label_smoothed_cross_entropy" } else { "cross_entropy" },
            tokens_per_second: watch.tokens_per_second(progress.tokens),
            memory: Some(MemoryReport { forecast, peak: artifact::peak_memory_bytes() }),
            ..Report::new(progress, outcome, self.settings.method, result_step)
        };
        let text = report.text(self.out, &self.next_command());
        let answer = Answer::new(text, &report);
        let rows = trainer.rows() as u64;
        let left_out = trainer.rows_without_targets() as u64;
        folder.commit(Committed {
            outputs,
            identity: self.identity.clone(),
            seed: Some(self.settings.seed),
            rows: Some(Rows { read: rows, written: rows - left_out, rejected: left_out, ..Rows::default() }),
            summary: answer.json.clone(),
        })?;
        if self.args.watch.keep_checkpoints == 0 {
            self.checkpoints.clear()?;
        }
        Ok(Outcome::Done(answer))
    }

    /// The files of the step that is the result: from memory where it is the last one, else as they were kept.
    fn stage_model(&self, folder: &OutputFolder, result_step: usize, last_step: usize) -> Result<Vec<FinishedFile>> {
        if result_step == last_step {
            return Ok(pretrained::stage(self.loaded.files()?, folder)?);
        }
        let kept = self.checkpoints.best_folder(result_step);
        let names = self.loaded.file_names();
        names.iter().map(|name| Ok(folder.stage_copy(name, &kept.join(name))?)).collect()
    }

    fn next_command(&self) -> String {
        let (tokens, out) = (self.args.tokens.display(), self.out.display());
        match (&self.args.model, self.loaded.is_adapter()) {
            (Some(model), true) => {
                format!("retune-evaluate {tokens} --model {model} --adapter {out} --out eval --baseline")
            }
            _ => format!("retune-evaluate {tokens} --model {out} --out eval"),
        }
    }
}

/// The run's identity. In an empty folder it decides nothing yet, so that the model is read while its file is hashed.
fn identify(
    args: &Args,
    out: &Path,
    inputs: &Inputs,
    base: &Base,
    settings: &Settings,
) -> Result<(Identity, Option<Loaded>)> {
    if out.join(artifact::MANIFEST).exists() || out.join(files::CHECKPOINTS).exists() {
        return Ok((identity(args, inputs, base, settings)?, None));
    }
    let (identity, loaded) = std::thread::scope(|scope| {
        let hashing = scope.spawn(|| identity(args, inputs, base, settings));
        let loaded = base.load(args, settings, None);
        (hashing.join().expect("reading and hashing files does not panic"), loaded)
    });
    Ok((identity?, Some(loaded?)))
}

fn identity(args: &Args, inputs: &Inputs, base: &Base, settings: &Settings) -> Result<Identity> {
    let mut records = inputs.records()?;
    records.extend(base.records(args)?);
    Ok(base.name_origins(cli::identity("retune-train", settings, records)).after(&args.tokens))
}

fn read_rows(inputs: &Inputs, base: &Base, settings: &Settings) -> Result<(Vec<Row>, Vec<Row>)> {
    let pairs = settings.objective.is_preference();
    Ok((inputs.train_rows(base.limits(), pairs)?, inputs.validation_rows(base.limits(), pairs)?))
}

fn learnable(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.trained_tokens() > 0).count()
}

/// Steps that `--profile` takes.
const PROFILED_STEPS: usize = 2;

/// Measures without writing anything: what the run would take, or where the time of a step goes.
fn look_ahead(args: &Args, inputs: &Inputs, base: &Base, settings: &Settings, budget: Budget) -> Result<Outcome> {
    let (rows, validation) = read_rows(inputs, base, settings)?;
    let options = settings.options(learnable(&rows), args.watch.save_every)?;
    let loaded = base.load(args, settings, None)?;
    let mut trainer = Trainer::new(&loaded.decoder, &rows, &validation, &options)?;
    warnings::before(&trainer, &options, settings);
    let forecast = budget.choose(&loaded.decoder, &mut trainer, &rows)?;
    trainer.checkpoint_activations(forecast.checkpointed_layers);
    if args.profile {
        if options.objective.needs_reference() {
            trainer.refer_to_start(PROFILED_STEPS)?;
        }
        let profile = Profile::new(&trainer.profile_step()?);
        return Ok(Outcome::Done(Answer::new(profile.text(), &profile)));
    }
    let plan = Plan::measure(&mut trainer, loaded.counts(), &rows, &validation, forecast)?;
    Ok(Outcome::Done(Answer::new(plan.lines().join("\n"), &plan)))
}

fn metrics_row(record: &StepRecord) -> MetricsRow {
    MetricsRow {
        step: record.step as u64,
        epoch: record.epoch,
        tokens: record.tokens,
        trained_tokens: record.trained_tokens,
        loss: Some(record.loss),
        validation_loss: record.validation_loss,
        learning_rate: record.learning_rate,
        grad_norm: Some(record.grad_norm),
        preference: record.preference.as_ref().map(preference_metrics),
        validation_preference: record.validation_preference.as_ref().map(preference_metrics),
    }
}

fn preference_metrics(record: &PreferenceRecord) -> PreferenceMetrics {
    PreferenceMetrics {
        rewards_chosen: record.rewards.chosen,
        rewards_rejected: record.rewards.rejected,
        accuracies: record.accuracy,
        margins: record.margin,
        logps_chosen: record.logps.chosen,
        logps_rejected: record.logps.rejected,
    }
}
