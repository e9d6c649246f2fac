//! Threads that live as long as one call, and no longer.

use std::thread::{self, ScopedJoinHandle};

/// Does some pieces of work side by side, the first in this thread, and returns their results in order.
pub(crate) fn side_by_side<W: Send, T: Send>(work: Vec<W>, run: impl Fn(usize, W) -> T + Sync) -> Vec<T> {
    let mut work = work.into_iter().enumerate();
    let Some((_, first)) = work.next() else { return Vec::new() };
    let run = &run;
    thread::scope(|scope| {
        let others: Vec<_> = work.map(|(index, one)| scope.spawn(move || run(index, one))).collect();
        let mut results = vec![run(0, first)];
        results.extend(others.into_iter().map(end));
        results
    })
}

/// A panic goes on in the thread that waited.
fn end<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
