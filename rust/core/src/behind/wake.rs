//! One file that is written behind: what of it is under way, and what became of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Behind, State, Window, MOST, WINDOW};
use crate::progress::Page;

/// How long whoever gives a file up waits for what is on its way: its room on the device is free only after that. A
/// device that takes longer for two windows keeps it a little longer. It is counted from the moment a file was given up,
/// so that of many that are given up together nobody waits longer.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// One file's way to its device.
pub(crate) struct Wake {
    behind: Arc<Behind>,
    course: Arc<Course>,
    written: u64,
    sent: u64,
}

impl Wake {
    /// Of a file that is written from this offset on.
    pub(crate) fn new(behind: Arc<Behind>, from: u64) -> Self {
        Self { behind, course: Arc::default(), written: from, sent: from }
    }

    /// So many bytes more were written; fails with what went wrong with bytes that were written earlier.
    pub(crate) fn wrote(&mut self, file: &Arc<File>, bytes: usize, page: &Page) -> io::Result<()> {
        self.written += bytes as u64;
        if self.written - self.sent >= WINDOW {
            return self.send(file, page);
        }
        self.course.fault()
    }

    /// Sends what was written and not sent, and waits while the device has too much before it.
    pub(crate) fn send(&mut self, file: &Arc<File>, page: &Page) -> io::Result<()> {
        let (from, length) = (self.sent, self.written - self.sent);
        if length == 0 {
            return self.course.fault();
        }
        self.sent = self.written;
        self.course.lock().windows += 1;
        let window =
            Window { file: Arc::clone(file), course: Arc::clone(&self.course), from, length, root: page.root() };
        let mut state = self.behind.lock();
        state.waiting += length;
        state.queue.push_back(window);
        drop(state);
        self.behind.changed.notify_all();
        self.behind.until(page, |state| state.waiting < MOST)?;
        self.course.fault()
    }

    /// Waits until all that was sent has arrived, or somebody asks to stop.
    pub(crate) fn arrived(&self, page: &Page) -> io::Result<()> {
        self.behind.until(page, |_| self.course.lock().windows == 0)?;
        self.course.fault()
    }

    /// The file is given up: what is queued is not sent any more. Whoever gives up several does this to all of them
    /// before waiting for one.
    pub(crate) fn abandon(&self) {
        let mut state = self.behind.lock();
        let mut way = self.course.lock();
        way.given_up.get_or_insert_with(Instant::now);
        let (gone, left) = state.queue.drain(..).partition(|window| Arc::ptr_eq(&window.course, &self.course));
        state.queue = left;
        let gone: VecDeque<Window> = gone;
        state.waiting -= gone.iter().map(|window| window.length).sum::<u64>();
        way.windows -= gone.len();
        drop((way, state));
        self.behind.changed.notify_all();
    }

    /// Gives the file up and waits for what is on its way, for a moment. Fails with what went wrong with bytes that were
    /// sent; what goes wrong after that moment is told to the heir, by the thread that waits for it.
    pub(crate) fn leave(self, heir: impl FnOnce(&io::Error) + Send + 'static) -> io::Result<()> {
        self.abandon();
        let state = self.behind.lock();
        let since = self.course.lock().given_up.map_or(Duration::ZERO, |given_up| given_up.elapsed());
        let under_way = |state: &mut State| !state.broken && self.course.lock().windows > 0;
        let left = FAREWELL.saturating_sub(since);
        drop(self.behind.changed.wait_timeout_while(state, left, under_way));
        let mut way = self.course.lock();
        if way.windows > 0 && way.fault.is_none() {
            way.heir = Some(Box::new(heir));
        }
        way.fault.take().map_or(Ok(()), Err)
    }
}

/// What became of one file's windows.
#[derive(Default)]
pub(super) struct Course(Mutex<Way>);

#[derive(Default)]
pub(super) struct Way {
    /// Windows that are queued or on their way.
    pub(super) windows: usize,
    /// The first error among those that were.
    fault: Option<io::Error>,
    /// When the file was given up.
    pub(super) given_up: Option<Instant>,
    /// Who hears of a fault when nobody waits for it any more.
    heir: Option<Heir>,
}

/// What is done about bytes of a file that was left, and that did not reach its device.
pub(super) type Heir = Box<dyn FnOnce(&io::Error) + Send>;

impl Course {
    pub(super) fn lock(&self) -> MutexGuard<'_, Way> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first error stays: the kernel tells each only once.
    pub(super) fn note(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.lock().fault.get_or_insert(error);
        }
    }

    /// The error that was noted, once.
    fn fault(&self) -> io::Result<()> {
        self.lock().fault.take().map_or(Ok(()), Err)
    }
}

impl Way {
    /// A window is not under way any more. Gives back who has to hear of what went wrong, and what.
    pub(super) fn ended(&mut self) -> Option<(Heir, io::Error)> {
        self.windows -= 1;
        // Without an heir somebody still asks.
        let unheard = self.heir.is_some() && self.fault.is_some();
        unheard.then(|| self.heir.take().zip(self.fault.take())).flatten()
    }
}
