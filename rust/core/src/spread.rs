//! One big file on several threads, which share its reading and hashing and take turns at writing.
//!
//! Each thread takes the next few pieces, reads them at their offset, hashes them into chaining values and, when its
//! turn has come, appends them to each sink. So every sink sees the file from start to end, as with one thread: file
//! systems without holes write nothing twice, and what stands in a copy that was interrupted is a beginning of the
//! source. Two threads that write to one file at once would only wait for its lock in the kernel, spinning. Several
//! sinks overlap by themselves: while one turn goes to the second, the next goes to the first.
//!
//! The other digests take turns like a sink. In memory, one file of 512 MiB with XXH128 took two threads 0.34 s, and
//! one thread that reads in order 0.48 s; with MD5, which is all that one waits for then, it makes no difference.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::buffer::Buffer;
use crate::content::{Content, PIECE};
use crate::error::{Error, Kind, Result};
use crate::lanes::Summing;
use crate::progress::Page;
use crate::pump::write;
use crate::sink::Sink;
use crate::source::{Source, STEP};
use crate::start::Start;
use crate::threads::side_by_side;
use crate::tree::{Gathered, Piece};

#[allow(clippy::cast_possible_truncation)]
const PIECE_LENGTH: usize = PIECE as usize;

/// Bytes that a thread takes at a time, and writes in one turn.
///
/// A turn costs a wake-up: one file of 256 MiB took two threads 0.26 to 0.29 s with turns of 1 MiB, 0.25 s with 2 MiB
/// and 0.18 to 0.20 s with 4 MiB (tmpfs, both cores shared with others).
pub(crate) const TURN: u64 = 4 << 20;

/// Files from this size on are worth the threads: a few turns for each of a few.
pub(crate) const LEAST: u64 = 16 << 20;

/// What is known of a file when its threads begin.
pub(crate) struct Task<'a> {
    pub(crate) item: u64,
    pub(crate) start: &'a Start,
    pub(crate) summing: Summing<'a>,
}

/// Moves the bytes of a file of at least [`LEAST`] with one thread per buffer, each at least as long as a turn; as
/// [`crate::pump::pump`] does otherwise.
pub(crate) fn spread(
    source: &Source,
    sinks: &mut [Result<Sink>],
    buffers: &mut [Buffer],
    task: Task<'_>,
    bytes_read: &mut u64,
    page: &Page,
) -> Result<Option<Content>> {
    let Task { item, start, summing } = task;
    let size = source.stat().size;
    if !sinks.is_empty() && sinks.iter().all(Result::is_err) {
        return Ok(None);
    }
    let summed = !summing.is_empty();
    let first = start.offset / TURN;
    let work = Work {
        source,
        size,
        start,
        alive: AtomicUsize::new(sinks.iter().filter(|slot| slot.is_ok()).count()),
        turns: sinks.iter_mut().map(|slot| Turn::new(slot, first)).collect(),
        summing: Turn::new(summing, first),
        summed,
        next: AtomicU64::new(first),
        read: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        fault: Mutex::new(None),
        gathered: Mutex::new(start.gathered(size)),
        item,
        page,
    };
    side_by_side(buffers.iter_mut().collect(), |thread, buffer| work.run(thread, buffer));
    *bytes_read += work.read.load(Ordering::Relaxed);
    if let Some(error) = work.fault.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if work.stopped.into_inner() {
        return Ok(None);
    }
    if let Some(buffer) = buffers.first_mut() {
        source.nothing_follows(buffer)?;
    }
    let tree = work.gathered.into_inner().unwrap_or_else(PoisonError::into_inner).tree();
    let (_, summing) = work.summing.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    tree.and_then(|tree| Some(Some(Content { sums: summing.finish()?, ..Content::of(tree) })))
        .ok_or_else(|| Error::found(Kind::Io, "read", source.path().to_vec(), "a piece is missing"))
}

/// What takes a file's bytes in order, a sink or its digests, and whose turn it is to give them.
struct Turn<T> {
    state: Mutex<(u64, T)>,
    moved: Condvar,
}

impl<T> Turn<T> {
    fn new(taker: T, first: u64) -> Self {
        Self { state: Mutex::new((first, taker)), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, T)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under the lock: between a waiter's look and its sleep nobody must be told in vain.
    fn stop(&self) {
        let _waiters_sleep = self.lock();
        self.moved.notify_all();
    }
}

struct Work<'a> {
    source: &'a Source,
    size: u64,
    start: &'a Start,
    turns: Vec<Turn<&'a mut Result<Sink>>>,
    summing: Turn<Summing<'a>>,
    summed: bool,
    /// Copies that have not failed.
    alive: AtomicUsize,
    next: AtomicU64,
    read: AtomicU64,
    stopped: AtomicBool,
    fault: Mutex<Option<Error>>,
    gathered: Mutex<Gathered>,
    item: u64,
    page: &'a Page,
}

