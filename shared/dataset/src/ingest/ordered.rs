//! A parallel map that keeps the order and bounds what is under way.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Applies `work` to each job on `threads` threads, and hands the results to `take` in the order of the jobs,
/// on the calling thread. Stops at the first error of `take`.
///
/// With one thread everything happens on the calling thread. Otherwise one more thread produces the jobs, and the
/// calling thread takes the results: both mostly wait.
pub(super) fn map_in_order<J: Send, R: Send, E>(
    threads: usize,
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    if threads <= 1 {
        return jobs.map(work).try_for_each(take);
    }
    let workers = threads;
    let (to_work, work_queue) = sync_channel::<(J, SyncSender<R>)>(workers);
    // The results' places, in order: the bound is what may be under way or waiting.
    let (to_order, order) = sync_channel::<Receiver<R>>(workers + 1);
    // Owned by the workers: where all of them are gone, sending fails instead of waiting for ever.
    let work_queue = Arc::new(Mutex::new(work_queue));
    thread::scope(|scope| {
        let work = &work;
        let mut working = Vec::new();
        for _ in 0..workers {
            let work_queue = Arc::clone(&work_queue);
            working.push(scope.spawn(move || {
                loop {
                    let next = work_queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((job, reply)) = next else { return };
                    // Nobody waits any more where `take` has failed.
                    if reply.send(work(job)).is_err() {
                        return;
                    }
                }
            }));
        }
        drop(work_queue);
        scope.spawn(move || {
            for job in jobs {
                let (reply, result) = sync_channel(1);
                if to_order.send(result).is_err() || to_work.send((job, reply)).is_err() {
                    return;
                }
            }
        });
        let mut outcome = Ok(());
        while let Ok(result) = order.recv() {
            let Ok(result) = result.recv() else { break };
            outcome = take(result);
            if outcome.is_err() {
                break;
            }
        }
        drop(order);
        // A panic of a worker is passed on with its own message.
        for worker in working {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let mut taken = Vec::new();
            let work = |job: u64| {
                thread::sleep(std::time::Duration::from_micros(300 * (job % 3)));
                job * job
            };
            let done: Result<(), ()> = map_in_order(threads, 0..200, work, |result| {
                taken.push(result);
                Ok(())
            });
            assert!(done.is_ok());
            assert_eq!(taken, (0..200).map(|job| job * job).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "the seventh")]
    fn a_panic_of_a_worker_is_passed_on() {
        let work = |job: u64| assert!(job != 7, "the seventh");
        let _ = map_in_order(3, 0.., work, |()| Ok::<(), ()>(()));
    }

    #[test]
    fn an_error_stops_all() {
        for threads in [1, 3] {
            let outcome =
                map_in_order(threads, 0.., |job: u64| job, |result| if result == 50 { Err("fifty") } else { Ok(()) });
            assert_eq!(outcome, Err("fifty"));
        }
    }
}
