//! Threads that live as long as one call, and no longer.
//!
//! A system may have no thread to give (EAGAIN: a limit of the user, a cgroup's, memory): then fewer do the same work.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Starts a named thread; none where there is none to be had.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    Builder::new().name(name.to_owned()).spawn_scoped(scope, work).ok()
}

/// Does some pieces of work side by side, the first in this thread, and returns their results in order. What no thread
/// is to be had for is done in this one when its own is done: so none may wait for another to begin.
pub(crate) fn side_by_side<W: Send, T: Send>(work: Vec<W>, run: impl Fn(usize, W) -> T + Sync) -> Vec<T> {
    // A thread that cannot be started takes what it was given with it: so each is given a place to take from.
    let places: Vec<_> = work.into_iter().map(|one| Mutex::new(Some(one))).collect();
    let share = |index: usize| {
        let one = places[index].lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(run(index, one))
    };
    let share = &share;
    thread::scope(|scope| {
        let begin = |index| start(scope, "beside", move || share(index)).ok_or(index);
        let others: Vec<_> = (1..places.len()).map(begin).collect();
        let first = places.first().and_then(|_| share(0));
        // What has no thread is done before any thread is waited for.
        let others: Vec<_> = others.into_iter().map(|thread| thread.map_err(share)).collect();
        let others = others.into_iter().filter_map(|thread| thread.map_or_else(|done| done, end));
        first.into_iter().chain(others).collect()
    })
}

/// A panic goes on in the thread that waited.
fn end<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, AssertUnwindSafe};

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work() {
        for count in [0, 1, 2, 9] {
            let work: Vec<usize> = (0..count).map(|one| one * 3).collect();

            let results = side_by_side(work, |index, one| (index, one));

            assert_eq!(results, (0..count).map(|one| (one, one * 3)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_of_any_of_them_goes_on_here() {
        for bad in 0..3 {
            let work = || side_by_side(vec![0, 1, 2], |_, one| assert_ne!(one, bad));

            assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        }
    }
}
