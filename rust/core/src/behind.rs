//! Written bytes on their way to the device while the writer goes on, and out of memory as soon as they are there.
//!
//! One thread for each device of a call sends what was written, window by window, waits for it and drops its pages from
//! the cache. So a copy of any size passes through a bounded and ever warm part of memory, its flush has little left to
//! do, and a device that is slower than the source slows the writer down within a quarter of a gigabyte (of each worker),
//! not within what the machine's memory holds. On a virtual machine whose host lends memory page by page one cold file of 4 GiB took 4.1
//! to 4.9 s this way against 10 to 12 s with everything left to the end, and 6.4 to 7.9 s against 17 to 21 s for two
//! copies on one disk. The same done by the writer itself was slower than nothing: the request to send waits for room
//! in the device's queue, and the copy with it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::platform;
use crate::progress::Page;
use crate::sink::SLICE;

mod wake;

use wake::Course;
pub(crate) use wake::Wake;

/// Bytes sent at a time. Two are on their way at once, so that the device never waits for the next.
const WINDOW: u64 = 8 << 20;
const FLIGHT: usize = 2;

/// Bytes of one device that may wait before its writers do: with 64 MiB two copies took a tenth longer.
const MOST: u64 = 256 << 20;

/// How often a writer who waits for room looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(50);

/// The pages of one device that were written and not yet dropped.
#[derive(Default)]
pub(crate) struct Behind {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Window>,
    /// Bytes that are queued or on their way.
    waiting: u64,
    ended: bool,
    /// The thread is gone, and nothing will ever arrive.
    broken: bool,
}

struct Window {
    file: Arc<File>,
    course: Arc<Course>,
    from: u64,
    length: u64,
    /// The root of the call that it lies on.
    root: Option<usize>,
}

impl Behind {
    /// The thread's work: until [`Behind::end`] was called and nothing is left.
    pub(crate) fn run(&self, page: &Page) {
        // Whoever waits for a thread that has panicked would wait for ever.
        let _alarm = Alarm(self);
        let mut sent: VecDeque<Window> = VecDeque::with_capacity(FLIGHT);
        loop {
            match self.take(sent.is_empty()) {
                // It was given up while it was taken from the queue.
                Some(window) if !window.wanted() => {
                    self.over(window);
                    continue;
                }
                Some(window) => {
                    window.course.note(platform::write_back(&window.file, window.from, window.length));
                    sent.push_back(window);
                    if sent.len() < FLIGHT {
                        continue;
                    }
                }
                None if sent.is_empty() => return,
                None => {}
            }
            if let Some(window) = sent.pop_front() {
                self.arrive(window, page);
            }
        }
    }

    /// The next window; none if there is none now and nobody has the time to wait for it, or if there will be none.
    fn take(&self, wait: bool) -> Option<Window> {
        let mut state = self.lock();
        while wait && state.queue.is_empty() && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.queue.pop_front()
    }

    /// Waits for a window that was sent, also of a file that was given up since: what became of it has to be known.
    fn arrive(&self, window: Window, page: &Page) {
        let Window { ref file, from, length, root, .. } = window;
        let (page, end) = (&page.at(root), from + length);
        let mut offset = from;
        while offset < end {
            let slice = SLICE.min(end - offset);
            window.course.note(platform::wait_back(file, offset, slice).inspect(|()| page.drained(slice)));
            offset += slice;
        }
        // Of a file that was given up meanwhile this would send what is still dirty.
        if window.wanted() {
            platform::evict_range(file, from, length);
        }
        self.over(window);
    }

    /// Tells whoever waits for room or for the file, and where nobody does any more, whoever was to hear of a fault.
    fn over(&self, window: Window) {
        let Window { file, course, length, .. } = window;
        // Before anyone hears of it: whoever does will want the file for himself. Where he has left it, this is its end.
        course.note(Arc::into_inner(file).map_or(Ok(()), platform::close));
        let unheard = course.lock().ended();
        if let Some((heir, error)) = unheard {
            heir(&error);
        }
        self.lock().waiting -= length;
        self.changed.notify_all();
    }

    /// No more windows come. The thread ends when it has dealt with those that are there.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until that is so, as long as nobody asks to stop.
    fn until(&self, page: &Page, so: impl Fn(&State) -> bool) -> io::Result<()> {
        let mut state = self.lock();
        while !so(&state) && !state.broken && !page.cancelled() {
            state = self.changed.wait_timeout(state, GLANCE).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.broken {
            Err(io::Error::other("the thread that writes behind has ended"))
        } else {
            Ok(())
        }
    }
}

struct Alarm<'a>(&'a Behind);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().broken = true;
            self.0.changed.notify_all();
        }
    }
}

impl Window {
    /// Somebody still wants the file.
    fn wanted(&self) -> bool {
        self.course.lock().given_up.is_none()
    }
}

#[cfg(test)]
mod tests;
