//! The thread that sees to it that what a trail is told reaches the disk.

use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Trail;
use crate::progress::Page;

/// How long what is told waits for its way to the disk.
pub(super) const SYNC: Duration = Duration::from_secs(2);

impl Trail {
    /// Does some work, while a thread sees to it that what is told reaches the disk.
    pub(crate) fn kept<T>(trail: Option<&Self>, page: &Page, work: impl FnOnce() -> T) -> T {
        let Some(trail) = trail else { return work() };
        std::thread::scope(|scope| {
            let _end = End(trail);
            // Where no thread is to be had what is told is written all the same, and flushed when it has to be.
            let keeper = std::thread::Builder::new().name("trail".to_owned());
            let _kept = keeper.spawn_scoped(scope, || trail.keep(page));
            work()
        })
    }

    fn keep(&self, page: &Page) {
        let mut state = self.lock();
        loop {
            let began = Instant::now();
            while let Some(left) = SYNC.checked_sub(began.elapsed()).filter(|_| !state.ended) {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            self.append(&mut state);
            let last = state.ended;
            if state.broken || last && page.cancelled() {
                return;
            }
            // Without the state: whoever finishes a block must not wait for the disk.
            drop(state);
            let mut settled = self.settled();
            let flushed = self.flush(&mut settled);
            state = self.lock();
            // Before anybody else may flush.
            state.broken |= flushed.is_err();
            drop(settled);
            if last {
                return;
            }
        }
    }

    /// Makes what was told durable, and once its own name.
    pub(super) fn flush(&self, settled: &mut bool) -> io::Result<()> {
        self.file.sync_data()?;
        if !*settled {
            self.dir.sync()?;
            *settled = true;
        }
        Ok(())
    }

    pub(super) fn settled(&self) -> MutexGuard<'_, bool> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the thread end that keeps a trail, whatever ends the work.
struct End<'a>(&'a Trail);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}
