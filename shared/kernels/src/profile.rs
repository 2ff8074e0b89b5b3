//! Where the time of a step goes: each operation's wall time and floating-point operations, gathered while it is asked for.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

/// What one operation took, forward or backward, over all its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationTime {
    /// The operation.
    pub name: &'static str,
    /// Whether this is its backward pass.
    pub backward: bool,
    /// How often it ran.
    pub calls: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Floating-point operations of its products; elementwise arithmetic is not counted.
    pub flops: u64,
}

static ON: AtomicBool = AtomicBool::new(false);
static FLOPS: AtomicU64 = AtomicU64::new(0);
static TIMES: Mutex<Vec<OperationTime>> = Mutex::new(Vec::new());

/// Runs `work` and returns what it returned with the time of each operation in it, in the order of their first call.
///
/// The whole process is watched: one profile at a time.
pub fn profile<R>(work: impl FnOnce() -> R) -> (R, Vec<OperationTime>) {
    TIMES.lock().unwrap_or_else(PoisonError::into_inner).clear();
    ON.store(true, Ordering::SeqCst);
    let result = work();
    ON.store(false, Ordering::SeqCst);
    (result, std::mem::take(&mut *TIMES.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Times the operation until what is returned goes out of scope.
pub(crate) fn timed(name: &'static str, backward: bool) -> Timer {
    let began = ON.load(Ordering::Relaxed).then(|| (Instant::now(), FLOPS.load(Ordering::Relaxed)));
    Timer { name, backward, began }
}

/// Counts the floating-point operations of an `m` by `n` product over `k`.
pub(crate) fn count(m: usize, n: usize, k: usize) {
    if ON.load(Ordering::Relaxed) {
        FLOPS.fetch_add(2 * (m * n * k) as u64, Ordering::Relaxed);
    }
}

/// A running clock.
pub(crate) struct Timer {
    name: &'static str,
    backward: bool,
    began: Option<(Instant, u64)>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some((began, flops)) = self.began else { return };
        let (seconds, flops) = (began.elapsed().as_secs_f64(), FLOPS.load(Ordering::Relaxed) - flops);
        let mut times = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
        match times.iter_mut().find(|time| (time.name, time.backward) == (self.name, self.backward)) {
            Some(time) => {
                time.calls += 1;
                time.seconds += seconds;
                time.flops += flops;
            }
            None => times.push(OperationTime { name: self.name, backward: self.backward, calls: 1, seconds, flops }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{WeightLayout, linear, testing::random};
    use candle_core::Var;

    #[test]
    fn operations_and_their_products_are_counted() {
        let (x, weight) = (Var::from_tensor(&random(&[5, 3], 1)).unwrap(), random(&[4, 3], 2));
        let (loss, times) = profile(|| {
            let y = linear(&x, &weight, None, WeightLayout::OutputByInput).unwrap();
            y.sum_all().unwrap().backward().unwrap();
        });
        let () = loss;
        // Other tests may run meanwhile: at least what was done here is there.
        for backward in [false, true] {
            let time = times.iter().find(|time| time.name == "linear" && time.backward == backward).unwrap();
            assert!(time.calls >= 1 && time.flops >= 2 * 5 * 4 * 3, "{time:?}");
        }
    }
}
