//! A parallel map that keeps the order and bounds what is under way.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Applies `work` to each job on `threads` threads in all, and hands the results to `take` in the order of the jobs,
/// on the calling thread. Stops at the first error of `take`.
///
/// With one thread everything happens on the calling thread. Otherwise one more thread produces the jobs, and the
/// calling thread, which takes the results, counts as one of `threads`.
pub(super) fn map_in_order<J: Send, R: Send, E>(
    threads: usize,
    jobs: impl Iterator<Item = J> + Send,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    if threads <= 1 {
        return jobs.map(work).try_for_each(take);
    }
    let workers = threads - 1;
    let (to_work, work_queue) = sync_channel::<(J, SyncSender<R>)>(workers);
    // The results' places, in order: the bound is what may be under way or waiting.
    let (to_order, order) = sync_channel::<Receiver<R>>(2 * workers + 1);
    let work_queue = Mutex::new(work_queue);
    thread::scope(|scope| {
        let (work, work_queue) = (&work, &work_queue);
        for _ in 0..workers {
            scope.spawn(move || {
                loop {
                    let next = work_queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((job, reply)) = next else { return };
                    // Nobody waits any more where `take` has failed.
                    if reply.send(work(job)).is_err() {
                        return;
                    }
                }
            });
        }
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
    fn an_error_stops_all() {
        for threads in [1, 3] {
            let outcome =
                map_in_order(threads, 0.., |job: u64| job, |result| if result == 50 { Err("fifty") } else { Ok(()) });
            assert_eq!(outcome, Err("fifty"));
        }
    }
}
