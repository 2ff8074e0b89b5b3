//! `--profile`: where the time of one step goes, operation by operation, beside what the processor could do.

use artifact::peak_memory_bytes;
use cli::format::{bytes, count, duration, percent};
use serde::Serialize;
use training::StepProfile;

/// The figures, for people and for scripts.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Profile {
    /// Tokens of the step.
    tokens: u64,
    /// Wall time of the step in seconds.
    seconds: f64,
    /// Tokens of the step over its time.
    tokens_per_second: f64,
    /// Floating-point operations of all products, in units of 10⁹.
    gflop: f64,
    /// The same per second.
    gflop_per_second: f64,
    /// Measured rate of multiply-adds on all threads, in 10⁹ operations per second.
    peak_gflop_per_second: f64,
    /// Peak of this process' memory in bytes.
    peak_memory_bytes: Option<u64>,
    /// Each operation, the longest first, and at the end what lies between them.
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, Serialize)]
struct Operation {
    name: String,
    calls: u64,
    seconds: f64,
    share: f64,
    gflop_per_second: Option<f64>,
    share_of_peak: Option<f64>,
}

impl Profile {
    pub(crate) fn new(step: &StepProfile) -> Self {
        let operation = |name: String, calls: u64, seconds: f64, flops: u64| {
            let rate = (flops > 0).then(|| flops as f64 / seconds);
            Operation {
                name,
                calls,
                seconds,
                share: seconds / step.seconds,
                gflop_per_second: rate.map(|rate| rate / 1e9),
                share_of_peak: rate.map(|rate| rate / step.peak),
            }
        };
        let flops: u64 = step.operations.iter().map(|time| time.flops).sum();
        let rest = step.seconds - step.operations.iter().map(|time| time.seconds).sum::<f64>();
        let mut operations: Vec<Operation> = step
            .operations
            .iter()
            .map(|time| {
                let name = format!("{}{}", time.name, if time.backward { " backward" } else { "" });
                operation(name, time.calls, time.seconds, time.flops)
            })
            .collect();
        operations.push(operation("sums of gradients, residuals, the rest".to_owned(), 1, rest, 0));
        Self {
            tokens: step.tokens,
            seconds: step.seconds,
            tokens_per_second: step.tokens as f64 / step.seconds,
            gflop: flops as f64 / 1e9,
            gflop_per_second: flops as f64 / step.seconds / 1e9,
            peak_gflop_per_second: step.peak / 1e9,
            peak_memory_bytes: peak_memory_bytes(),
            operations,
        }
    }

    /// A table for people.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!(
                "one step: {} tokens in {}, {:.0} tokens/s, memory {} at peak",
                count(self.tokens),
                duration(self.seconds),
                self.tokens_per_second,
                self.peak_memory_bytes.map_or_else(|| "unknown".to_owned(), bytes)
            ),
            format!(
                "products: {:.0} GFLOP, {:.0} GFLOP/s, {} of the {:.0} GFLOP/s that multiply-adds reach here",
                self.gflop,
                self.gflop_per_second,
                percent(self.gflop_per_second / self.peak_gflop_per_second),
                self.peak_gflop_per_second
            ),
            String::new(),
            format!("{:40} {:>6} {:>9} {:>7} {:>8} {:>8}", "operation", "calls", "ms", "share", "GFLOP/s", "of peak"),
        ];
        for operation in &self.operations {
            let rate = operation.gflop_per_second.map_or_else(String::new, |rate| format!("{rate:.0}"));
            let of_peak = operation.share_of_peak.map_or_else(String::new, percent);
            let line = format!(
                "{:40} {:>6} {:>9.1} {:>7} {rate:>8} {of_peak:>8}",
                operation.name,
                operation.calls,
                operation.seconds * 1e3,
                percent(operation.share)
            );
            lines.push(line.trim_end().to_owned());
        }
        lines.join("\n")
    }
}