impl Work<'_> {
    /// One thread's share: pieces until there are none, or until somebody stopped the work.
    fn run(&self, thread: usize, buffer: &mut Buffer) {
        // Whoever waits for a turn that will never come would wait for ever.
        let _alarm = Alarm(self);
        self.page.item(thread, Some(self.item));
        while !self.stopped.load(Ordering::Relaxed) {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.size.div_ceil(TURN) {
                break;
            }
            if let Err(error) = self.turn(index, buffer) {
                self.stop(Some(error));
            }
        }
        self.page.item(thread, None);
    }

    /// Reads and hashes what one turn writes, then writes it when the turn has come.
    fn turn(&self, index: u64, buffer: &mut Buffer) -> Result<()> {
        // The first turn may begin within one.
        let offset = self.start.offset.max(index * TURN);
        let end = self.size.min((index + 1) * TURN);
        let want = usize::try_from(end - offset).unwrap_or(buffer.len());
        let map = self.source.map_at(want, offset)?;
        let mut have = 0;
        while have < want {
            if self.page.cancelled() {
                return Err(Error::cancelled("read", self.source.path().to_vec()));
            }
            let length = PIECE_LENGTH.min(want - have);
            let at = offset + have as u64;
            let bytes: &[u8] = if let Some(map) = &map {
                &map[have..have + length]
            } else {
                self.source.read_at(&mut buffer[have..have + PIECE_LENGTH], length, at)?;
                &buffer[have..have + length]
            };
            let mut piece = Piece::at(at);
            piece.update(bytes);
            let value = piece.finish();
            let whole = self.gathered.lock().unwrap_or_else(PoisonError::into_inner).add(at, PIECE, value);
            if let (Some(trail), Some((index, value))) = (&self.start.trail, whole) {
                trail.note(index, value);
            }
            self.read.fetch_add(length as u64, Ordering::Relaxed);
            self.page.read(length);
            have += length;
        }
        let bytes: &[u8] = if let Some(map) = &map { map } else { &buffer[..want] };
        if self.summed {
            self.sum(index, bytes);
        }
        for (root, turn) in self.turns.iter().enumerate() {
            self.write(turn, index, bytes, &self.page.at(root))?;
        }
        drop(map);
        if end % STEP == 0 || end == self.size {
            // Everything before has been written, and so read.
            self.source.drop_range((end - 1) / STEP * STEP, end);
        }
        Ok(())
    }

    /// Waits until everything before has been taken; none if the work was stopped.
    fn wait<'t, T>(&self, turn: &'t Turn<T>, index: u64) -> Option<MutexGuard<'t, (u64, T)>> {
        let mut state = turn.lock();
        while state.0 != index {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            state = turn.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(state)
    }

    /// Feeds the other digests.
    fn sum(&self, index: u64, bytes: &[u8]) {
        let Some(mut state) = self.wait(&self.summing, index) else { return };
        state.1.update(bytes);
        state.0 += 1;
        drop(state);
        self.summing.moved.notify_all();
    }

    /// Appends to one sink.
    fn write(&self, turn: &Turn<&mut Result<Sink>>, index: u64, bytes: &[u8], page: &Page) -> Result<()> {
        let Some(mut state) = self.wait(turn, index) else { return Ok(()) };
        let (next, slot) = &mut *state;
        let lived = slot.is_ok();
        // In pieces, because a slow disk takes its time for a whole turn.
        for piece in bytes.chunks(PIECE_LENGTH) {
            if page.cancelled() {
                return Err(Error::cancelled("write", self.source.path().to_vec()));
            }
            page.written(write(slot, piece, page));
        }
        *next += 1;
        let died = lived && slot.is_err();
        drop(state);
        turn.moved.notify_all();
        if died && self.alive.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.stop(None);
        }
        Ok(())
    }

    /// Ends the work of all threads: with a fault that concerns every copy, or because no copy is left.
    fn stop(&self, fault: Option<Error>) {
        if let Some(error) = fault {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        self.stopped.store(true, Ordering::Relaxed);
        self.turns.iter().for_each(Turn::stop);
        self.summing.stop();
    }
}

/// Stops the work if a thread of it panics.
struct Alarm<'a, 'w>(&'a Work<'w>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.stop(None);
        }
    }
}
