//! The frame around every binary: arguments in, exit code out.

use crate::error::{is_broken_pipe, is_usage, render};
use crate::make::{variables, with_variables};
use crate::terminal::{colours, print, set_quiet, to_stderr};
use crate::{Common, Hint, Outcome, StageArgs, VERSION, config};
use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Parses the command line and its configuration file, runs the stage, shows its report and decides the exit code:
/// 0 done, 1 failed, 2 wrong usage, 3 a gate was missed, 130 interrupted.
pub fn main<A: StageArgs>(run: impl FnOnce(&A) -> anyhow::Result<Outcome>) -> ExitCode {
    let arguments = match parse::<A>() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let common = arguments.common();
    set_quiet(common.quiet);
    if let Err(error) = prepare(common) {
        to_stderr(&with_variables(&render(&error, colours())));
        return ExitCode::from(1);
    }
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(&arguments)));
    match result {
        Ok(Ok(outcome)) => finish(common, &outcome),
        Ok(Err(error)) => fail(&error),
        Err(panic) => {
            let text = panic_text(panic.as_ref());
            to_stderr(&format!(
                "error: internal error: {text}\nhint: this is a defect of retune, not of your data; please report it with the command line"
            ));
            ExitCode::from(1)
        }
    }
}

fn parse<A: StageArgs>() -> Result<A, ExitCode> {
    // The contract version stands beside the release, so that Make can tell when artifacts must be made anew.
    let command = A::command().version(format!("{VERSION} (contract {})", artifact::CONTRACT));
    let arguments = config::with_config(&command, std::env::args_os().collect())
        .hint_from(|error| is_usage(error).then(|| format!("{} --help lists the options", command.get_name())))
        .map_err(|error| fail(&error))?;
    let matches = command.clone().try_get_matches_from(arguments);
    matches.and_then(|mut matches| A::from_arg_matches_mut(&mut matches)).map_err(|error| {
        // Help and version are no errors; a reader that closed the pipe is none either.
        let _ = error.print();
        let text = error.to_string();
        // Behind its first line clap repeats the usage, with flags that are not to blame.
        if let Some(line) = text.lines().next().and_then(variables).filter(|_| error.use_stderr()) {
            to_stderr(&line);
        }
        ExitCode::from(if error.use_stderr() { 2 } else { 0 })
    })
}

fn prepare(common: &Common) -> anyhow::Result<()> {
    let level = match (common.quiet, common.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("RETUNE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours())
        .without_time()
        .with_target(false)
        .init();
    keep_candle_to_one_thread();
    if let Some(threads) = common.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    Ok(())
}

/// Candle adds gradients in a thread pool of its own, whose threads spin while they wait and so take the cores from rayon's,
/// where all heavy work runs: measured on two cores, one training step of a small model needs half the processor time
/// without it. A user's own setting is left alone.
fn keep_candle_to_one_thread() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the program still has one thread, so that none reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}

fn finish(common: &Common, outcome: &Outcome) -> ExitCode {
    let report = outcome.report();
    crate::say(&with_variables(&report.text));
    if common.json {
        let text = serde_json::to_string_pretty(&report.json).expect("a JSON value serializes");
        if let Err(error) = print(&(text + "\n"))
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return fail(&anyhow::Error::new(error).context("cannot print the report"));
        }
    }
    ExitCode::from(outcome.exit_code())
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    to_stderr(&with_variables(&render(error, colours())));
    ExitCode::from(if is_usage(error) { 2 } else { 1 })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "unknown".into())
}
